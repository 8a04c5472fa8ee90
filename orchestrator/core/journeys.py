"""All loaded journeys of a shop, indexed the way `decide` asks for them.

`catalog` builds one `Journeys` from the YAML files; the worker and the simulator hand it to
`decide` unchanged. It also knows which fields of events and profiles any expression reads, so that
nothing else is converted or remembered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from typing import Any, Final, Literal

import msgspec

from orchestrator.core.command import CommandClass
from orchestrator.core.condition import NO_FIELDS, Expression, Fields
from orchestrator.core.journey import Channel, Exit, Journey, Shop

Mode = Literal["test", "live"]


class Plan:
    """One version of a journey with the look-ups that a decision needs.

    `positions` is step id to index, `exits` event type to the exits on it in written order,
    `trigger_fields` the part of the entering event that an enrollment has to keep.
    """

    __slots__ = (
        "exits",
        "journey",
        "name",
        "positions",
        "promotional",
        "trigger_fields",
        "version",
    )

    def __init__(self, journey: Journey) -> None:
        self.journey = journey
        self.name: Final = journey.name
        self.version: Final = journey.version
        self.promotional: Final = journey.kind is CommandClass.PROMOTIONAL
        self.positions: Final = {step.id: index for index, step in enumerate(journey.steps)}
        exits: dict[str, tuple[Exit, ...]] = {}
        for exit_ in journey.exits:
            exits[exit_.on] = (*exits.get(exit_.on, ()), exit_)
        self.exits: Final[Mapping[str, tuple[Exit, ...]]] = exits
        self.trigger_fields: Final = _union(journey_expressions(journey), "trigger")


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
        self.event_fields: Final = _event_fields(self.versions.values())
        self.profile_fields: Final = _union(
            (one for journey in self.versions.values() for one in _all_expressions(journey)),
            "profile",
        )
        owned_for = shop.owned_for
        self.owned_for_ms_max: Final = max(owned_for.default, *owned_for.categories.values(), 0)

    def entered_by(self, event_type: str) -> tuple[Journey, ...]:
        """Return the current journeys that this event type enters, by name."""
        return tuple(plan.journey for plan in self.entering.get(event_type, ()))


def journey_expressions(journey: Journey) -> Iterator[Expression]:
    """Yield every expression that an enrollment of this version may still evaluate."""
    for exit_ in journey.exits:
        if exit_.when is not None:
            yield exit_.when
        if exit_.then is not None:
            yield from (variable.value for variable in exit_.then.variables.values())
    for step in journey.steps:
        for arm in step.branch or ():
            if arm.when is not None:
                yield arm.when
        for word in (step.send, step.task):
            if word is not None:
                yield from (variable.value for variable in word.variables.values())


def _entry_expressions(journey: Journey) -> Iterator[Expression]:
    entry = journey.entry
    yield from (one for one in (entry.when, entry.key, entry.about) if one is not None)


def _all_expressions(journey: Journey) -> Iterator[Expression]:
    yield from _entry_expressions(journey)
    yield from journey_expressions(journey)


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
            read = NO_FIELDS if exit_.when is None else exit_.when.reads["event"]
            fields[exit_.on] = fields.get(exit_.on, NO_FIELDS) | read
    return fields


def _event_fields(journeys: Iterable[Journey]) -> Mapping[str, Fields]:
    """Return, by event type, the fields that any expression may read when one arrives.

    Steps run in the decision of the event that enters, farewells in that of the event that exits.
    """
    fields: dict[str, Fields] = {}
    for journey in journeys:
        read = _union(_all_expressions(journey), "event")
        for event_type in {journey.entry.on, *(exit_.on for exit_ in journey.exits)}:
            fields[event_type] = fields.get(event_type, NO_FIELDS) | read
    return fields


def _union(expressions: Iterable[Expression], root: str) -> Fields:
    return reduce(or_, (expression.reads[root] for expression in expressions), NO_FIELDS)


def _content_hash(shop: Shop, channels: Mapping[str, Channel], journeys: Iterable[Journey]) -> str:
    document: dict[str, Any] = {
        "shop": shop.model_dump(mode="json", by_alias=True),
        "channels": {
            name: channel.model_dump(mode="json", by_alias=True)
            for name, channel in channels.items()
        },
        "journeys": [journey.model_dump(mode="json", by_alias=True) for journey in journeys],
    }
    return hashlib.sha256(msgspec.json.encode(document, order="sorted")).hexdigest()
