"""All loaded journeys of a shop, indexed the way `decide` asks for them.

`catalog` builds one `Journeys` from the YAML files; the worker and the simulator hand it to
`decide` unchanged. It also knows which fields of events and profiles any expression reads, so that
nothing else is converted or remembered.
"""

from __future__ import annotations

import hashlib
from functools import reduce
from itertools import chain
from operator import or_
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from orchestrator.core.command import CommandClass
from orchestrator.core.condition import NO_FIELDS, NOTHING, Expression, Fields, Reads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic import BaseModel

    from orchestrator.core.journey import Channel, Exit, Heard, Journey, Shop, Until, Wait

Mode = Literal["test", "live"]


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
        self.follows_messages: Final = any(one.startswith("message.") for one in _heard(journey))
        self.positions: Final = {step.id: index for index, step in enumerate(journey.steps)}
        exits: dict[str, tuple[Exit, ...]] = {}
        for exit_ in journey.exits:
            exits[exit_.on] = (*exits.get(exit_.on, ()), exit_)
        self.exits: Final[Mapping[str, tuple[Exit, ...]]] = exits
        exits_and_steps = chain(
            _step_expressions(journey), *(_exit_expressions(one) for one in journey.exits)
        )
        self.trigger_fields: Final = _reads(exits_and_steps).trigger


class Journeys:
    """The journeys of one deployment: every loaded version, and the shop around them.

    `current` holds the highest version of each name, by name: the one that is entered.
    `content_hash` is a SHA-256 over everything loaded, independent of the order of files.
    """

    def __init__(
        self,
        shop: Shop,
        channels: Mapping[str, Channel],
        journeys: Iterable[Journey],
        mode: Mode = "test",
    ) -> None:
        self.shop: Final = shop
        self.channels: Final = dict(channels)
        self.recipients: Final[Mapping[str, Mapping[str, str]]] = {
            name: {"address_ref": channel.address_ref}
            for name, channel in self.channels.items()
            if channel.address_ref is not None
        }
        self.mode: Final[Mode] = mode
        self.versions: Final[Mapping[tuple[str, int], Journey]] = {
            (journey.name, journey.version): journey
            for journey in sorted(journeys, key=lambda one: (one.name, one.version))
        }
        self.plans: Final[Mapping[tuple[str, int], Plan]] = {
            key: Plan(journey) for key, journey in self.versions.items()
        }
        latest = dict(list(self.versions))  # Sorted, so the highest version of a name wins.
        self.current: Final = tuple(self.versions[key] for key in latest.items())
        self.content_hash: Final = _content_hash(shop, self.channels, self.versions.values())
        self.entering: Final = _entering(self.plans[key] for key in latest.items())
        self.exit_fields: Final = _exit_fields(self.versions.values())
        self.exit_types: Final = frozenset(self.exit_fields)
        self.heard: Final = frozenset(chain(*map(_heard, self.versions.values())))
        self.reads_on: Final = _reads_on(self.versions.values())
        self.reads_when_due: Final = _converted(
            expression
            for journey in self.versions.values()
            for expression in _step_expressions(journey)
        )
        owned_for = shop.owned_for
        self.owned_for_ms_max: Final = max(owned_for.default, *owned_for.categories.values(), 0)

    def entered_by(self, event_type: str) -> tuple[Journey, ...]:
        """Return the current journeys that this event type enters, by name."""
        return tuple(plan.journey for plan in self.entering.get(event_type, ()))


def _entry_expressions(journey: Journey) -> Iterator[Expression]:
    entry = journey.entry
    yield from (one for one in (entry.when, entry.key, entry.about) if one is not None)


def _exit_expressions(exit_: Exit) -> Iterator[Expression]:
    if exit_.when is not None:
        yield exit_.when
    if exit_.then is not None:
        yield from (variable.value for variable in exit_.then.variables.values())


def _step_expressions(journey: Journey) -> Iterator[Expression]:
    for step in journey.steps:
        yield from (arm.when for arm in step.branch or () if arm.when is not None)
        if step.wait is not None:
            said = (step.wait.date, *(one.when for one in _listened(step.wait)))
            yield from (one for one in said if one is not None)
        for word in (step.send, step.task):
            if word is not None:
                yield from (variable.value for variable in word.variables.values())


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


def _entering(plans: Iterable[Plan]) -> Mapping[str, tuple[Plan, ...]]:
    """Return, by event type, what it enters, in the order of names."""
    entering: dict[str, tuple[Plan, ...]] = {}
    for plan in plans:
        on = plan.journey.entry.on
        entering[on] = (*entering.get(on, ()), plan)
    return entering


def _exit_fields(journeys: Iterable[Journey]) -> Mapping[str, Fields]:
    """Return, by event type that exits anything, the fields that its exit conditions read."""
    fields: dict[str, Fields] = {}
    for journey in journeys:
        for exit_ in journey.exits:
            read = NO_FIELDS if exit_.when is None else exit_.when.reads.event
            fields[exit_.on] = fields.get(exit_.on, NO_FIELDS) | read
    return fields


def _reads_on(journeys: Iterable[Journey]) -> Mapping[str, Reads]:
    """Return, by event type, what CEL may read when one arrives: entries, first steps, exits."""
    reads: dict[str, Reads] = {}
    for journey in journeys:
        entering = _converted((*_entry_expressions(journey), *_step_expressions(journey)))
        reads[journey.entry.on] = reads.get(journey.entry.on, NOTHING) | entering
        for exit_ in journey.exits:
            exiting = _converted(_exit_expressions(exit_))
            reads[exit_.on] = reads.get(exit_.on, NOTHING) | exiting
        going_on = _converted(_step_expressions(journey))
        for event_type in _heard(journey):
            reads[event_type] = reads.get(event_type, NOTHING) | going_on
    return reads


def _content_hash(shop: Shop, channels: Mapping[str, Channel], journeys: Iterable[Journey]) -> str:
    document: dict[str, Any] = {
        "shop": _said(shop),
        "channels": {name: _said(channel) for name, channel in channels.items()},
        "journeys": [_said(journey) for journey in journeys],
    }
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()


def _said(model: BaseModel) -> dict[str, Any]:
    """Return what the author said. A word that a later release adds changes no hash until used."""
    return model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
