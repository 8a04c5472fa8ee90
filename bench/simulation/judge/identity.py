"""Who is one person, told from what was produced: what must stand on the topics after merges.

The plans of merges end with everybody known to be who they are, and with a purchase of each.
"""

# Each law is a sentence about the topics.
# ruff: noqa: D401

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from bench.simulation.judge.laws import first_name
from bench.simulation.judge.topics import millis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.simulation.judge.topics import Topics


class Identities:
    """The persons of a history, as it meant them: each a group of ids."""

    def __init__(self, topics: Topics, groups: tuple[tuple[str, ...], ...]) -> None:
        self.topics = topics
        self.groups = groups

    def violations(self) -> Iterator[tuple[str, str]]:
        """Yield everything that must not be so."""
        for name, law in (
            ("identity: one person", self.not_merged),
            ("identity: once", self.not_once),
            ("identity: enrollments", self.enrollments),
            ("I5 recalled", self.goes_on_after_a_purchase),
        ):
            for what in law():
                yield name, what

    def person(self, customer: str) -> int | None:
        """Return whose id this is."""
        return next((n for n, ids in enumerate(self.groups) if customer in ids), None)

    def not_once(self) -> Iterator[str]:
        """An event is applied once to a person, whichever of their ids it came to."""
        applied: Counter[tuple[str, str]] = Counter()
        duplicate: Counter[tuple[str, str]] = Counter()
        for customer, line in self.topics.of_kind("event"):
            cause = line.cause
            counts = applied if line.outcome == "applied" else duplicate
            counts[cause["source"], cause["id"]] += 1
            subject = cause.get("subject") or customer
            if self.person(subject) != self.person(customer):
                yield f"{cause['id']} of {subject} was decided for {customer}"
        for event, times in applied.items():
            if times > 1:
                yield f"{event[1]} was applied {times} times"
        for event in duplicate.keys() - applied.keys():
            if not event[1].startswith("again"):  # A business key tells these apart.
                yield f"{event[1]} was never applied"

    def not_merged(self) -> Iterator[str]:
        """Every id leads to the one that stays, and holds nothing."""
        states = self.topics.states
        for ids in self.groups:
            known = [one for one in ids if one in states]
            if not known:
                continue
            survivor = min(ids, key=lambda one: (one.startswith("web-"), one.encode()))
            for one in known:
                at, hops = one, 0
                while (state := states.get(at)) and state.merged_into and hops < len(ids):
                    at, hops = state.merged_into, hops + 1
                if at != survivor:
                    yield f"{one} leads to {at}, not to {survivor}"
                if one != survivor and states[one].enrollments:
                    yield f"{one} was absorbed and still has enrollments"

    def enrollments(self) -> Iterator[str]:
        """Every enrollment is followed from its entry to its end, over all ids that it had."""
        entered: Counter[tuple[str, str]] = Counter()
        over: Counter[tuple[str, str]] = Counter()
        handed: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        for customer, lines in self.topics.lines.items():
            stands: Counter[tuple[str, str]] = Counter()
            for one in (one for line in lines for one in line.entries):
                name = first_name(customer, one.get("enrollment") or "")
                match one["kind"]:
                    case "entered":
                        entered[name] += 1
                    case "ended" if one.get("step") or one["reason"] in {"completed", "merged"}:
                        over[name] += 1
                    case "handed_over" if one["becomes"] is not None:
                        handed[one["becomes"]] += 1
                    case "taken_over":
                        taken[one["enrollment"]] += 1
            del stands
        if handed != taken:
            yield f"handed over and taken over differ: {handed - taken} {taken - handed}"
        held = Counter(
            first_name(customer, one.id)
            for customer, state in self.topics.states.items()
            for one in state.enrollments
            if one.step is not None
        )
        for name, times in entered.items():
            if times != 1 or over[name] + held[name] != 1:
                yield f"{name} entered {times}, ended {over[name]}, stands {held[name]} times"
        for name in (over + held).keys() - entered.keys():
            yield f"{name} was never entered"
        yield from self._twice()

    def _twice(self) -> Iterator[str]:
        """Nobody stands twice in one journey with one key."""
        for customer, lines in self.topics.lines.items():
            standing: dict[str, tuple[str, str]] = {}
            for line in lines:
                for one in line.entries:
                    name = one.get("enrollment") or ""
                    if one["kind"] in {"entered", "taken_over"} and one.get("step", "") is not None:
                        standing[name] = (one["journey"], name.partition("#")[0])
                    elif one["kind"] in {"ended", "handed_over"}:
                        standing.pop(name, None)
                for place, times in Counter(standing.values()).items():
                    if times > 1:
                        yield f"{customer} stands {times} times in {place[1]}"

    def goes_on_after_a_purchase(self) -> Iterator[str]:
        """A promotion that a purchase by either id ends is recalled, if it was on its way.

        Under the id that it was sent to: its sender reads no other one's partition.
        """
        commands = [command for _, command in self.topics.commands]
        recalled = {
            (command["subject"], one)
            for command in commands
            for one in command["data"].get("cancels") or ()
        }
        final = {
            one["command"]
            for lines in self.topics.lines.values()
            for line in lines
            for one in line.entries
            if one["kind"] == "message_final"
        }
        entry_ms: dict[tuple[str, str], int] = {}
        bought: defaultdict[int | None, list[tuple[int, str]]] = defaultdict(list)
        for customer, lines in self.topics.lines.items():
            for line in lines:
                for one in line.entries:
                    if one["kind"] == "entered":
                        entry_ms[first_name(customer, one["enrollment"])] = line.occurred_ms
                if line.event == "purchase" and line.outcome == "applied":
                    about = (line.occurred_ms, line.cause["id"])
                    bought[self.person(customer)].append(about)
        ending = {
            name
            for name, plan in self.topics.plans.items()
            if plan.promotional and "purchase" in plan.exits
        }
        for command in commands:
            data = command["data"]
            if command["type"] != "message.send" or data["journey"] not in ending:
                continue
            name = first_name(command["subject"], data["enrollment"])
            for at_ms, purchase in bought[self.person(command["subject"])]:
                called_back = (command["subject"], command["id"]) in recalled
                done = called_back or command["id"] in final
                if (
                    entry_ms.get(name, at_ms + 1) <= at_ms <= millis(data["expires_at"])
                    and not done
                ):
                    yield f"{data['enrollment']} of {command['subject']} goes on after {purchase}"


