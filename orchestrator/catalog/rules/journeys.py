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
from orchestrator.catalog.findings import Finding, instead, nearest, quoted
from orchestrator.catalog.rules.derived import named_derived_findings
from orchestrator.catalog.rules.expressions import expression_findings
from orchestrator.catalog.rules.paths import path_findings
from orchestrator.catalog.rules.promises import discount_findings, promise_findings
from orchestrator.catalog.rules.stages import named_stage_findings
from orchestrator.catalog.rules.steps import step_findings
from orchestrator.catalog.rules.uses import messages
from orchestrator.catalog.templates import template_findings
from orchestrator.core.calendar import zone_named
from orchestrator.core.command import CommandClass
from orchestrator.core.rules.erasure import CUSTOMER_ERASED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.catalog.offers import OfferFile
    from orchestrator.catalog.tree import Node
    from orchestrator.catalog.vocabulary import Vocabulary
    from orchestrator.core.expressions.templates import Templates
    from orchestrator.core.language.journey import Step
    from orchestrator.core.language.shop import Shop

_LOCALE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What journeys refer to; None where its file could not be read.

    `channels` maps each name to its kind, None when that channel could not be read; `templates` is
    None too for a shop whose senders keep the texts, `offers` for one that promises nothing.
    """

    vocabulary: Vocabulary | None
    channels: Mapping[str, str | None] | None
    templates: Templates | None = None
    shop: Shop | None = None
    offers: OfferFile | None = None


def journey_findings(draft: Draft, around: Surroundings) -> Iterator[Finding]:
    """Yield every finding of one journey."""
    yield from _event_types(draft, around.vocabulary)
    if around.channels is not None:
        yield from _channels(draft, around.channels)
    yield from step_findings(draft, around.vocabulary)
    yield from path_findings(draft)
    yield from _promotions_end(draft)
    yield from _last_words(draft)
    yield from _lasting(draft)
    yield from _zones(draft)
    if around.templates is not None:
        yield from template_findings(draft, around.templates)
    yield from promise_findings(draft, around.offers, around.templates)
    if around.shop is not None:
        yield from discount_findings(draft, around.shop, around.offers, around.templates)
    if around.vocabulary is not None:
        yield from expression_findings(draft, around.vocabulary)
        yield from named_stage_findings(draft, around.vocabulary)
        yield from named_derived_findings(draft, around.vocabulary)


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
    for event_type, place in _named_events(draft):
        if event_type == CUSTOMER_ERASED:
            text = "customer.erased enters and exits nothing: it ends every enrollment by itself"
            yield _at(draft, text, *place)
        if event_type not in vocabulary.types:
            hint = instead(event_type, vocabulary.types)
            if "did you mean" not in hint:
                hint = "; an event of your own is declared in shop.yaml under events"
            yield _at(draft, f"there is no event {quoted(event_type)}{hint}", *place)


def _named_events(draft: Draft) -> Iterator[tuple[str, Place]]:
    journey = draft.journey
    entry, goal = journey.entry, journey.goal
    if "entry" not in draft.damaged:
        if entry.on is not None:
            yield entry.on, ("entry", "on")
        if entry.absence is not None:
            yield entry.absence.of, ("entry", "absence", "of")
    if goal is not None:
        yield goal.on, ("goal", "on")
    for at, exit_ in zip(draft.exits_at, journey.exits, strict=True):
        yield exit_.on, ("exits", at, "on")
    for at, step in _steps(draft):
        if step.wait is not None:
            for index, arm in enumerate(step.wait.until):
                if arm.event is not None:
                    yield arm.event, ("steps", at, "wait", "until", index, "event")
            for index, one in enumerate(step.wait.reset_on):
                yield one.event, ("steps", at, "wait", "reset_on", index)


def _zones(draft: Draft) -> Iterator[Finding]:
    journey = draft.journey
    if journey.zone is not None and not _is_zone(journey.zone):
        yield draft.finding(_no_zone(journey.zone), "zone")
    schedule = journey.entry.schedule
    if schedule is not None and schedule.zone is not None and not _is_zone(schedule.zone):
        yield draft.finding(_no_zone(schedule.zone), "entry", "schedule", "zone")


def _channels(draft: Draft, channels: Mapping[str, str | None]) -> Iterator[Finding]:
    named: list[tuple[str, str, Place]] = [
        (said.message.channel, said.channel_kind, said.channel_place) for said in messages(draft)
    ]
    for at, step in _steps(draft):
        if step.audience is not None:
            named.append((step.audience.channel, "audience", ("steps", at, "audience", "channel")))
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
    for said in messages(draft):
        if getattr(said.message, "command_class", None) is CommandClass.PROMOTIONAL:
            message = "is promotional, so the journey needs an exit on purchase"
            if said.place[0] == "steps":
                yield _at(draft, message, *said.place, "class")


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
    for said in messages(draft):
        if said.message.expires_after == 0:
            message = "is over as soon as it is sent; give it time"
            yield _at(draft, message, *said.place, "expires_after")
    entry = draft.journey.entry
    if entry.absence is not None and entry.absence.for_ == 0:
        yield draft.finding("entry: absence.for: nothing is missed at once; give it time", "entry")
    if entry.date is not None and entry.date.before and entry.date.after:
        yield draft.finding("entry: date: say before or after, one of them", "entry", "date")
