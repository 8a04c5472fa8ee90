"""All loaded journeys of a shop, indexed the way `decide` asks for them.

`catalog` builds one `Journeys` from the YAML files; the worker and the simulator hand it to
`decide` unchanged. It also knows which fields of events and profiles any expression reads, so that
nothing else is converted or remembered.
"""

from __future__ import annotations

import copy
import hashlib
from functools import reduce
from itertools import chain
from operator import or_
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from orchestrator.core.command import CommandClass
from orchestrator.core.customer import Attribute
from orchestrator.core.derived.terms import Derivations
from orchestrator.core.entrances import Entrances
from orchestrator.core.expressions.condition import (
    NO_FIELDS,
    NOTHING,
    Expression,
    Fields,
    Lens,
    Reads,
)
from orchestrator.core.expressions.templates import NO_TEMPLATES, Templates
from orchestrator.core.identity.ids import Identities
from orchestrator.core.language.stated import of_variables, stated_in
from orchestrator.core.offers.terms import Offers
from orchestrator.core.pauses import NO_PAUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pydantic import BaseModel

    from orchestrator.core.command import Command
    from orchestrator.core.language.inputs import Input
    from orchestrator.core.language.journey import Exit, Journey
    from orchestrator.core.language.offers import Offer
    from orchestrator.core.language.shop import Channel, Shop
    from orchestrator.core.language.stages import CustomerStage, Way
    from orchestrator.core.language.words import Heard, Until, Wait
    from orchestrator.core.pauses import Pauses

Mode = Literal["test", "live"]
NO_OFFERS: Final[Mapping[str, Offer]] = MappingProxyType({})
NO_INPUTS: Final[Mapping[str, Input]] = MappingProxyType({})
# The attribute of the profile that holds the stage of a customer, where the shop declares stages.
STAGE: Final = "stage"


class Plan:
    """One version of a journey with the look-ups that a decision needs.

    `positions` is step id to index, `exits` event type to the exits on it in written order,
    `trigger_fields` the part of the entering event that an enrollment has to keep.
    """

    __slots__ = (
        "entry",
        "exits",
        "follows_messages",
        "journey",
        "name",
        "positions",
        "promotional",
        "trigger_fields",
        "version",
    )

    def __init__(self, journey: Journey) -> None:
        self.journey: Final = journey
        self.entry: Final = journey.entry
        self.name: Final = journey.name
        self.version: Final = journey.version
        self.promotional: Final = journey.kind is CommandClass.PROMOTIONAL
        self.follows_messages: Final = journey.goal is not None or any(
            one.startswith("message.") for one in _heard(journey)
        )
        self.positions: Final = {step.id: index for index, step in enumerate(journey.steps)}
        exits: dict[str, tuple[Exit, ...]] = {}
        for exit_ in journey.exits:
            exits[exit_.on] = (*exits.get(exit_.on, ()), exit_)
        self.exits: Final[Mapping[str, tuple[Exit, ...]]] = exits
        exits_and_steps = chain(
            _step_expressions(journey),
            _goal_expressions(journey),
            *(_exit_expressions(one) for one in journey.exits),
        )
        self.trigger_fields: Final = _reads(exits_and_steps).trigger


class Stages:
    """The stages of a shop with the look-ups that a decision needs.

    `places` is name to place in their order, `ways` event type to what it may earn.
    """

    __slots__ = ("places", "reads", "rules", "ways")

    def __init__(self, rules: tuple[CustomerStage, ...]) -> None:
        self.rules: Final = rules
        self.places: Final = {rule.name: at for at, rule in enumerate(rules)}
        ways: dict[str, tuple[tuple[str, Way], ...]] = {}
        for rule in rules:
            for way in rule.on:
                ways[way.event] = (*ways.get(way.event, ()), (rule.name, way))
        self.ways: Final[Mapping[str, tuple[tuple[str, Way], ...]]] = ways
        self.reads: Final = _converted(self.conditions())

    def conditions(self) -> Iterator[Expression]:
        """Yield the conditions of all stages."""
        yield from (way.when for rule in self.rules for way in rule.on if way.when is not None)


