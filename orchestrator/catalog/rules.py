"""What can be wrong with a journey whose every word is allowed.

`folder.py` calls `journey_findings` for each journey and `shop_findings` for the shop. Each rule is
a generator that looks at one thing; none depends on another having found nothing.
"""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.catalog.draft import Draft, Place, where
from orchestrator.catalog.expressions import expression_findings
from orchestrator.catalog.findings import Finding, instead, nearest, quoted
from orchestrator.catalog.paths import path_findings, raw_ids
from orchestrator.core.calendar import zone_named
from orchestrator.core.command import CommandClass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.catalog.tree import Node
    from orchestrator.catalog.vocabulary import Vocabulary
    from orchestrator.core.journey import Shop, Step

WORDS: Final = ("send", "wait", "branch", "audience", "task", "go_to", "end")
_LOCALE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What journeys refer to; None where its file could not be read.

    `channels` maps each name to its kind, None when that channel could not be read.
    """

    vocabulary: Vocabulary | None
    channels: Mapping[str, str | None] | None


def journey_findings(draft: Draft, around: Surroundings) -> Iterator[Finding]:
    """Yield every finding of one journey."""
    yield from _event_types(draft, around.vocabulary)
    if around.channels is not None:
        yield from _channels(draft, around.channels)
    yield from _step_words(draft)
    yield from _step_ids(draft)
    yield from _branches(draft)
    yield from path_findings(draft)
    yield from _promotions_end(draft)
    yield from _last_words(draft)
    yield from _lasting(draft)
    yield from _waits(draft)
    if draft.journey.zone is not None and not _is_zone(draft.journey.zone):
        yield draft.finding(_no_zone(draft.journey.zone), "zone")
    if around.vocabulary is not None:
        yield from expression_findings(draft, around.vocabulary)


def shop_findings(path: str, tree: Node, shop: Shop) -> Iterator[Finding]:
    """Yield what is wrong with the shop although each of its words is allowed."""
    if not _is_zone(shop.zone):
        yield Finding(path, tree.line_of("zone"), _no_zone(shop.zone))
    if _LOCALE.fullmatch(shop.locale) is None:
        message = f"locale: {quoted(shop.locale)} is no language; write one like es or es-ES"
        yield Finding(path, tree.line_of("locale"), message)
    for category in shop.owned_for.replenishable:
        if category in shop.owned_for.categories:
            message = (
                f"owned_for: {quoted(category)} is replenishable, so it is never owned; "
                "take it out of categories or out of replenishable"
            )
            line = tree.line_of("owned_for", "categories", category)
            yield Finding(path, line, message)


def _is_zone(name: str) -> bool:
    return zone_named(name) is not None


def _no_zone(name: str) -> str:
    found = nearest(name, zoneinfo.available_timezones())
    hint = f'did you mean "{found}"?' if found else "write one like Europe/Madrid"
    return f"zone: there is no {quoted(name)}; {hint}"


def _at(draft: Draft, message: str, *place: str | int) -> Finding:
    return draft.finding(where(draft.tree, place) + message, *place)


def _steps(draft: Draft) -> Iterator[tuple[int, Step]]:
    return zip(draft.steps_at, draft.journey.steps, strict=True)


def _event_types(draft: Draft, vocabulary: Vocabulary | None) -> Iterator[Finding]:
    if vocabulary is None:
        return
    named: list[tuple[str, Place]] = []
    if "entry" not in draft.damaged:
        named.append((draft.journey.entry.on, ("entry", "on")))
    for at, exit_ in zip(draft.exits_at, draft.journey.exits, strict=True):
        named.append((exit_.on, ("exits", at, "on")))
    for at, step in _steps(draft):
        if step.wait is not None:
            for index, arm in enumerate(step.wait.until):
                if arm.event is not None:
                    named.append((arm.event, ("steps", at, "wait", "until", index, "event")))
            for index, one in enumerate(step.wait.reset_on):
                named.append((one.event, ("steps", at, "wait", "reset_on", index)))
    for event_type, place in named:
        if event_type not in vocabulary.types:
            hint = instead(event_type, vocabulary.types)
            if "did you mean" not in hint:
                hint = "; an event of your own is declared in shop.yaml under events"
            yield _at(draft, f"there is no event {quoted(event_type)}{hint}", *place)


def _channels(draft: Draft, channels: Mapping[str, str | None]) -> Iterator[Finding]:
    named: list[tuple[str, str, Place]] = []
    for at, exit_ in zip(draft.exits_at, draft.journey.exits, strict=True):
        if exit_.then is not None:
            named.append((exit_.then.channel, "message", ("exits", at, "then", "channel")))
    for at, step in _steps(draft):
        if step.send is not None:
            named.append((step.send.channel, "message", ("steps", at, "send", "channel")))
        if step.audience is not None:
            named.append((step.audience.channel, "audience", ("steps", at, "audience", "channel")))
        if step.task is not None:
            named.append((step.task.channel, "task", ("steps", at, "task", "channel")))
    for channel, kind, place in named:
        fitting = [name for name, its in channels.items() if its == kind]
        if channel not in channels:
            yield _at(
                draft, f"there is no channel {quoted(channel)}{instead(channel, fitting)}", *place
            )
        elif channels[channel] not in (kind, None):
            allowed = f"; allowed: {', '.join(sorted(fitting))}" if fitting else ""
            message = f"{quoted(channel)} is for {channels[channel]}s, not for {kind}s{allowed}"
            yield _at(draft, message, *place)


def _step_words(draft: Draft) -> Iterator[Finding]:
    for at, step in _steps(draft):
        said = [word for word in WORDS if getattr(step, word) is not None]
        if not said:
            yield _at(draft, f"says nothing to do; write one of {', '.join(WORDS)}", "steps", at)
        if len(said) > 1:
            message = f"says {' and '.join(said)}; a step does one thing, make {len(said)} steps"
            yield _at(draft, message, "steps", at)
        audience = step.audience
        if audience is not None and (audience.add is None) == (audience.remove is None):
            yield _at(draft, "say add or remove, one of them", "steps", at, "audience")
        if step.next is not None and step.branch is not None:
            yield _at(draft, "a branch goes on where its arms say", "steps", at, "next")
        if step.next is not None and step.go_to is not None:
            yield _at(draft, "a go_to goes on where it says", "steps", at, "next")
        if step.next is not None and step.end is not None:
            yield _at(draft, "nothing follows an end", "steps", at, "next")


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


def _promotions_end(draft: Draft) -> Iterator[Finding]:
    """Yield promotions that a purchase does not end: what exits are there for."""
    if draft.damaged & {"exits", "kind"}:
        return
    journey = draft.journey
    if any(exit_.on == "purchase" for exit_ in journey.exits):
        return
    if journey.kind is CommandClass.PROMOTIONAL:
        message = "exits: a promotional journey needs an exit on purchase"
        yield draft.finding(message, "exits" if journey.exits else "kind")
        return
    for at, step in _steps(draft):
        if step.send is not None and step.send.command_class is CommandClass.PROMOTIONAL:
            message = "is promotional, so the journey needs an exit on purchase"
            yield _at(draft, message, "steps", at, "send", "class")


def _last_words(draft: Draft) -> Iterator[Finding]:
    """Yield last messages that are promotional: nobody is advertised to on the way out."""
    if "kind" in draft.damaged:
        return
    for at, exit_ in zip(draft.exits_at, draft.journey.exits, strict=True):
        if exit_.then is None:
            continue
        its_class = exit_.then.command_class or draft.journey.kind
        if its_class is CommandClass.PROMOTIONAL:
            message = "a last message is never promotional; write `class: service` or transactional"
            place = ("class",) if exit_.then.command_class is not None else ()
            yield _at(draft, message, "exits", at, "then", *place)


def _lasting(draft: Draft) -> Iterator[Finding]:
    """Yield durations of nothing."""
    for at, step in _steps(draft):
        for word, message in (("send", step.send), ("task", step.task)):
            if message is not None and message.expires_after == 0:
                place = ("steps", at, word, "expires_after")
                yield _at(draft, "is over as soon as it is sent; give it time", *place)
    for at, exit_ in zip(draft.exits_at, draft.journey.exits, strict=True):
        if exit_.then is not None and exit_.then.expires_after == 0:
            place = ("exits", at, "then", "expires_after")
            yield _at(draft, "is over as soon as it is sent; give it time", *place)


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
        if wait.date is None:
            for word in sorted(said & {"before", "after", "yearly"}):
                yield _at(draft, "belongs to a date; say which one: `date: …`", *place, word)
            if not wait.for_ and wait.time is None and not wait.weekday:
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
