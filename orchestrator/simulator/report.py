"""What became of a scenario, for a person and for a machine.

`cli/simulate` and the pytest plugin print it: the timeline of the story, and for each wrong
expectation what was expected, what came nearest, and in what the two differ.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.language.scalars import duration_text
from orchestrator.simulator.expectation import NOTHING_ELSE
from orchestrator.simulator.facts import described
from orchestrator.simulator.story import TOO_MUCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.simulator.expectation import Difference
    from orchestrator.simulator.facts import Fact
    from orchestrator.simulator.story import Failure, Result

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET_WIDTH: Final = 9
# A list of everything else that happened helps up to about half a screen.
_LISTED_MAX: Final = 12


def timeline(result: Result) -> Iterator[str]:
    """Return the story line by line: when, what came, what it did."""
    script = result.scenario.script
    several = len({turn.customer for turn in result.turns}) > 1
    yield f"from {instant(script.start)}"
    for turn in result.turns:
        cause = turn.cause or "a wait came due"
        who = f"{turn.customer}: " if several else ""
        yield f"  {_offset(turn.at_ms, script.start):>{_OFFSET_WIDTH}}  {who}{cause}"
        margin = " " * (_OFFSET_WIDTH + 4)
        yield from (f"{margin}{fact.sentence()}" for fact in turn.facts)


def failure_lines(result: Result, failure: Failure) -> Iterator[str]:
    """Return a failure as a test runner tells it; the first line begins with file and line."""
    path, start = result.scenario.path, result.scenario.script.start
    due = failure.expected
    if due is None:
        yield f"{path}:{failure.line}: {failure.message}"
        if failure.message == TOO_MUCH:
            yield f"  expected   {NOTHING_ELSE}"
            yield from _also(failure.at_the_time, start, "happened")
        return
    expected = described(due.expectation.word, due.expectation.wanted())
    yield f"{path}:{failure.line}: {failure.message}"
    yield f"  expected   {_offset(due.at_ms, start)}  {expected}{_of(due.customer, result)}"
    near = failure.nearest
    if near is not None:
        yield f"  {'nearest' if failure.differences else 'happened'}".ljust(13) + _told(near, start)
        yield from (f"    {line}" for line in _differences(failure.differences, start))
    else:
        yield f"  nearest    none; no {due.expectation.word} is left that no other line expects"
    others = tuple(fact for fact in failure.at_the_time if fact is not near)
    yield from _also(others, start, "also then")


def _also(facts: tuple[Fact, ...], start_ms: int, title: str) -> Iterator[str]:
    for at, fact in enumerate(facts[:_LISTED_MAX]):
        yield f"  {'' if at else title}".ljust(13) + _told(fact, start_ms)
    if len(facts) > _LISTED_MAX:
        yield f"             and {len(facts) - _LISTED_MAX} more"


def _differences(differences: Iterable[Difference], start_ms: int) -> Iterator[str]:
    for one in differences:
        if one.name == "at":
            expected, was = _offset(one.expected, start_ms), _offset(one.was, start_ms)
        elif one.name in {"expires_after", "for"}:
            expected, was = duration_text(one.expected), duration_text(one.was)
        else:
            expected, was = _value(one.expected), _value(one.was)
        yield f"{one.name}: expected {expected}, was {was}"


def _value(value: Any) -> str:
    """Return a value so that text and number look different."""
    if value is None:
        return "nothing"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _told(fact: Fact, start_ms: int) -> str:
    return f"{_offset(fact.at_ms, start_ms)}  {described(fact.word, fact.details)}"


def _of(customer: str, result: Result) -> str:
    return "" if customer == result.scenario.script.customer else f" (customer {customer})"


def _offset(at_ms: int, start_ms: int) -> str:
    return duration_text(at_ms - start_ms)


def instant(at_ms: int) -> str:
    """Return a time as RFC 3339 in UTC."""
    text = (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"


def document(result: Result) -> dict[str, Any]:
    """Return a result for machines."""
    start_ms = result.scenario.script.start
    return {
        "file": result.scenario.path,
        "scenario": result.scenario.script.scenario,
        "passed": not result.failures,
        "failures": [
            {
                "line": failure.line,
                "message": failure.message,
                "expected": _expected(failure),
                "nearest": None if failure.nearest is None else _fact(failure.nearest),
                "differences": [one._asdict() for one in failure.differences],
                "happened": [_fact(fact) for fact in failure.at_the_time],
            }
            for failure in result.failures
        ],
        "timeline": [
            {
                "at": instant(turn.at_ms),
                "offset": _offset(turn.at_ms, start_ms),
                "customer": turn.customer,
                "cause": turn.cause,
                "facts": [_fact(fact) for fact in turn.facts],
            }
            for turn in result.turns
        ],
    }


def _expected(failure: Failure) -> dict[str, Any] | None:
    due = failure.expected
    if due is None:
        return None
    wanted = due.expectation.wanted()
    return {"at": instant(due.at_ms), "customer": due.customer, **wanted}


def _fact(fact: Fact) -> dict[str, Any]:
    return {"at": instant(fact.at_ms), "customer": fact.customer, **fact.details}