class Journeys:
    """The journeys of one deployment: every loaded version, and the shop around them.

    `current` holds the highest version of each name, by name: the one that is entered.
    `content_hash` is a SHA-256 over everything loaded, independent of the order of files.
    `pauses` say what may not go out now; they are no part of the content.
    """

    def __init__(
        self,
        shop: Shop,
        channels: Mapping[str, Channel],
        journeys: Iterable[Journey],
        mode: Mode = "test",
        templates: Templates = NO_TEMPLATES,
        *,
        offers: Mapping[str, Offer] = NO_OFFERS,
        inputs: Mapping[str, Input] = NO_INPUTS,
    ) -> None:
        self.pauses: Pauses = NO_PAUSES
        self.shop: Final = shop
        self.identities: Final = Identities(shop.identity)
        of_segments = _converted(shop.segments.values())
        self.offers: Final = Offers(offers, shop.zone, seen=of_segments)
        self.templates: Final = templates
        self.channels: Final = dict(channels)
        self.inputs: Final = dict(inputs)  # Only loaded and published with the rest.
        self.recipients: Final = _recipients(self.channels)
        self.mode: Final[Mode] = mode
        self.versions: Final[Mapping[tuple[str, int], Journey]] = {
            (journey.name, journey.version): journey
            for journey in sorted(journeys, key=lambda one: (one.name, one.version))
        }
        self.plans: Final = {key: Plan(journey) for key, journey in self.versions.items()}
        latest = dict(list(self.versions))  # Sorted, so the highest version of a name wins.
        self.current: Final = tuple(self.versions[key] for key in latest.items())
        self.content_hash: Final = _content_hash(self)
        current = [self.plans[key] for key in latest.items()]
        self.entering: Final = {
            event_type: Entrances(plans)
            for event_type, plans in _by_event(current, lambda plan: plan.entry.on).items()
        }
        self.missing: Final = _by_event(current, lambda plan: _missed(plan.journey))
        self.dated: Final = tuple(plan for plan in current if plan.entry.date is not None)
        self.segments: Final = tuple(plan for plan in current if plan.entry.segment is not None)
        # By name: those that let customers enter at a time of their own, and those that visit.
        self.watching: Final = {
            plan.name: plan for plan in current if plan.entry.date or plan.entry.absence
        }
        self.scheduled: Final = tuple(plan for plan in current if plan.entry.schedule is not None)
        self.visiting: Final = self.watching | {plan.name: plan for plan in self.scheduled}
        self.goal_types: Final = frozenset(
            one.goal.on for one in self.versions.values() if one.goal is not None
        )
        self.exit_fields: Final = _exit_fields(self.versions.values())
        self.exit_types: Final = frozenset(self.exit_fields)
        self.heard: Final = frozenset(chain(*map(_heard, self.versions.values())))
        # An acquisition offer may be taken back by any event that says who somebody is.
        always = self.offers.says | of_segments
        self.reads_set_off: Final = _reads_set_off(self.versions.values()) | always
        self.reads_on: Final = _reads_on(self.versions.values(), self.reads_set_off)
        self.reads_when_due: Final = always | _converted(
            expression
            for journey in self.versions.values()
            for expression in (*_step_expressions(journey), *_entry_expressions(journey))
        )
        self.reads_of_profile: Final = of_segments | _converted(
            expression for plan in current for expression in _profile_expressions(plan.journey)
        )
        self.chooses_channels: Final = any(map(_chooses_channels, self.versions.values()))
        self.has_tasks: Final = any(map(_has_tasks, self.versions.values()))
        self.caps_ms_max: Final = max((cap.per for cap in shop.caps), default=0)
        self.stages: Final = Stages(shop.stages) if shop.stages else None
        self.derivations: Final = Derivations(shop) if shop.attributes else None
        self.lens: Final = _lens(shop, self.derivations)
        self.learns_hours: Final = any(map(_waits_for_best_time, self.versions.values()))
        owned_for = shop.owned_for
        self.owned_for_ms_max: Final = max(owned_for.default, *owned_for.categories.values(), 0)

    def pausing(self, pauses: Pauses) -> Journeys:
        """Return the same journeys with these pauses in force."""
        paused = copy.copy(self)
        paused.pauses = pauses
        return paused

    def tells_people(self, command: Command) -> bool:
        """Whether a person may want to know of a message: there are tasks, and it is for people."""
        channel = self.channels.get(command.channel)
        return self.has_tasks and channel is not None and channel.kind == "message"

    def entered_by(self, event_type: str) -> tuple[Journey, ...]:
        """Return the current journeys that this event type enters, by name."""
        entrances = self.entering.get(event_type)
        return () if entrances is None else tuple(plan.journey for plan in entrances.plans)


def _chooses_channels(journey: Journey) -> bool:
    return any(step.send is not None and step.send.or_ for step in journey.steps)


def _has_tasks(journey: Journey) -> bool:
    return any(step.task is not None for step in journey.steps)


def _recipients(channels: Mapping[str, Channel]) -> Mapping[str, Mapping[str, str]]:
    """Return what commands of a channel say of their recipient."""
    return {
        name: {"address_ref": channel.address_ref}
        for name, channel in channels.items()
        if channel.address_ref is not None
    }


def _lens(shop: Shop, derivations: Derivations | None) -> Lens:
    """Return how the shop looks at profiles: who has earned no stage stands in the first."""
    assumed: dict[str, Attribute] = {}
    if shop.stages:
        assumed[STAGE] = Attribute(shop.stages[0].name, 0, "", "")
    amounts = frozenset[str]()
    if derivations is not None:
        assumed.update(derivations.assumed)
        amounts = derivations.amounts
    return Lens(assumed, amounts, shop.segments)


def _waits_for_best_time(journey: Journey) -> bool:
    return any(step.wait is not None and step.wait.best_time for step in journey.steps)


