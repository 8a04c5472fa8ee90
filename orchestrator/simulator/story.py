"""Plays a scenario: event by event, wait by wait, and then looks at what was expected.

Called by `cli/simulate` and the pytest plugin. At one instant events come before due waits, as in
the worker.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.core.pauses import Pause, Pauses
from orchestrator.errors import EventRejected
from orchestrator.simulator.expectation import Difference, Due, Happened, nearest, pair
from orchestrator.simulator.facts import Fact, Observer, dead_letter
from orchestrator.simulator.world import World, event_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.core.decision import Decision
    from orchestrator.core.journeys import Journeys
    from orchestrator.simulator.scenario import Item, Scenario

SOURCE: Final = "/scenario"
MISSING: Final = "it did not happen"
TOO_MUCH: Final = "something else happened"


class Turn(NamedTuple):
    """One decision of a story. `cause` is None when a wait came due."""

    at_ms: int
    customer: str
    cause: str | None
    facts: tuple[Fact, ...]


class Failure(NamedTuple):
    """Something that is not as expected, at the line that expects it."""

    line: int
    message: str
    expected: Due | None = None
    nearest: Fact | None = None
    differences: tuple[Difference, ...] = ()
    at_the_time: tuple[Fact, ...] = ()


class Result(NamedTuple):
    """What became of a scenario."""

    scenario: Scenario
    turns: tuple[Turn, ...]
    failures: tuple[Failure, ...]


def play(scenario: Scenario, journeys: Journeys) -> Result:
    """Play a scenario to its end and compare."""
    stage = _Stage(scenario, journeys)
    for index, item in enumerate(scenario.script.story):
        stage.play(index, item)
    return Result(scenario, tuple(stage.turns), tuple(_failures(stage)))


class _Stage:
    """A story while it is played."""

    def __init__(self, scenario: Scenario, journeys: Journeys) -> None:
        self.scenario = scenario
        self.world = World(journeys)
        self.observer = Observer()
        self.turns: list[Turn] = []
        self.happened: list[Happened] = []
        self.failures: list[Failure] = []
        self.ends: list[int] = []
        script = scenario.script
        if script.profile:
            self._know("profile", "profile.updated", {"attributes": dict(script.profile)})
        for channel in journeys.channels if script.consents == "all" else script.consents:
            consent = {"channel": channel, "class": "promotional", "granted": True}
            self._know(f"consent-{channel}", "consent.updated", consent | {"proof": "scenario"})

    def _know(self, event_id: str, event_type: str, data: dict[str, Any]) -> None:
        """Let something be known before the story; what happens at its first moment is newer."""
        script = self.scenario.script
        known_ms = max(0, script.start - 1)
        document = _cloud_event(script.customer, event_id, event_type, known_ms)
        document |= {"data": data, "backfill": True}
        self.world.tell(event_from(document, now_ms=known_ms), known_ms)

    def play(self, index: int, item: Item) -> None:
        """Let the time of an item come, and its event happen."""
        at_ms = self.scenario.at_ms(item)
        # A wait that is due at the instant of an event comes after it: live events first.
        happens = item.event is not None or item.order is not None
        for decision in self.world.waits_until(at_ms - 1 if happens else at_ms):
            self._note(index, decision, cause=None)
        if item.event is not None:
            self._tell(index, item, at_ms)
        elif item.order is not None:
            self._order(index, item, at_ms)
        self.ends.append(len(self.happened))

    def _tell(self, index: int, item: Item, at_ms: int) -> None:
        customer = item.customer or self.scenario.script.customer
        document = _cloud_event(
            customer, item.id or f"event-{index + 1}", str(item.event), at_ms - item.late_by
        )
        document |= {"data": dict(item.data), "source": item.source or SOURCE}
        if item.backfill:
            document["backfill"] = True
        if item.report_on is not None and not self._report(index, item, customer, document["data"]):
            return
        try:
            event = event_from(document, now_ms=at_ms)
        except EventRejected as rejected:
            fact = dead_letter(customer, at_ms, rejected.reason, rejected.detail)
            self._keep(index, Turn(at_ms, customer, item.event, (fact,)))
            return
        self._note(index, self.world.tell(event, at_ms), cause=f"{event.type} {event.id}")
        for told, decision in self.world.told():
            self._note(index, decision, cause=told)

    def _order(self, index: int, item: Item, at_ms: int) -> None:
        """Let somebody say what may go out."""
        assert item.order is not None
        word, scope = item.order
        before = self.world.journeys.pauses
        pauses = [one for one in before.all if one.scope != scope]
        if word != "resume":
            why, kill = "the scenario says so", word == "kill"
            pauses.append(Pause(scope, "somebody", why, kill, item.transactional))
        for decision in self.world.pause(Pauses(pauses, before.revision + 1), at_ms):
            self._note(index, decision, cause=f"{word} {scope}")
        for told, decision in self.world.told():
            self._note(index, decision, cause=told)

    def _report(self, index: int, item: Item, customer: str, data: dict[str, Any]) -> bool:
        """Put the id of the command that the event is about into its data."""
        command = self.observer.last_command(customer, str(item.report_on))
        if command is None:
            told = ", ".join(dict.fromkeys(self.observer.steps_told(customer))) or "none"
            message = f"report_on: {item.report_on} has sent nothing yet; steps that have: {told}"
            line = self.scenario.line("story", index, "report_on")
            self.failures.append(Failure(line, message))
            return False
        task = str(item.event).startswith("task.")
        data["task_id" if task else "command_id"] = command.id
        return True

    def _note(self, index: int, decision: Decision, *, cause: str | None) -> None:
        facts = tuple(self.observer.facts(decision))
        self._keep(index, Turn(decision.now_ms, decision.customer.id, cause, facts))

    def _keep(self, index: int, turn: Turn) -> None:
        self.turns.append(turn)
        by_event = turn.cause is not None
        self.happened += (Happened(fact, index, by_event) for fact in turn.facts)


def _cloud_event(customer: str, event_id: str, event_type: str, time_ms: int) -> dict[str, Any]:
    time = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=max(0, time_ms))
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": event_type,
        "subject": customer,
        "time": time.isoformat(timespec="milliseconds"),
        "data": {},
    }


def _failures(stage: _Stage) -> list[Failure]:
    expected = _expected(stage.scenario)
    happened = stage.happened
    answered = pair(expected, happened)
    taken = set(answered.values())
    left = [one for at, one in enumerate(happened) if at not in taken]
    failures = list(stage.failures)
    for place, due in enumerate(expected):
        if place not in answered:
            failures.append(_missing(due, left, happened))
    failures += _too_much(stage, taken)
    failures += (
        Failure(
            stage.scenario.line("story", one.item, "event"),
            f"the event is a dead letter: {one.fact.details['dead_letter']}, "
            f"{one.fact.details['detail']}; expect `dead_letter` if it should be",
        )
        for one in left
        if one.fact.word == "dead_letter"
    )
    return sorted(failures, key=lambda failure: failure.line)


def _expected(scenario: Scenario) -> list[Due]:
    expected = []
    for index, item in enumerate(scenario.script.story):
        for at, expectation in enumerate(item.expect):
            if expectation.nothing_else:
                continue
            customer = expectation.customer or item.customer or scenario.script.customer
            caused_by = index if item.event is not None or item.order is not None else None
            line = scenario.line("story", index, "expect", at)
            expected.append(Due(scenario.at_ms(item), customer, expectation, caused_by, line))
    return expected


def _missing(due: Due, left: Sequence[Happened], happened: Sequence[Happened]) -> Failure:
    """Say what comes nearest to what did not happen, and what happened instead."""
    at_the_time = tuple(one.fact for one in left if one.fact.at_ms == due.at_ms)
    near = nearest(due, left)
    if near is None:
        # What other expectations have taken still tells what this one is too much of.
        taken = nearest(due, [one for one in happened if one not in left])
        if taken is not None and not taken[1]:
            message = "it happened, but only as often as other lines expect it"
            return Failure(due.line, message, due, taken[0].fact, (), at_the_time)
        return Failure(due.line, MISSING, due, None, (), at_the_time)
    return Failure(due.line, MISSING, due, near[0].fact, tuple(near[1]), at_the_time)


def _too_much(stage: _Stage, taken: set[int]) -> list[Failure]:
    """Find the commands that `nothing else` does not allow: since the item before it."""
    failures = []
    for index, item in enumerate(stage.scenario.script.story):
        begin, end = (stage.ends[index - 1] if index else 0), stage.ends[index]
        unexpected = tuple(
            stage.happened[at].fact
            for at in range(begin, end)
            if at not in taken and stage.happened[at].fact.is_command
        )
        for at, expectation in enumerate(item.expect):
            if expectation.nothing_else and unexpected:
                line = stage.scenario.line("story", index, "expect", at)
                failures.append(Failure(line, TOO_MUCH, at_the_time=unexpected))
    return failures
