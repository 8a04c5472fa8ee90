"""Replays every customer on the model, and compares with what the log, the owners and state say.

Who is absorbed is replayed before who absorbs them: what leaves the one is what comes to the other.
What differs is named with the line of the journey log.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from bench.crash.judge.kin import index_key
from bench.crash.judge.kindred import Kindred
from bench.crash.judge.person import Occurrence, Person
from bench.crash.judge.records import state_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.crash.judge.history import Place
    from bench.crash.judge.records import LogLine, Notice, Reading
    from bench.crash.judge.reference import Model

Fault = tuple[str, str]


class Replay:
    """What the judge has made of all customers."""

    def __init__(
        self, reading: Reading, model: Model, events: Mapping[Place, Occurrence | str]
    ) -> None:
        self.people: dict[str, Person] = {}
        self.claims: Counter[tuple[Any, ...]] = Counter()
        """What owners of addresses should have been told."""
        self._reading = reading
        self._model = model
        self._events = events
        self._commands = {command.id: command for command in reading.commands}
        self._notices = {notice.record.place: notice for notice in reading.notices}
        states = [one for one in reading.notices if one.kind == "state" and one.hops == 1]
        self._states: dict[str, Notice] = {one.about[0]: one for one in states}
        self._left: dict[str, Person] = {}
        for customer, lines in reading.people():
            self._follow(customer, lines)

    @property
    def is_whole(self) -> bool:
        """Whether the replay came to the end of everybody."""
        return not any(person.astray for person in self.people.values())

    def _follow(self, customer: str, lines: list[LogLine]) -> None:
        person = self.people[customer] = Person(customer)
        for line in lines:
            turn, faults = self._turn(person, line)
            if turn is not None:
                faults += turn.compare(line, self._commands)
            for kind, what in faults:
                self._reading.report(kind, f"{customer}: {what}", line.record.place)
            # One difference leads to others; the first one is the finding.
            person.astray = person.astray or bool(faults)
            if person.astray:
                return
            if turn is not None:
                turn.adopt(line, self._commands)
                self._note(turn)

    def _note(self, turn: Kindred) -> None:
        if turn.left is not None:
            self._left[turn.person.id] = turn.left
            self._judge_leaving(turn.left)
        for (by, digest), ended in turn.claims:
            about = (by, turn.person.id, ended)
            self.claims["claim", index_key((by, digest)), about, 1] += 1

    def _turn(self, person: Person, line: LogLine) -> tuple[Kindred | None, list[Fault]]:
        """Do what a line says was done; None for what changes nothing."""
        match line.kind:
            case "merge":
                return self._merge(person, line)
            case "state":
                return self._state(person, line)
            case "shared":
                return self._shared(person, line)
        event = None
        if line.source is not None:
            found = self._events.get(self._reading.arrival(line.source))
            if not isinstance(found, Occurrence):
                # Accounts have told it; the replay cannot go on without the event.
                person.astray = True
                return None, []
            event = found
            faults = _verdict(person, line, event)
            if faults or line.outcome != "applied":
                return None, faults
        elif person.moved_to is not None and not line.entries:
            return None, []  # Their fences are taken back; `waits` knows when.
        elif person.moved_to is not None:
            return None, [("identity", f"a wait came due, but this is {person.moved_to} now")]
        turn = Kindred(self._model, person, line, event)
        turn.take()
        return turn, []

    def _merge(self, person: Person, line: LogLine) -> tuple[Kindred | None, list[Fault]]:
        survivor = line.about or ""
        expected = "applied"
        if person.moved_to is not None:
            expected = "duplicate" if person.moved_to == survivor else "moved"
        elif person.forgotten:
            expected = "ignored"
        if line.outcome != expected:
            kind = "erased" if expected == "ignored" else "identity"
            return None, [(kind, f"to become {survivor} is {expected}, not {line.outcome}")]
        if expected != "applied":
            return None, _silence(line)
        turn = Kindred(self._model, person, line, None)
        turn.hand_over(survivor)
        return turn, []

    def _state(self, person: Person, line: LogLine) -> tuple[Kindred | None, list[Fault]]:
        name = line.about or ""
        came = self._left.pop(name, None)
        if came is None:
            former = self.people.get(name)
            person.astray = True
            if former is not None and former.astray:
                return None, []
            return None, [("identity", f"takes over {name}, who has left nothing, or once before")]
        expected = "applied"
        if person.moved_to is not None:
            expected = "moved"
        elif person.erased_ms is not None:
            began_ms = came.seen.began_ms()
            if began_ms is None or began_ms <= person.erased_ms:
                expected = "ignored"
        if line.outcome != expected:
            kind = "erased" if expected == "ignored" else "identity"
            return None, [(kind, f"to take over {name} is {expected}, not {line.outcome}")]
        if expected != "applied":
            return None, _silence(line)
        turn = Kindred(self._model, person, line, None)
        turn.take_over(came)
        return turn, []

    def _shared(self, person: Person, line: LogLine) -> tuple[Kindred | None, list[Fault]]:
        notice = self._notices.get(line.told or ("", 0, 0))
        if notice is None or notice.kind != "shared" or person.moved_to is not None:
            return None, [("identity", "was told of others by nobody")]
        by, digest, others = notice.about
        turn = Kindred(self._model, person, line, None)
        turn.hear_of_others((by, digest), others)
        return turn, []

    def _judge_leaving(self, left: Person) -> None:
        """Compare what travels with what the replay has seen leave."""
        notice = self._states.get(left.id)
        if notice is not None:
            for what in left.differences(state_of(notice.record.value or b"")):
                text = f"{left.id}, on the way: {what}"
                self._reading.report("state", text, notice.record.place)


def _verdict(person: Person, line: LogLine, event: Occurrence) -> list[Fault]:
    """Return what is wrong with how the log judges an event."""
    allowed = person.verdicts(event, line.now_ms)
    if line.outcome not in allowed:
        said = " or ".join(sorted(allowed))
        kind = "doubled" if line.outcome == "applied" else "lost"
        kind = {"ignored": "erased", "moved": "identity"}.get(said, kind)
        return [(kind, f"{event.id} is {said}, but the log says {line.outcome}")]
    return [] if line.outcome == "applied" else _silence(line)


def _silence(line: LogLine) -> list[Fault]:
    return [("doubled", f"{line.outcome}, and yet it had effects")] if line.entries else []