def fences_left_behind(topics: Topics) -> Iterator[str]:
    """No fence of an absorbed id stays for ever: it names the enrollments of a customer.

    A history is at rest when nothing waits any more: days after the last command has expired.
    """
    live: dict[str, bytes | None] = {}
    for record in topics.history.of(topics.names.fences):
        live[(record.key or b"").decode()] = record.value
    for customer, value in live.items():
        state = topics.states.get(customer)
        if value is not None and state is not None and state.merged_into is not None:
            yield f"{customer} was absorbed, and its fences stay"


def cancels_that_a_sender_misses(topics: Topics) -> Iterator[str]:
    """What takes a command back stands behind it on its own partition: nobody reads both."""
    lanes = {command["id"]: record.place for record, command in topics.commands}
    for record, command in topics.commands:
        for one in command["data"].get("cancels") or ():
            # What is on no topic is a finding of its own.
            place = lanes.get(one, record.place)
            if place[:2] != record.place[:2] or place[2] > record.place[2]:
                yield f"{one} stands at {place}, and its cancel at {record.place}"


# In every shop, whoever was merged or not.
LEFT: Final[dict[str, Callable[[Topics], Iterator[str]]]] = {
    "I5 taken back": cancels_that_a_sender_misses,
    "identity: fences": fences_left_behind,
}
