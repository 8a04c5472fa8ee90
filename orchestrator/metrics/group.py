"""What one group commit did, counted in plain dicts and lists while it is decided.

The protocol room makes one `GroupStats` a group and calls it once for each record; nothing here
touches a lock, a clock or Prometheus. `Metrics.observe_group` adds it up after the commit. A group
that is aborted is thrown away with its stats, so a metric never counts what is not visible.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from orchestrator.core.decision import (
    Absorbed,
    Decision,
    DuplicateFound,
    Ended,
    Entered,
    EntryRefused,
    LogEntry,
    MergedInto,
    OfferRefused,
    Outcome,
    RedemptionRefused,
    SendRefused,
)

if TYPE_CHECKING:
    from orchestrator.core.command import Command

PURCHASE: Final = "purchase"
# Whose visits those are that let go on whom a pause has held.
RESUMED: Final = "resume"
# The two sides of a merge.
ABSORBED: Final = "absorbed"
SURVIVOR: Final = "survivor"

Counts = defaultdict[tuple[str, ...], int]


class GroupStats:
    """The counts of one group; keys are label values as they came, bounded when added up.

    `records` and `record_bytes` are what the transaction carries, over all topics.
    """

    __slots__ = (
        "capped",
        "commands",
        "dead_letters",
        "decision_seconds",
        "duplicate_customers",
        "ended",
        "entered",
        "events",
        "exits_dropped",
        "forwards",
        "ignored_records",
        "lateness_seconds",
        "merges",
        "notices",
        "purchases_recorded_ms",
        "record_bytes",
        "recorded_ms",
        "records",
        "refusals",
        "state_record_bytes",
        "visits",
    )

    def __init__(self) -> None:
        self.events: Counts = defaultdict(int)
        self.commands: Counts = defaultdict(int)
        self.entered: Counts = defaultdict(int)
        self.ended: Counts = defaultdict(int)
        self.refusals: Counts = defaultdict(int)
        self.dead_letters: Counts = defaultdict(int)
        self.forwards: Counts = defaultdict(int)
        self.merges: Counts = defaultdict(int)
        self.duplicate_customers: Counts = defaultdict(int)
        self.notices = 0
        self.decision_seconds: list[float] = []
        self.recorded_ms: list[int] = []
        self.purchases_recorded_ms: list[int] = []
        self.lateness_seconds: list[float] = []
        self.state_record_bytes: list[int] = []
        self.exits_dropped = 0
        self.capped = 0
        self.records = 0
        self.record_bytes = 0
        self.visits: Counts = defaultdict(int)
        self.ignored_records: Counts = defaultdict(int)

    @property
    def inputs(self) -> int:
        """How many records, due waits and visits went in."""
        waits, visits = len(self.lateness_seconds), sum(self.visits.values())
        return sum(self.events.values()) + waits + visits + self.notices

    def decided(
        self, event_type: str, decision: Decision, *, recorded_ms: int, seconds: float
    ) -> None:
        """Count a decided event; `recorded_ms` is the record's timestamp, not the event's time.

        A rejected decision counts as the dead letter that it becomes.
        """
        self.decision_seconds.append(seconds)
        outcome = decision.outcome
        if outcome is Outcome.REJECTED:
            reason = decision.rejection.reason if decision.rejection is not None else ""
            self.dead_letter(reason, event_type)
            return
        self.events[event_type, outcome] += 1
        self.recorded_ms.append(recorded_ms)
        if outcome is Outcome.APPLIED:
            if event_type == PURCHASE:
                self.purchases_recorded_ms.append(recorded_ms)
            self._count_effects(decision)

    def wait_decided(self, decision: Decision, *, late_ms: int, seconds: float) -> None:
        """Count a wait that fired `late_ms` after its due time, by the partition's clock."""
        self.decision_seconds.append(seconds)
        self.lateness_seconds.append(late_ms / 1000)
        self._count_effects(decision)

    def visited(self, journey: str, decision: Decision, *, seconds: float) -> None:
        """Count a journey's visit, which may have done nothing."""
        self.decision_seconds.append(seconds)
        self.visits[(journey,)] += 1
        self._count_effects(decision)

    def noticed(self, decision: Decision | None, *, seconds: float) -> None:
        """Count a notice of another owner; None when it was about no customer, or was sent on."""
        self.notices += 1
        if decision is not None:
            self.decision_seconds.append(seconds)
            self._count_effects(decision)

    def notice_sent(self, *, on: bool) -> None:
        """Count a notice for another owner, a new one or one that goes on to a survivor."""
        self.forwards[("merge" if on else "notice",)] += 1

    def dead_letter(self, reason: str, event_type: str = "") -> None:
        """Count a record that goes to `dead-letters`; no type when it could not be read."""
        self.events[event_type, "dead_letter"] += 1
        self.dead_letters[(reason,)] += 1

    def forwarded(self, reason: str, event_type: str = "") -> None:
        """Count a record that goes home over the forward topic."""
        self.events[event_type, "forwarded"] += 1
        self.forwards[(reason,)] += 1

    def ignored(self, name: str) -> None:
        """Count another team's record that the rules of its input leave alone."""
        self.events["", "ignored"] += 1
        self.ignored_records[(name,)] += 1

    def state_written(self, value_bytes: int) -> None:
        """Note the size of one customer's changelog record."""
        self.state_record_bytes.append(value_bytes)

    def produced(self, records: int, record_bytes: int) -> None:
        """Add records that the transaction carries, on whatever topic."""
        self.records += records
        self.record_bytes += record_bytes

    def _count_effects(self, decision: Decision) -> None:
        if decision.entries:
            self._count_entries(decision.entries)
        if decision.commands:
            self._count_commands(decision.commands)
        self.exits_dropped += decision.exits_dropped

    def _count_entries(self, entries: tuple[LogEntry, ...]) -> None:
        for entry in entries:
            match entry:
                case Entered():
                    self.entered[(entry.journey,)] += 1
                case Ended():
                    self.ended[entry.journey, entry.reason] += 1
                case EntryRefused():
                    self.refusals["entry", entry.reason] += 1
                case SendRefused():
                    self.refusals["send", entry.reason] += 1
                case OfferRefused():
                    self.refusals["offer", entry.reason] += 1
                case RedemptionRefused():
                    self.refusals["redemption", entry.reason] += 1
                case Absorbed():
                    self.merges[(SURVIVOR,)] += 1
                case MergedInto():
                    self.merges[(ABSORBED,)] += 1
                case DuplicateFound():
                    self.duplicate_customers[(entry.by,)] += 1
                case _:
                    pass  # The other entries are commands, counted as such, or no outcome.

    def _count_commands(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            self.commands[command.channel, command.command_class, command.type] += 1
