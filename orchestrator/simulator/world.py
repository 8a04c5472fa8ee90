"""A shop without Kafka: the customers' states, their waits, time tables, and a clock that jumps.

`story` plays scenarios in it and `history` whole recordings. It goes the worker's way as far as
bytes do: events come through the codec, states are kept encoded, waits stand in the same index,
and an event that a journey tells comes back like any other.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, assert_never

import orjson

from orchestrator.core.calendar import next_occurrence
from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.core.decision import Decision, Outcome
from orchestrator.core.encoded.state import decode_customer, encode_customer, encoded_is_paused
from orchestrator.core.event import Event, Input, Resumed, TimerFired, Visit
from orchestrator.core.identity.addresses import claims_after, shared_by
from orchestrator.core.identity.asking import sent_on
from orchestrator.core.identity.notices import (
    AddressClaimed,
    AddressShared,
    MergeAsked,
    Notice,
    StateMoved,
)
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.commit.held.waits import WaitIndex
from orchestrator.protocol.commit.rounds import schedule_zone
from orchestrator.protocol.outputs import encode_told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.core.journeys import Journeys, Plan
    from orchestrator.core.pauses import Pauses

# The default of the worker's setting of this name.
EVENT_BYTES_MAX: Final = 1_000_000


class World:
    """Everything that a deployment knows, on one virtual clock.

    Time tables count from the first time that anything happens here.
    """

    def __init__(self, journeys: Journeys) -> None:
        self.journeys = journeys
        self._states: dict[bytes, bytes] = {}
        self._waits = WaitIndex()
        self._coming: deque[tuple[Event | Notice, int]] = deque()
        self._claims: dict[bytes, tuple[str, ...]] = {}
        self._tables: dict[str, int] | None = None

    def tell(self, event: Event, now_ms: int) -> Decision:
        """Let an event reach the shop now. What journeys tell because of it comes next."""
        if self._tables is None:
            self._tables = {}
            for plan in self.journeys.scheduled:
                self._await_table(plan, now_ms - 1)
        return self._take(event, now_ms)

    def pause(self, pauses: Pauses, now_ms: int) -> Iterator[Decision]:
        """Replace what is paused, and look again at everybody whom a pause holds."""
        self.journeys = self.journeys.pausing(pauses)
        held = sorted(one for one, value in self._states.items() if encoded_is_paused(value))
        for customer_id in held:
            decision = self._decide(customer_id, Resumed(pauses.revision), now_ms)
            if decision.entries:
                yield decision

    def told(self) -> Iterator[tuple[str, Decision]]:
        """Let come what decisions have told: events of journeys, and merges of customers.

        Each with what it was.
        """
        while self._coming:
            coming, now_ms = self._coming.popleft()
            if isinstance(coming, Event):
                yield f"{coming.type} {coming.id}", self._take(coming, now_ms)
            elif isinstance(coming, AddressClaimed):
                self._claim(coming, now_ms)
            else:
                decision = self._decide(coming.home.encode(), coming, now_ms)
                survivor = decision.customer.merged_into
                if decision.outcome is Outcome.MOVED and survivor is not None:
                    onward = sent_on(coming, survivor, self.journeys.identities)
                    self._coming.extend([] if onward is None else [(onward, now_ms)])
                elif decision.entries:
                    yield _told_as(coming), decision

    def waits_until(self, until_ms: int) -> Iterator[Decision]:
        """Jump from one due time to the next, up to and including a time.

        Events that journeys have told come first, then waits, then time tables.
        """
        while True:
            for _, decision in self.told():
                yield decision
            table_ms, name = min(
                ((at_ms, name) for name, at_ms in (self._tables or {}).items()),
                default=(until_ms + 1, ""),
            )
            if (due := self._waits.pop_due(min(until_ms, table_ms))) is not None:
                customer_id, due_ms = due
                yield self._decide(customer_id, TimerFired(due_ms), due_ms)
            elif table_ms <= until_ms:
                yield from self._visit_all(self.journeys.visiting[name], table_ms)
            else:
                return

    def customer(self, customer_id: str) -> Customer:
        """Return what is known about a customer."""
        value = self._states.get(customer_id.encode())
        return Customer(customer_id) if value is None else decode_customer(value)

    def customer_ids(self) -> Iterator[str]:
        """Return everybody who is known."""
        return (customer_id.decode() for customer_id in self._states)

    def _visit_all(self, plan: Plan, at_ms: int) -> Iterator[Decision]:
        """Let a journey visit everybody at a time of its table; only what has an effect is told."""
        self._await_table(plan, at_ms)
        visit = Visit(plan.name, plan.version, at_ms)
        for customer_id in sorted(self._states):
            decision = self._decide(customer_id, visit, at_ms)
            if decision.entries:
                yield decision

    def _await_table(self, plan: Plan, after_ms: int) -> None:
        schedule = plan.entry.schedule
        assert schedule is not None
        assert self._tables is not None
        zone = schedule_zone(self.journeys, plan)
        at_ms = next_occurrence(schedule.cron, zone, after_ms)
        self._tables.pop(plan.name, None)
        if at_ms is not None:
            self._tables[plan.name] = at_ms

    def _take(self, event: Event, now_ms: int) -> Decision:
        """Decide an event for who its subject is by now."""
        decision = self._decide(event.subject.encode(), event, now_ms)
        while decision.outcome is Outcome.MOVED and decision.customer.merged_into is not None:
            decision = self._decide(decision.customer.merged_into.encode(), event, now_ms)
        return decision

    def _claim(self, notice: AddressClaimed, now_ms: int) -> None:
        claims = self._claims.get(notice.key, ())
        shared = shared_by(claims, notice)
        self._claims[notice.key] = claims_after(claims, notice)
        if shared is not None:
            self._coming.append((shared, now_ms))

    def _decide(self, customer_id: bytes, what: Input, now_ms: int) -> Decision:
        customer = self.customer(customer_id.decode())
        decision = decide(self.journeys, customer, what, now_ms)
        if decision.outcome is Outcome.APPLIED and decision.customer is not customer:
            self._states[customer_id] = encode_customer(decision.customer)
            self._waits.set(customer_id, decision.wake_at_ms)
        for told in decision.told:
            event = decode_event(
                None, encode_told(told), (), event_bytes_max=EVENT_BYTES_MAX, record_time_ms=now_ms
            )
            self._coming.append((event, now_ms))
        for notice in decision.notices:
            # Its own end comes before anything else, as in the worker.
            own = isinstance(notice, MergeAsked) and notice.absorbed == decision.customer.id
            (self._coming.appendleft if own else self._coming.append)((notice, now_ms))
        return decision


def _told_as(notice: MergeAsked | StateMoved | AddressShared) -> str:
    match notice:
        case MergeAsked():
            return f"merge into {notice.survivor}"
        case StateMoved():
            return f"merge of {notice.state.id}"
        case AddressShared():
            return f"same {notice.by} as {', '.join(notice.others)}"
        case _:
            assert_never(notice)


def event_from(document: Mapping[str, Any], *, now_ms: int) -> Event:
    """Read a CloudEvent as the worker reads a record. Raises EventRejected."""
    return decode_event(
        None,
        orjson.dumps(document),
        (),
        event_bytes_max=EVENT_BYTES_MAX,
        record_time_ms=now_ms,
    )
