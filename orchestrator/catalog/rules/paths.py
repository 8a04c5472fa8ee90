"""Where a journey leads: targets that exist, steps that are reached, ways round with a wait.

`journeys.py` asks for the findings of each journey. `rests` proves the bound of `rules/advance`:
where no way round is free of waits, one decision takes each step at most once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.catalog.draft import Draft, Place, where
from orchestrator.catalog.findings import Finding, instead, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.core.language.journey import Step

Links = dict[int, tuple[int, ...]]


def path_findings(draft: Draft) -> Iterator[Finding]:
    """Yield what is wrong with the ways through a journey."""
    yield from _targets(draft)
    steps = draft.journey.steps
    positions = {step.id: index for index, step in reversed(list(enumerate(steps)))}
    if "steps" in draft.damaged or len(positions) < len(steps):
        return
    links = _links(steps, positions)
    if links is None:
        return  # Where a link leads nowhere has its own finding, and so would all behind it.
    for index in sorted(set(range(len(steps))) - _reached(links)):
        yield _at(draft, "cannot be reached; no step leads here", "steps", draft.steps_at[index])
    for index in _restless(steps, links):
        at, target = draft.steps_at[index], quoted(steps[index].go_to)
        message = f"{target} leads back here without a wait; put one on the way"
        yield _at(draft, message, "steps", at, "go_to")


def rests(steps: Sequence[Step]) -> bool:
    """Whether every link leads to a step and every way round contains a wait."""
    links = _links(steps, {step.id: index for index, step in enumerate(steps)})
    return links is not None and not any(True for _ in _restless(steps, links))


def links_of(steps: Sequence[Step]) -> Links | None:
    """Return where each step may lead, by position; None when a name leads nowhere."""
    return _links(steps, {step.id: index for index, step in enumerate(steps)})


def raw_ids(draft: Draft) -> dict[str, int]:
    """Return every step id of the file with its first position, also of steps with findings."""
    ids: dict[str, int] = {}
    for index in range(len(draft.tree.get("steps") or ())):
        name = draft.tree.get("steps", index, "id")
        if isinstance(name, str):
            ids.setdefault(name, index)
    return ids


def _at(draft: Draft, message: str, *place: str | int) -> Finding:
    return draft.finding(where(draft.tree, place) + message, *place)


def _targets(draft: Draft) -> Iterator[Finding]:
    ids = raw_ids(draft)
    for at, step in zip(draft.steps_at, draft.journey.steps, strict=True):
        for target, place in _named(step):
            whole = ("steps", at, *place)
            back = place == ("go_to",)
            if target not in ids:
                fitting = [name for name, index in ids.items() if back or index > at]
                message = f"{quoted(target)} does not exist{instead(target, fitting)}"
                yield _at(draft, message, *whole)
            elif ids[target] <= at and not back:
                message = f"{quoted(target)} is not further down; only a go_to leads back"
                yield _at(draft, message, *whole)


def _named(step: Step) -> Iterator[tuple[str, Place]]:
    """Yield every step that a step names, and where it does."""
    if step.next is not None:
        yield step.next, ("next",)
    for index, arm in enumerate(step.branch or ()):
        yield arm.next, ("branch", index, "next")
    for index, share in enumerate(step.split or ()):
        yield share.next, ("split", index, "next")
    if step.holdout is not None and step.holdout.next is not None:
        yield step.holdout.next, ("holdout", "next")
    for index, heard in enumerate(step.wait.until if step.wait is not None else ()):
        yield heard.next, ("wait", "until", index, "next")
    if step.go_to is not None:
        yield step.go_to, ("go_to",)


def _links(steps: Sequence[Step], positions: Mapping[str, int]) -> Links | None:
    """Return where each step may lead, or None when a name leads nowhere or `next` back."""
    links: Links = {}
    for index, step in enumerate(steps):
        following: list[int] = []
        for target, place in _named(step):
            position = positions.get(target, -1)
            if position < 0 or (position <= index and place != ("go_to",)):
                return None
            following.append(position)
        turns = (step.branch, step.split, step.go_to, step.end)
        leaves = any(turn is not None for turn in turns)
        if step.next is None and not leaves and index + 1 < len(steps):
            following.append(index + 1)
        links[index] = tuple(following)
    return links


def _reached(links: Links, start: int = 0) -> set[int]:
    reached, waiting = {start}, [start]
    while waiting:
        for following in links[waiting.pop()]:
            if following not in reached:
                reached.add(following)
                waiting.append(following)
    return reached


def _restless(steps: Sequence[Step], links: Links) -> Iterator[int]:
    """Yield the steps that go back on a way round which no wait interrupts."""
    walked: Links = {
        index: () if step.wait is not None and not step.wait.skippable else links[index]
        for index, step in enumerate(steps)
    }
    for index, step in enumerate(steps):
        if step.go_to is None or links[index][-1] > index:
            continue  # Nothing but a go_to leads back, so every way round has one that does.
        if index in _reached(walked, links[index][-1]):
            yield index
