"""What one decision puts on the topics, as records: all but the state.

`group` calls this for every decision, and keeps what it returns until the group is sealed; a state
is encoded then, once a group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from orchestrator.core.identity.notices import MergeAsked
from orchestrator.protocol import outputs
from orchestrator.protocol.commit.transaction import Output, TopicPartition
from orchestrator.protocol.forward.notices import write_notice
from orchestrator.protocol.forward.way import notice_headers
from orchestrator.protocol.home import home_partition

if TYPE_CHECKING:
    from orchestrator.core.customer import Customer
    from orchestrator.core.decision import Decision
    from orchestrator.core.identity.notices import Notice
    from orchestrator.protocol.commit.group import Rules
    from orchestrator.protocol.commit.names import TopicNames
    from orchestrator.protocol.outputs import LogCause


def effects_of(
    rules: Rules, home: int, decision: Decision, cause: LogCause
) -> list[tuple[TopicPartition, Output]]:
    """Encode the effects of a decision that was made on this home partition."""
    names, customer_id = rules.names, decision.customer.id.encode()
    effects = []
    for command in decision.commands:
        lane = names.promotional if command.promotional_lane else names.commands
        topic = lane[command.channel]
        count = names.command_partitions[topic]
        if command.sent_under is not None:
            index = home_partition(command.sent_under.encode(), count)
        else:
            index = home if count == names.partitions else home_partition(customer_id, count)
        output = Output(
            customer_id, outputs.encode_command(command), outputs.command_headers(command)
        )
        effects.append((TopicPartition(topic, index), output))
    if decision.fence is not None:
        fence = Output(customer_id, outputs.encode_fence(decision.fence))
        effects.append((TopicPartition(names.fences, home), fence))
    effects += (
        notice_record(names, notice, hops=1)
        for notice in decision.notices
        if not is_own_end(notice, decision.customer)
    )
    for told in decision.told:
        event = Output(customer_id, outputs.encode_told(told), outputs.told_headers(told))
        effects.append((TopicPartition(names.forward, home), event))
    log = outputs.encode_log(
        customer=decision.customer.id,
        now_ms=decision.now_ms,
        cause=cause,
        outcome=decision.outcome,
        definitions_hash=rules.journeys.content_hash,
        entries=decision.entries,
        paused=decision.paused,
    )
    effects.append((TopicPartition(names.journey_log, home), Output(customer_id, log)))
    return effects


def notice_record(names: TopicNames, notice: Notice, *, hops: int) -> tuple[TopicPartition, Output]:
    """Return a notice as a record on its way to the home of whom it is for."""
    written = write_notice(notice)
    target = TopicPartition(names.forward, home_partition(written.key, names.partitions))
    headers = notice_headers(written.headers, hops)
    return target, Output(written.key, written.value, headers)


def is_own_end(notice: Notice, customer: Customer) -> TypeGuard[MergeAsked]:
    """Whether a decision asks its own customer to be absorbed: that is decided at once."""
    return isinstance(notice, MergeAsked) and notice.absorbed == customer.id