def _entry_expressions(journey: Journey) -> Iterator[Expression]:
    entry = journey.entry
    yield from (one for one in (entry.when, entry.key, entry.about) if one is not None)
    yield from _profile_expressions(journey)


def _profile_expressions(journey: Journey) -> Iterator[Expression]:
    """Yield what is asked whenever the profile changes."""
    entry = journey.entry
    if entry.segment is not None:
        yield entry.segment
    if entry.date is not None:
        yield entry.date.of


def _goal_expressions(journey: Journey) -> Iterator[Expression]:
    if journey.goal is not None and journey.goal.when is not None:
        yield journey.goal.when


def _exit_expressions(exit_: Exit) -> Iterator[Expression]:
    if exit_.when is not None:
        yield exit_.when
    if exit_.then is not None:
        yield from (one.expression for one in of_variables(exit_.then.variables, ()))


def _step_expressions(journey: Journey) -> Iterator[Expression]:
    for step in journey.steps:
        yield from (stated.expression for stated in stated_in(step))


def _listened(wait: Wait) -> tuple[Until | Heard, ...]:
    return (*wait.until, *wait.reset_on)


def _heard(journey: Journey) -> frozenset[str]:
    """Return the event types that a wait listens for; a condition listens for the profile."""
    return frozenset(
        one.event or "profile.updated"
        for step in journey.steps
        if step.wait is not None
        for one in _listened(step.wait)
    )


def _reads(expressions: Iterable[Expression]) -> Reads:
    return reduce(or_, (expression.reads for expression in expressions), NOTHING)


def _converted(expressions: Iterable[Expression]) -> Reads:
    """Return what has to be converted for CEL: a plain path is looked up without it."""
    return _reads(expression for expression in expressions if expression.path is None)


def _missed(journey: Journey) -> str | None:
    return None if journey.entry.absence is None else journey.entry.absence.of


def _by_event(
    plans: Iterable[Plan], event_type: Callable[[Plan], str | None]
) -> Mapping[str, tuple[Plan, ...]]:
    """Return plans by an event type that they name, in the order of their names."""
    found: dict[str, tuple[Plan, ...]] = {}
    for plan in plans:
        named = event_type(plan)
        if named is not None:
            found[named] = (*found.get(named, ()), plan)
    return found


def _exit_fields(journeys: Iterable[Journey]) -> Mapping[str, Fields]:
    """Return, by event type that exits anything, the fields that its exit conditions read."""
    fields: dict[str, Fields] = {}
    for journey in journeys:
        for exit_ in journey.exits:
            read = NO_FIELDS if exit_.when is None else exit_.when.reads.event
            fields[exit_.on] = fields.get(exit_.on, NO_FIELDS) | read
    return fields


def _reads_set_off(journeys: Iterable[Journey]) -> Reads:
    """Return what CEL may read when a step or an answer has written the profile."""
    return reduce(
        or_,
        (
            _converted((*_step_expressions(journey), *_entry_expressions(journey)))
            for journey in journeys
            if journey.entry.segment is not None or "profile.updated" in _heard(journey)
        ),
        NOTHING,
    )


def _reads_on(journeys: Iterable[Journey], set_off: Reads) -> Mapping[str, Reads]:
    """Return, by event type, what CEL may read when one arrives: entries, first steps, exits.

    Any event may lead to a step that writes the profile, and so set off other journeys. Types that
    are not here read `set_off` only.
    """
    reads: dict[str, Reads] = {"profile.updated": NOTHING}
    for journey in journeys:
        steps = _converted(_step_expressions(journey))
        named = dict.fromkeys(_heard(journey), steps)
        if journey.entry.on is not None:
            named[journey.entry.on] = steps | _converted(_entry_expressions(journey))
        if journey.goal is not None:
            of_goal = _converted(_goal_expressions(journey))
            named[journey.goal.on] = named.get(journey.goal.on, NOTHING) | of_goal
        absence = journey.entry.absence
        if absence is not None and absence.when is not None:
            named[absence.of] = named.get(absence.of, NOTHING) | _converted((absence.when,))
        for exit_ in journey.exits:
            exiting = _converted(_exit_expressions(exit_))
            named[exit_.on] = named.get(exit_.on, NOTHING) | exiting
        for event_type, read in named.items():
            reads[event_type] = reads.get(event_type, NOTHING) | read
    return {event_type: read | set_off for event_type, read in reads.items()}


def _content_hash(journeys: Journeys) -> str:
    offers = {one.name: _said(one.offer) for one in journeys.offers}
    document: dict[str, Any] = {
        "shop": _said(journeys.shop),
        "channels": {name: _said(channel) for name, channel in journeys.channels.items()},
        "journeys": [_said(journey) for journey in journeys.versions.values()],
        "templates": journeys.templates.sources(),
    }
    if offers:  # What a shop does not use changes no hash.
        document["offers"] = offers
    if journeys.inputs:
        document["inputs"] = {name: _said(one) for name, one in journeys.inputs.items()}
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def _said(model: BaseModel) -> dict[str, Any]:
    """Return what the author said. A word that a later release adds changes no hash until used."""
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
