"""Decide every customer's recorded inputs again, alone and in order (I3, I7, I8).

Whatever crashed, was repeated or came between the inputs of others: the commands on the topics and
the state that recovery would read are those of one sequential run over this customer's own inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bench.simulation.judge.topics import Line, Topics, millis
from bench.simulation.shops import EVENT_BYTES_MAX
from orchestrator.core.customer import Cause, Customer, wake_at_ms
from orchestrator.core.decide import decide
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.event import Resumed, TimerFired, Visit
from orchestrator.core.identity.notices import MergeAsked
from orchestrator.core.pauses import Pause, Pauses
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.forward.notices import read_notice
from orchestrator.protocol.outputs import encode_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.event import Input


def differences(topics: Topics) -> Iterator[tuple[str, str]]:
    """Yield what is not as one sequential run over the log says."""
    visible = {command["id"]: record.value for record, command in topics.commands}
    expected: dict[str, bytes] = {}
    for customer_id, lines in topics.lines.items():
        customer = Customer(customer_id)
        for line in lines:
            what = input_of(topics, line)
            if what is None:
                yield "I7 state", f"the cause of {line.cause} is not there"
                continue
            journeys = topics.shop.rules.journeys
            if line.paused:
                journeys = journeys.pausing(Pauses(msgspec.convert(line.paused, tuple[Pause, ...])))
            decision = decide(journeys, customer, what, line.now_ms)
            customer = decode_customer(encode_customer(decision.customer))
            if decision.outcome != line.outcome:
                yield "I7 state", f"{line.cause} of {customer_id} is {decision.outcome} by itself"
            for command in decision.commands:
                expected[command.id] = encode_command(command)
        if topics.values.get(customer_id) != encode_customer(customer) and any(
            line.outcome == "applied" for line in lines
        ):
            yield "I7 state", f"the state of {customer_id} differs"
        if wake_at_ms(customer) is not None:
            yield "I6 waits", f"a wait of {customer_id} never fired"
    for name in expected.keys() - visible.keys():
        yield "I3 commands", f"{name} was lost"
    for name in visible.keys() - expected.keys():
        yield "I3 commands", f"{name} was invented"
    for name in visible.keys() & expected.keys():
        if visible[name] != expected[name]:
            yield "I3 commands", f"{name} has other bytes"


def input_of(topics: Topics, line: Line) -> Input | None:
    """Return the input of a journey-log record, read from the topics again."""
    cause = line.cause
    match line.kind:
        case "timer":
            return TimerFired(millis(cause["due"]))
        case "resumed":
            return Resumed(cause["revision"])
        case "visit":
            occurrence = cause["occurrence"]
            occurrence_ms = None if occurrence is None else millis(occurrence)
            return Visit(cause["journey"], cause["version"], occurrence_ms)
        case "merge":
            asked = Cause(cause["source"], cause["id"])
            return MergeAsked(line.customer, cause["survivor"], asked)
    record = topics.record(line.place)
    if record is None:
        return None
    if line.kind in {"state", "shared"}:
        return read_notice(record.key, record.value, record.headers)
    return decode_event(
        record.key, record.value, record.headers, event_bytes_max=EVENT_BYTES_MAX, forwarded=True
    )
