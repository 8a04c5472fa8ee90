"""Two versions of the journeys over one history: whose messages differ, and why.

`cli/simulate --compare` plays both side by side, event by event. Of each customer only what went
out and the last reason of each journey is kept: memory grows with messages and not with events.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.core.command import CommandType
from orchestrator.core.decision import Ended, Entered, EntryRefused, SendRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.core.decision import Decision
    from orchestrator.core.journeys import Journeys
    from orchestrator.simulator.history import Trial

_ASKED: Final = frozenset({CommandType.MESSAGE_SEND, CommandType.TASK_CREATE})
Message = tuple[str, str, str]  # Journey, step, channel.


class _Life:
    """What went out to one customer, and what each journey last did with them."""

    __slots__ = ("got", "refused", "stood")

    def __init__(self) -> None:
        self.got: Counter[Message] = Counter()
        self.stood: dict[str, str] = {}
        self.refused: dict[tuple[str, str], str] = {}


class Lives:
    """All customers of one version."""

    def __init__(self, journeys: Journeys) -> None:
        self._journeys: Final = journeys
        self._lives: dict[str, _Life] = {}

    def note(self, decision: Decision) -> None:
        """Take in one decision."""
        if not decision.commands and not decision.entries:
            return
        life = self._lives.setdefault(decision.customer.id, _Life())
        for command in decision.commands:
            if command.type in _ASKED:
                life.got[command.journey, command.step, command.channel] += 1
        for entry in decision.entries:
            match entry:
                case Entered():
                    life.stood[entry.journey] = "is in it"
                case EntryRefused():
                    life.stood[entry.journey] = f"entry refused: {entry.reason.value}"
                case Ended():
                    where = f" in {entry.step}" if entry.step else ""
                    life.stood[entry.journey] = f"left{where}: {entry.reason.value}"
                case SendRefused():
                    life.refused[entry.journey, entry.step] = entry.reason.value
                case _:
                    pass

    def customers(self) -> set[str]:
        """Return everybody to whom anything happened."""
        return set(self._lives)

    def got(self, customer: str) -> Counter[Message]:
        """Return what went out to a customer."""
        life = self._lives.get(customer)
        return Counter() if life is None else life.got

    def why_not(self, customer: str, message: Message) -> str:
        """Return why a customer did not get a message here."""
        journey, step, _ = message
        current = next((one for one in self._journeys.current if one.name == journey), None)
        if current is None:
            return "there is no such journey"
        if all(one.id != step for one in current.steps):
            return "the journey has no such step"
        life = self._lives.get(customer)
        if life is None:
            return "never entered"
        refused = life.refused.get((journey, step))
        if refused is not None:
            return f"refused: {refused}"
        return life.stood.get(journey, "never entered")


class Difference(NamedTuple):
    """One message that a customer gets more often in one version."""

    message: Message
    here: int
    there: int
    because: str


class Comparison:
    """The draft (`here`) beside another version (`there`)."""

    def __init__(self, here: tuple[Trial, Lives], there: tuple[Trial, Lives]) -> None:
        self._trials: Final = (here[0], there[0])
        self._here, self._there = here[1], there[1]

    def differing(self) -> list[str]:
        """Return the customers who do not get the same, by id."""
        everybody = self._here.customers() | self._there.customers()
        return sorted(one for one in everybody if self._here.got(one) != self._there.got(one))

    def of(self, customer: str) -> list[Difference]:
        """Return in what a customer's messages differ."""
        here, there = self._here.got(customer), self._there.got(customer)
        found = []
        for message in sorted(here.keys() | there.keys()):
            if here[message] == there[message]:
                continue
            lacking = self._there if here[message] > there[message] else self._here
            because = lacking.why_not(customer, message)
            found.append(Difference(message, here[message], there[message], because))
        return found

    def document(self, customers_max: int) -> dict[str, Any]:
        """Return everything, for machines and for the page."""
        here, there = (trial.document() for trial in self._trials)
        differing = self.differing()
        return {
            "here": here,
            "there": there,
            "differing": len(differing),
            "reasons": [
                {"reason": reason, "count": count}
                for reason, count in self._reasons(differing).most_common()
            ],
            "customers": [
                {
                    "customer": customer,
                    "differences": [
                        {
                            "journey": one.message[0],
                            "step": one.message[1],
                            "channel": one.message[2],
                            "here": one.here,
                            "there": one.there,
                            "because": one.because,
                        }
                        for one in self.of(customer)
                    ],
                }
                for customer in islice(differing, customers_max)
            ],
        }

    def _reasons(self, differing: Iterable[str]) -> Counter[str]:
        counted: Counter[str] = Counter()
        for customer in differing:
            for one in self.of(customer):
                side = "only there" if one.there > one.here else "only here"
                counted[f"{side}: {one.message[0]} {one.message[1]}: {one.because}"] += 1
        return counted


def comparison_page(document: dict[str, Any], *, here: str, there: str) -> Iterator[str]:
    """Return a comparison for a person."""
    first, second = document["here"], document["there"]
    yield f"{first['events']} events of {first['customers']} customers; here {here}, there {there}"
    for title, part, names in (
        ("Messages and tasks", "sent", ("journey", "step", "channel")),
        ("Entered", "entered", ("journey",)),
        ("Refused, and why", "refused", ("journey", "step", "reason")),
    ):
        yield from _side_by_side(title, first[part], second[part], names)
    yield ""
    yield "Messages per customer"
    for name, one in (("here", first), ("there", second)):
        shares = one["messages_per_customer"]["percentiles"].items()
        yield f"  {name:<6}" + ", ".join(f"{percent} {number}" for percent, number in shares)
    yield ""
    yield f"{document['differing']} customers do not get the same"
    for row in document["reasons"][:20]:
        yield f"  {row['count']:>7}  {row['reason']}"
    for one in document["customers"]:
        yield ""
        yield one["customer"]
        for row in one["differences"]:
            message = f"{row['journey']} {row['step']} ({row['channel']})"
            lacks = "there" if row["here"] > row["there"] else "here"
            counts = f"{row['here']} here, {row['there']} there"
            yield f"  {counts}  {message}; {lacks}: {row['because']}"


def _side_by_side(
    title: str, here: list[dict[str, Any]], there: list[dict[str, Any]], names: tuple[str, ...]
) -> Iterator[str]:
    counts: dict[tuple[str, ...], list[int]] = {}
    for at, rows in enumerate((here, there)):
        for row in rows:
            counts.setdefault(tuple(str(row[name]) for name in names), [0, 0])[at] = row["count"]
    yield ""
    yield f"{title:<44}{'here':>9}{'there':>9}{'more':>9}"
    if not counts:
        yield "  none"
    for place, (one, other) in sorted(counts.items()):
        yield f"  {'  '.join(place):<42}{one:>9}{other:>9}{one - other:>+9}"
