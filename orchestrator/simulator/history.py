"""A trial over recorded events: what would have gone out, counted, before anybody is reached.

`cli/simulate --history` reads CloudEvents from JSON lines and plays them in the order of their
time in a `World`. Memory holds the customers' encoded states and counters, and no event: lines are
read one by one, so they have to be sorted. Recorded feedback about messages of another deployment
names commands that do not exist here; it is counted with the rest and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.command import CommandType
from orchestrator.core.decision import Ended, Entered, EntryRefused, Outcome, SendRefused
from orchestrator.errors import EventRejected
from orchestrator.protocol.codec import decode_event
from orchestrator.simulator.world import EVENT_BYTES_MAX, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.core.decision import Decision
    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.outputs import Headers

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What reaches a person; everything else takes back or keeps lists.
_ASKED: Final = frozenset({CommandType.MESSAGE_SEND, CommandType.TASK_CREATE})
_PERCENTS: Final = (50, 90, 99, 100)


class Trial:
    """What the journeys would have done with a history, counted."""

    def __init__(self, journeys: Journeys, noted: Callable[[Decision], None] | None = None) -> None:
        self._world = World(journeys)
        self._noted = noted
        self.lines = 0
        self.events = 0
        self.duplicates = 0
        self.out_of_order = 0
        self.rejected: Counter[str] = Counter()
        self.rejected_first: dict[str, str] = {}
        self.entered: Counter[str] = Counter()
        self.ended: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[tuple[str, str, str]] = Counter()
        self.other: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[tuple[str, str, str]] = Counter()
        self._messages: Counter[str] = Counter()
        self._first_ms: int | None = None
        self._now_ms = 0

    def play(self, lines: Iterable[bytes]) -> None:
        """Play events to the last one. Waits beyond it do not come due."""
        for line in lines:
            self.take(line)
        self.finish()

    def take(self, value: bytes, headers: Headers = ()) -> None:
        """Play one event, a line or the value of a record; an empty one is passed over."""
        self.lines += 1
        if value.strip():
            self._event(value, headers)

    def finish(self) -> None:
        """Let come due what is due at the last event. Waits beyond it do not."""
        for decision in self._world.waits_until(self._now_ms):
            self._count(decision)

    def _event(self, value: bytes, headers: Headers) -> None:
        try:
            event = decode_event(None, value, headers, event_bytes_max=EVENT_BYTES_MAX)
        except EventRejected as rejected:
            self.rejected[rejected.reason] += 1
            self.rejected_first.setdefault(rejected.reason, f"line {self.lines}: {rejected.detail}")
            return
        if self._first_ms is None:
            self._first_ms = event.time_ms
        self.out_of_order += event.time_ms < self._now_ms
        self._now_ms = max(self._now_ms, event.time_ms)
        for decision in self._world.waits_until(self._now_ms - 1):
            self._count(decision)
        self.events += 1
        self._count(self._world.tell(event, self._now_ms))
        for _, decision in self._world.told():
            self._count(decision)

    def _count(self, decision: Decision) -> None:
        if self._noted is not None:
            self._noted(decision)
        if decision.outcome is Outcome.DUPLICATE:
            self.duplicates += 1
        if decision.rejection is not None:
            self.rejected[decision.rejection.reason] += 1
            self.rejected_first.setdefault(
                decision.rejection.reason, f"line {self.lines}: {decision.rejection.detail}"
            )
        for command in decision.commands:
            if command.type in _ASKED:
                self.sent[command.journey, command.step, command.channel] += 1
                self._messages[command.customer] += command.type is CommandType.MESSAGE_SEND
            else:
                self.other[command.type.value, command.channel] += 1
        for entry in decision.entries:
            match entry:
                case Entered():
                    self.entered[entry.journey] += 1
                case Ended():
                    self.ended[entry.journey, entry.reason.value] += 1
                case EntryRefused():
                    self.refused[entry.journey, "(entry)", entry.reason.value] += 1
                case SendRefused():
                    self.refused[entry.journey, entry.step, entry.reason.value] += 1
                case _:
                    pass

    def document(self) -> dict[str, Any]:
        """Return everything counted, for machines and for the page."""
        customers = sum(1 for _ in self._world.customer_ids())
        by_number = Counter(count for count in self._messages.values() if count)
        silent = customers - sum(by_number.values())
        if silent > 0:
            by_number[0] = silent
        return {
            "from": None if self._first_ms is None else _day(self._first_ms),
            "to": None if self._first_ms is None else _day(self._now_ms),
            "lines": self.lines,
            "events": self.events,
            "duplicates": self.duplicates,
            "out_of_order": self.out_of_order,
            "rejected": [
                {"reason": reason, "count": count, "first": self.rejected_first[reason]}
                for reason, count in sorted(self.rejected.items())
            ],
            "customers": customers,
            "entered": [
                {"journey": journey, "count": count}
                for journey, count in sorted(self.entered.items())
            ],
            "ended": _rows(("journey", "reason"), self.ended),
            "sent": _rows(("journey", "step", "channel"), self.sent),
            "other": _rows(("type", "channel"), self.other),
            "refused": _rows(("journey", "step", "reason"), self.refused),
            "messages_per_customer": {
                "percentiles": {
                    f"p{percent}" if percent < 100 else "most": _percentile(by_number, percent)
                    for percent in _PERCENTS
                },
                "customers_by_number": {str(n): by_number[n] for n in sorted(by_number)},
            },
        }


def page(document: dict[str, Any]) -> Iterable[str]:
    """Return what was counted, for a person."""
    yield (
        f"{document['events']} events of {document['customers']} customers, "
        f"{document['from']} to {document['to']}"
    )
    if document["duplicates"]:
        yield f"{document['duplicates']} came before and changed nothing"
    if document["out_of_order"]:
        yield (
            f"{document['out_of_order']} are older than the line before them; "
            "they were learned late"
        )
    for row in document["rejected"]:
        yield f"{row['count']} not played: {row['reason']} (first {row['first']})"
    for title, rows in (
        ("Entered", document["entered"]),
        ("Ended, and why", document["ended"]),
        ("Messages and tasks", document["sent"]),
        ("Recalls and audiences", document["other"]),
        ("Refused, and why", document["refused"]),
    ):
        yield from _table(title, rows)
    of_each = document["messages_per_customer"]
    yield ""
    yield "Messages per customer"
    yield "  " + ", ".join(f"{name} {number}" for name, number in of_each["percentiles"].items())


def _table(title: str, rows: list[dict[str, Any]]) -> Iterable[str]:
    yield ""
    yield title
    if not rows:
        yield "  none"
        return
    width = len(str(max(row["count"] for row in rows)))
    names = [name for name in rows[0] if name != "count"]
    widths = [max(len(str(row[name])) for row in rows) for name in names]
    for row in rows:
        cells = (f"{row[name]!s:<{size}}" for name, size in zip(names, widths, strict=True))
        yield f"  {row['count']:>{width}}  {'  '.join(cells)}".rstrip()


def _rows(names: tuple[str, ...], counts: Counter[Any]) -> list[dict[str, Any]]:
    return [
        {**dict(zip(names, place, strict=True)), "count": count}
        for place, count in sorted(counts.items())
    ]


def _percentile(by_number: Counter[int], percent: int) -> int:
    """Return the number that so many percent of the customers do not exceed."""
    wanted = sum(by_number.values()) * percent / 100
    passed = 0
    for number in sorted(by_number):
        passed += by_number[number]
        if passed >= wanted:
            return number
    return 0


def _day(at_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=at_ms)).date().isoformat()
