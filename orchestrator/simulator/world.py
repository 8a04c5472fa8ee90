"""A shop without Kafka: the customers' states, their waits, and a clock that jumps.

`story` plays scenarios in it and `history` whole recordings. It goes the worker's way as far as
bytes do: events come through the codec, states are kept encoded, and waits stand in the same index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from orchestrator.core.customer import Customer, decode_customer, encode_customer
from orchestrator.core.decide import decide
from orchestrator.core.decision import Decision, Outcome
from orchestrator.core.event import Event, TimerFired
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.commit.waits import WaitIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.core.journeys import Journeys

# The default of the worker's setting of this name.
EVENT_BYTES_MAX: Final = 1_000_000


class World:
    """Everything that a deployment knows, on one virtual clock."""

    def __init__(self, journeys: Journeys) -> None:
        self.journeys: Final = journeys
        self._states: dict[bytes, bytes] = {}
        self._waits = WaitIndex()

    def tell(self, event: Event, now_ms: int) -> Decision:
        """Let an event reach the shop now."""
        return self._decide(event.subject.encode(), event, now_ms)

    def waits_until(self, until_ms: int) -> Iterator[Decision]:
        """Jump from one due wait to the next, up to and including a time."""
        while (due := self._waits.pop_due(until_ms)) is not None:
            customer_id, due_ms = due
            yield self._decide(customer_id, TimerFired(due_ms), due_ms)

    def customer(self, customer_id: str) -> Customer:
        """Return what is known about a customer."""
        value = self._states.get(customer_id.encode())
        return Customer(customer_id) if value is None else decode_customer(value)

    def customer_ids(self) -> Iterator[str]:
        """Return everybody who is known."""
        return (customer_id.decode() for customer_id in self._states)

    def _decide(self, customer_id: bytes, what: Event | TimerFired, now_ms: int) -> Decision:
        decision = decide(self.journeys, self.customer(customer_id.decode()), what, now_ms)
        if decision.outcome is Outcome.APPLIED:
            self._states[customer_id] = encode_customer(decision.customer)
            self._waits.set(customer_id, decision.wake_at_ms)
        return decision


def event_from(document: Mapping[str, Any], *, now_ms: int) -> Event:
    """Read a CloudEvent as the worker reads a record. Raises EventRejected."""
    return decode_event(
        None,
        orjson.dumps(document),
        (),
        event_bytes_max=EVENT_BYTES_MAX,
        record_time_ms=now_ms,
    )
