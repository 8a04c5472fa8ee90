"""What can be wrong with a single step whose every word is allowed.

`journeys.py` asks for the findings of each journey; where steps lead is the matter of `paths.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.catalog.draft import Draft, Place, where
from orchestrator.catalog.findings import Finding, instead, quoted
from orchestrator.catalog.rules.paths import raw_ids
from orchestrator.core.language.journey import STEP_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.catalog.vocabulary import Vocabulary
    from orchestrator.core.language.journey import Step
    from orchestrator.core.language.words import Wait

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
# These say themselves where they lead.
_TURNS: Final = {
    "branch": "a branch goes on where its arms say",
    "split": "a split goes on where its shares say",
    "go_to": "a go_to goes on where it says",
    "end": "nothing follows an end",
}


def step_findings(draft: Draft, vocabulary: Vocabulary | None) -> Iterator[Finding]:
    """Yield what is wrong with the steps of a journey, each for itself."""
    yield from _step_words(draft)
    yield from _step_ids(draft)
    yield from _branches(draft)
    yield from _splits(draft)
    yield from _waits(draft)
    if vocabulary is not None:
        yield from _told(draft, vocabulary)


def _at(draft: Draft, message: str, *place: str | int) -> Finding:
    return draft.finding(where(draft.tree, place) + message, *place)


def _steps(draft: Draft) -> Iterator[tuple[int, Step]]:
    return zip(draft.steps_at, draft.journey.steps, strict=True)


def _step_words(draft: Draft) -> Iterator[Finding]:
    for at, step in _steps(draft):
        said = [word for word in STEP_WORDS if getattr(step, word) is not None]
        if not said:
            words = ", ".join(STEP_WORDS)
            yield _at(draft, f"says nothing to do; write one of {words}", "steps", at)
        if len(said) > 1:
            message = f"says {' and '.join(said)}; a step does one thing, make {len(said)} steps"
            yield _at(draft, message, "steps", at)
        audience = step.audience
        if audience is not None and (audience.add is None) == (audience.remove is None):
            yield _at(draft, "say add or remove, one of them", "steps", at, "audience")
        for word, message in _TURNS.items():
            if step.next is not None and getattr(step, word) is not None:
                yield _at(draft, message, "steps", at, "next")


def _step_ids(draft: Draft) -> Iterator[Finding]:
    first = raw_ids(draft)
    for at, step in _steps(draft):
        if (earlier := first[step.id]) != at:
            line = draft.tree.line_of("steps", earlier, "id")
            yield _at(draft, f"this id stands twice; first in line {line}", "steps", at, "id")


def _branches(draft: Draft) -> Iterator[Finding]:
    for at, step in _steps(draft):
        if step.branch is None:
            continue
        place = ("steps", at, "branch")
        if not any(arm.when is not None for arm in step.branch):
            yield _at(draft, "asks nothing; give at least one arm a `when`", *place)
            continue
        if step.branch[-1].when is not None:
            message = "has no arm for everybody else; end with one that has only `next`"
            yield _at(draft, message, *place)
        for index, arm in enumerate(step.branch[:-1]):
            if arm.when is None:
                message = "has no `when`, so the arms below are never reached; it goes last"
                yield _at(draft, message, *place, index)


def _splits(draft: Draft) -> Iterator[Finding]:
    """Yield splits that part nobody from nobody."""
    for at, step in _steps(draft):
        if step.split is not None and len({share.next for share in step.split}) == 1:
            message = f"every way leads to {quoted(step.split[0].next)}; it parts nobody"
            yield _at(draft, message, "steps", at, "split")


def _waits(draft: Draft) -> Iterator[Finding]:
    """Yield waits for nothing, and for things that exclude each other."""
    for at, step in _steps(draft):
        if (wait := step.wait) is None:
            continue
        place = ("steps", at, "wait")
        said = wait.model_fields_set
        for index, arm in enumerate(wait.until):
            if arm.event is None and arm.when is None:
                message = "says nothing to wait for; write `event`, `when` or both"
                yield _at(draft, message, *place, "until", index)
        if wait.ranked and len(wait.until) < 2:
            yield _at(
                draft, "ranks nothing; write two or more things under until", *place, "ranked"
            )
        yield from _best_times(draft, wait, place)
        if wait.date is None:
            for word in sorted(said & {"before", "after", "yearly"}):
                yield _at(draft, "belongs to a date; say which one: `date: …`", *place, word)
            ends = wait.for_ or wait.time is not None or wait.weekday or wait.best_time
            if not ends:
                message = "waits for no time; leave the step out"
                if wait.until:
                    message = "has no end; say how long at most, like `for: 7d`"
                yield _at(draft, message, *place)
            continue
        for word, field in (("for", "for_"), ("weekday", "weekday")):
            if field in said:
                message = "a wait until a date ends with that date; make two steps"
                yield _at(draft, message, *place, word)
        if wait.before and wait.after:
            yield _at(draft, "say before or after, one of them", *place, "before")


def _best_times(draft: Draft, wait: Wait, place: Place) -> Iterator[Finding]:
    """Yield what does not go with the best hour of the day, and bounds that nothing fits into."""
    said = wait.model_fields_set
    if not wait.best_time:
        if "within" in said:
            message = "belongs to the best hour; write `best_time: true` too"
            yield _at(draft, message, *place, "within")
        return
    for word in ("time", "weekday", "date"):
        if word in said:
            message = "one wait ends at one time; wait for the best hour in a step of its own"
            yield _at(draft, message, *place, word)
    if not _HOUR_MS <= wait.within <= _DAY_MS:
        yield _at(draft, "is at least 1h and at most 1d", *place, "within")


def _told(draft: Draft, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Yield events that a journey must not tell: what shops and senders say is theirs to say."""
    for at, step in _steps(draft):
        if step.emit is not None and step.emit.event not in vocabulary.own:
            hint = instead(step.emit.event, vocabulary.own)
            message = (
                f"{quoted(step.emit.event)} is not the shop's own; a journey tells events that "
                f"shop.yaml declares under events{hint}"
            )
            yield _at(draft, message, "steps", at, "emit", "event")
