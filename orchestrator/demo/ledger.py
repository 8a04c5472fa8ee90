"""The books of a day: what went in, what came out, and whether the two agree.

Filled from acknowledgements of the producer and from `read_committed` records of the topics,
nothing else. `demo/day` feeds it live for the picture, and once more from the start of every topic
for the final audit: the verdict never rests on what a reader happened to see on the way.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.core.decision import Ended, EndReason, Entered, EntryRefused, SendRefused
from orchestrator.demo.timeline import LogRecord, read_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

AFTER_PURCHASE = "post_purchase"


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank percentile: a value that was measured, never one in between."""
    if not values:
        return None
    ordered = sorted(values)
    rank = max(1, math.ceil(share * len(ordered)))
    return ordered[rank - 1]


@dataclass(slots=True)
class Purchase:
    """One accepted order and the first sight of its effect. Seconds on one monotonic clock."""

    event: str
    customer: str
    due: float
    acknowledged: float | None = None
    visible: float | None = None
    effects: int = 0

    @property
    def latency_ms(self) -> float | None:
        """Milliseconds from the moment it was due to be sent until a reader saw its effect."""
        return None if self.visible is None else (self.visible - self.due) * 1000


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether every accepted purchase has its effect exactly once."""

    purchases: int
    lost: int
    doubled: int
    commands: int
    unread: int

    @property
    def holds(self) -> bool:
        """Whether nothing was lost and nothing happened twice."""
        return self.lost == 0 and self.doubled == 0 and self.unread == 0


@dataclass(slots=True)
class Ledger:
    """Counts of one day. `first_step` names the post-purchase step that every purchase must see."""

    first_step: str
    sent: int = 0
    accepted: int = 0
    purchases: dict[str, Purchase] = field(default_factory=dict)
    commands: Counter[str] = field(default_factory=Counter)
    command_ids: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    enrollments: int = 0
    exits: int = 0
    forwarded: int = 0
    waiting: set[str] = field(default_factory=set)

    def on_sent(self, event: Mapping[str, Any], *, due: float, repeat: bool = False) -> None:
        """Note an event that leaves for the broker; a repeat must have no effect of its own."""
        self.sent += 1
        if event["type"] == "purchase" and not repeat:
            purchase = Purchase(event=event["id"], customer=event["subject"], due=due)
            self.purchases[event["id"]] = purchase

    def on_accepted(self, event_id: str, at: float) -> None:
        """Note that the broker acknowledged an event: from here on it must not be lost."""
        self.accepted += 1
        purchase = self.purchases.get(event_id)
        if purchase is not None and purchase.acknowledged is None:
            purchase.acknowledged = at
            if purchase.visible is None:
                self.waiting.add(event_id)

    def on_command(self, command: Mapping[str, Any], at: float) -> Purchase | None:
        """Note a committed command; return the purchase whose effect it makes visible, if any."""
        data = command["data"]
        self.command_ids[command["id"]] += 1
        if self.command_ids[command["id"]] > 1:
            return None
        self.commands[data["channel"]] += 1
        if data["journey"] != AFTER_PURCHASE or data["step"] != self.first_step:
            return None
        if command["type"] != "message.send":
            return None
        purchase = self.purchases.get(data["caused_by"]["id"])
        if purchase is None:
            return None
        purchase.effects += 1
        self.waiting.discard(purchase.event)
        if purchase.visible is not None:
            return None
        purchase.visible = at
        return purchase

    def on_log(self, record: LogRecord) -> None:
        """Note a committed journey-log record."""
        if record.cause.kind == "event":
            self.outcomes[record.outcome] += 1
        entries, _ = read_entries(record)
        for entry in entries:
            match entry:
                case Entered():
                    self.enrollments += 1
                case Ended(reason=EndReason.EXIT):
                    self.exits += 1
                case EntryRefused() | SendRefused():
                    self.refusals[entry.reason.value] += 1
                case _:
                    pass

    def verdict(self) -> Verdict:
        """Compare what was accepted with what can be read."""
        accepted = [p for p in self.purchases.values() if p.acknowledged is not None]
        doubled = sum(count - 1 for count in self.command_ids.values() if count > 1)
        doubled += sum(p.effects - 1 for p in self.purchases.values() if p.effects > 1)
        settled = sum(self.outcomes.values()) + sum(self.dead_letters.values())
        return Verdict(
            purchases=len(accepted),
            lost=sum(1 for p in accepted if p.effects == 0),
            doubled=doubled,
            commands=sum(self.command_ids.values()),
            unread=max(0, self.accepted - settled),
        )

    def latencies_ms(self) -> list[float]:
        """Return purchase→visible of every purchase that was seen, in order of sending."""
        return [p.latency_ms for p in self.purchases.values() if p.latency_ms is not None]

    def calm_latencies_ms(self, storms: Iterable[tuple[float, float]]) -> list[float]:
        """Return the latencies of purchases that were not sent into a pause after a kill."""
        spans = list(storms)
        return [
            p.latency_ms
            for p in self.purchases.values()
            if p.latency_ms is not None and not any(begin <= p.due <= end for begin, end in spans)
        ]
