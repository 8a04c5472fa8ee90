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
from orchestrator.timeline.record import LogRecord, read_entries, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

AFTER_PURCHASE = "post_purchase"
# A purchase slower than this, close to a kill, waited for the takeover and not for the processor.
SLOW_MS = 1000.0
# On a machine that is busy with other things everything is slow; then slower than usual counts.
SLOW_FACTOR = 3
# Purchases come every few hundred milliseconds, so a pause is seen within this time of a kill.
CALM_SECONDS = 3.0


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

    def on_log_value(self, value: bytes | None) -> LogRecord | None:
        """Note a value of the journey log, and return it when it is one."""
        record = read_record(value or b"")
        if record is not None:
            self.on_log(record)
        return record

    def on_dead_letter(self, headers: Iterable[tuple[str, bytes]]) -> None:
        """Note a dead letter by its reason."""
        self.dead_letters[dict(headers).get("dl_reason", b"unknown").decode()] += 1

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

    def samples(self) -> list[tuple[float, float]]:
        """Return (seconds after opening, latency in milliseconds) of every purchase seen."""
        return [(p.due, p.latency_ms) for p in self.purchases.values() if p.latency_ms is not None]


@dataclass(frozen=True, slots=True)
class Pause:
    """What a kill cost: from the signal until no purchase waits any more because of it."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long customers of the dead worker waited at most."""
        return self.end - self.begin


def pause_after(kill_at: float, samples: Iterable[tuple[float, float]]) -> Pause:
    """Return the pause that a kill caused, seen from the purchases.

    A purchase belongs to it when it waited at the kill or was sent after it, and needed much
    longer than the ones before, one after the other until the first calm stretch.
    """
    ordered = sorted(samples)
    before = [latency_ms for due, latency_ms in ordered if due + latency_ms / 1000 < kill_at]
    slow_ms = max(SLOW_MS, SLOW_FACTOR * (percentile(before, 0.5) or 0.0))
    end = kill_at
    for due, latency_ms in ordered:
        seen = due + latency_ms / 1000
        if latency_ms > slow_ms and due <= max(end, kill_at + CALM_SECONDS) and seen > kill_at:
            end = max(end, seen)
    return Pause(begin=kill_at, end=end)


@dataclass(frozen=True, slots=True)
class Summary:
    """The day in numbers. Counts and verdict come from the final audit of the topics."""

    seconds: float
    verdict: Verdict
    counters: Mapping[str, int]
    commands: Mapping[str, int]
    refusals: Mapping[str, int]
    dropped: Mapping[str, int]
    dead_letters: Mapping[str, int]
    samples: tuple[tuple[float, float], ...]
    pauses: tuple[Pause, ...]

    @property
    def latencies_ms(self) -> list[float]:
        """Every purchase."""
        return [latency_ms for _, latency_ms in self.samples]

    @property
    def calm_latencies_ms(self) -> list[float]:
        """Purchases that no kill met: neither waiting at one nor sent into its pause."""
        return [
            latency_ms
            for due, latency_ms in self.samples
            if not any(
                pause.begin <= due + latency_ms / 1000 and due <= pause.end for pause in self.pauses
            )
        ]


def summarize(live: Ledger, audit: Ledger, *, seconds: float, kills: Iterable[float]) -> Summary:
    """Put the live measurements and the audited counts together."""
    samples = tuple(live.samples())
    return Summary(
        seconds=seconds,
        verdict=audit.verdict(),
        counters={
            "events": audit.accepted,
            "purchases": audit.verdict().purchases,
            "exits": audit.exits,
            "enrollments": audit.enrollments,
            "commands": sum(audit.commands.values()),
            "repeats ignored": audit.outcomes["duplicate"],
        },
        commands=dict(audit.commands.most_common()),
        refusals=dict(audit.refusals.most_common()),
        dropped=dict(live.dropped.most_common()),
        dead_letters=dict(audit.dead_letters.most_common()),
        samples=samples,
        pauses=tuple(pause_after(kill, samples) for kill in kills),
    )


def for_audit(live: Ledger) -> Ledger:
    """Return empty books that know what was accepted, to be filled from the topics again."""
    audit = Ledger(first_step=live.first_step, sent=live.sent, accepted=live.accepted)
    audit.purchases = {
        event: Purchase(event=event, customer=p.customer, due=p.due, acknowledged=p.acknowledged)
        for event, p in live.purchases.items()
    }
    return audit
