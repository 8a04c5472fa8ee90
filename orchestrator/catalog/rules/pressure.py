"""How much the journeys of a shop can ask of one customer, at the very worst.

`check` shows the table; `folder.py` asks for the findings once all journeys are read. Worst means:
every branch goes where most messages are, every wait that can be cut short is, and the customer
comes into each journey once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.catalog.draft import Draft, where
from orchestrator.catalog.findings import Finding, quoted
from orchestrator.catalog.rules.paths import links_of
from orchestrator.core.command import CommandClass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.core.language.journey import Journey, Step
    from orchestrator.core.language.shop import Shop

WEEK_MINUTES: Final = 7 * 24 * 60
WEEK_MS: Final = WEEK_MINUTES * 60_000
_MINUTE_MS: Final = 60_000
# More are not counted: a journey that sends so much has its finding long before.
_COUNTED_MAX: Final = 1_000


class Pressure(NamedTuple):
    """The most promotional messages that one run of a journey sends within seven days.

    `keyed` when a customer may be in several runs at once, one for each key.
    """

    journey: str
    messages: int
    keyed: bool


def pressures(journeys: Sequence[Journey]) -> list[Pressure]:
    """Return what each journey may send within a week, those that send most first."""
    found = [Pressure(one.name, _most(one), one.entry.key is not None) for one in journeys]
    return sorted((one for one in found if one.messages), key=lambda one: (-one.messages, one[0]))


def let_through(shop: Shop) -> int | None:
    """Return how many promotional messages the shop's caps let through in a week at most."""
    weeks = (
        cap.max * -(-WEEK_MS // cap.per)
        for cap in shop.caps
        if cap.channel is None
        and cap.journey is None
        and cap.command_class is CommandClass.PROMOTIONAL
    )
    return min(weeks, default=None)


def pressure_findings(
    path: str, line: int, shop: Shop, drafts: Sequence[Draft]
) -> Iterator[Finding]:
    """Yield that all journeys together may send more than the shop allows itself."""
    most = shop.messages_per_week_max
    capped = let_through(shop)
    if most is None or (capped is not None and capped <= most):
        return
    found = pressures([draft.journey for draft in drafts])
    total = sum(one.messages for one in found)
    if total > most:
        listed = ", ".join(f"{one.journey} {one.messages}" for one in found[:5])
        message = (
            f"messages_per_week_max: one customer may get {total} promotional messages in a week "
            f"({listed}), at most {most} are allowed; send less, or later"
        )
        yield Finding(path, line, message)


def ring_findings(drafts: Sequence[Draft]) -> Iterator[Finding]:
    """Yield events that lead back to the journey that tells them, again and again."""
    entered: dict[str, list[Draft]] = {}
    for draft in drafts:
        entry = draft.journey.entry
        if entry.on is not None and entry.reentry == "always":
            entered.setdefault(entry.on, []).append(draft)
    for draft in drafts:
        for at, step in zip(draft.steps_at, draft.journey.steps, strict=True):
            if step.emit is None:
                continue
            way = _way_back(step.emit.event, draft, entered)
            if way is not None:
                place = ("steps", at, "emit", "event")
                message = (
                    f"{quoted(step.emit.event)} enters {' and then '.join(way)}, which goes round "
                    "for ever; write `reentry: once` or `{after: …}` there"
                )
                yield draft.finding(where(draft.tree, place) + message, *place)


def _way_back(event: str, start: Draft, entered: dict[str, list[Draft]]) -> list[str] | None:
    """Return the journeys through which an event comes back to the one that told it."""
    waiting: list[tuple[str, list[str]]] = [(event, [])]
    seen = set()
    while waiting:
        told, way = waiting.pop()
        for draft in entered.get(told, ()):
            name = draft.journey.name
            if draft is start:
                return [*way, name]
            if name not in seen:
                seen.add(name)
                waiting += [
                    (step.emit.event, [*way, name])
                    for step in draft.journey.steps
                    if step.emit is not None
                ]
    return None


def _most(journey: Journey) -> int:
    """Return the most promotional messages within a week, wherever in a run the week begins."""
    steps = journey.steps
    links = links_of(steps)
    if links is None or not any(_is_promotion(step, journey) for step in steps):
        return 0
    known: dict[tuple[int, int], int] = {}
    return max(_within(journey, links, at, WEEK_MINUTES, known) for at in range(len(steps)))


def _within(
    journey: Journey,
    links: dict[int, tuple[int, ...]],
    start: int,
    left: int,
    known: dict[tuple[int, int], int],
) -> int:
    """Count without recursion: a ring with a short wait goes round thousands of times a week."""
    todo = [(start, left)]
    while todo:
        at, minutes = todo[-1]
        if (at, minutes) in known:
            todo.pop()
            continue
        step = journey.steps[at]
        rest = minutes - _shortest_minutes(step)
        behind = [(one, rest) for one in links[at]] if rest >= 0 else []
        missing = [one for one in behind if one not in known]
        if missing:
            todo += missing
            continue
        most = max((known.get(one, 0) for one in behind), default=0)
        known[at, minutes] = min(_COUNTED_MAX, most + _is_promotion(step, journey))
        todo.pop()
    return known[start, left]


def _is_promotion(step: Step, journey: Journey) -> bool:
    word = step.send or step.ask
    return word is not None and (word.command_class or journey.kind) is CommandClass.PROMOTIONAL


def _shortest_minutes(step: Step) -> int:
    """Return how long a step takes at least; a wait that something cuts short takes a minute."""
    wait = step.wait
    if wait is None:
        return 0
    if wait.until or wait.date is not None:
        return 1
    return max(1, -(-wait.for_ // _MINUTE_MS))
