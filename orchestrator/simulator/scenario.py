"""YAML → a scenario, or every finding in it with file and line.

`cli/simulate` and the pytest plugin read scenarios here, through the catalog's reader of journeys,
so that aliases, bombs and typing errors are told in the same words. Names are looked up in the
journeys that the scenario is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.catalog import Finding
from orchestrator.catalog.draft import read_model
from orchestrator.catalog.findings import instead, quoted
from orchestrator.catalog.tree import FILE_BYTES_MAX, Node, read_tree
from orchestrator.catalog.vocabulary import Vocabulary
from orchestrator.core.decision import (
    ClaimRefusal,
    EndReason,
    Hold,
    PromiseEnd,
    Refusal,
    StageReason,
)
from orchestrator.core.language.scalars import Duration, Name, Text, parse_duration
from orchestrator.core.pauses import GLOBAL
from orchestrator.simulator.expectation import Expectation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum
    from pathlib import Path

    from orchestrator.core.journeys import Journeys
    from orchestrator.core.language.journey import Journey

# The convention: nothing else is read, so that no other tool's YAML is taken for a scenario.
SUFFIX: Final = ".scenario.yaml"
ITEMS_MAX: Final = 1_000
# A Monday before breakfast, so that stories of some hours stay within a working day.
_START: Final = "2026-01-05T08:00:00Z"
_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,3})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(NamedTuple):
    """A time in a story: milliseconds since its start, or an instant."""

    ms: int
    relative: bool


def parse_moment(value: object) -> Moment:
    """Read `0s`, `1h30m` or `2026-11-22T10:00:00Z`. Raises ValueError with what is allowed."""
    if isinstance(value, str) and value[:1].isdigit() and _RFC3339.fullmatch(value) is not None:
        return Moment(parse_instant(value), relative=False)
    try:
        return Moment(parse_duration(value), relative=True)
    except ValueError:
        raise ValueError(
            f"{value!r} is no time; write 0s, 1h30m or 3d since the start, or an instant like "
            "2026-11-22T10:00:00Z"
        ) from None


def parse_instant(value: object) -> int:
    """Read an RFC 3339 time as epoch milliseconds. Raises ValueError with what is allowed."""
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            instant = datetime.fromisoformat(value.upper())
            ms = (instant - _EPOCH) // timedelta(milliseconds=1)
        except (ValueError, OverflowError):
            ms = -1
        if ms >= 0:
            return ms
    raise ValueError(f"{value!r} is no instant; write one like 2026-11-22T10:00:00Z")


At = Annotated[Moment, BeforeValidator(parse_moment)]
Instant = Annotated[int, BeforeValidator(parse_instant)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Item(_Model):
    """One moment of a story: an event, and what is expected then."""

    at: At
    """When: since the start (`0s`, `1h30m`, `3d`), or an instant."""
    event: str | None = None
    """The type of the event that happens; without it, waits come due."""
    data: Mapping[str, Any] = Field(default_factory=dict)
    """The event's data, as the contract wants it."""
    customer: Text | None = None
    """Who it happens to; the scenario's customer unless given."""
    id: Text | None = None
    """The event's id; repeat it, with the same data, to let an event arrive twice."""
    source: Text | None = None
    late_by: Duration = 0
    """How long ago it happened when it is learned."""
    backfill: bool = False
    """History: it fills the profile and starts nothing."""
    pause: Text | None = None
    """What somebody pauses: `global`, or like `journey/winter_sale`, `channel/sms`."""
    kill: Text | None = None
    """What somebody pauses so that it is dropped instead of held."""
    resume: Text | None = None
    """What somebody lets go out again."""
    transactional: bool = False
    """Whether a pause or kill means transactional messages too."""
    report_on: Name | None = None
    """The step whose last message or task the event is about: fills `command_id` or `task_id`."""
    expect: tuple[Expectation, ...] = Field(default=(), max_length=256)
    """What this event does, or what happens at this moment."""

    @property
    def order(self) -> tuple[str, str] | None:
        """What somebody says about what may go out, and of which scope; None when nobody does."""
        given = {"pause": self.pause, "kill": self.kill, "resume": self.resume}
        return next(((word, scope) for word, scope in given.items() if scope is not None), None)

    @model_validator(mode="after")
    def _is_about_something(self) -> Item:
        orders = self.model_fields_set & {"pause", "kill", "resume"}
        if len(orders) + (self.event is not None) > 1:
            raise ValueError("only one of `event`, `pause`, `kill` and `resume` can happen at once")
        if self.transactional and not orders & {"pause", "kill"}:
            raise ValueError("transactional belongs to a pause or a kill")
        if self.event is None:
            given = self.model_fields_set - {"at", "customer", "expect", "transactional", *orders}
            if given:
                raise ValueError(f"{min(given)} belongs to an event; say which with `event`")
            if not (self.expect or orders):
                raise ValueError("says neither what happens (`event`) nor what is expected")
        return self


class Script(_Model):
    """A scenario as its file says it."""

    scenario: Text
    """What it shows, in a sentence."""
    customer: Text = "ana"
    """Whose story it is."""
    start: Instant = parse_instant(_START)
    """The instant that times in the story count from."""
    journeys: Text | None = None
    """The folder of the journeys, from this file's folder; the caller's unless given."""
    profile: Mapping[str, Any] = Field(default_factory=dict)
    """What is known of the customer before the story begins."""
    consents: Literal["all"] | tuple[Name, ...] = ()
    """The channels on which the customer has agreed to promotions before the story begins; `all`
    for every channel of the shop."""
    story: tuple[Item, ...] = Field(max_length=ITEMS_MAX)
    """What happens, in order of time."""


class Scenario(NamedTuple):
    """A scenario and where it stands."""

    path: str
    script: Script
    tree: Node

    def at_ms(self, item: Item) -> int:
        """Return the instant of an item."""
        return self.script.start + item.at.ms if item.at.relative else item.at.ms

    def line(self, *place: str | int) -> int:
        """Return the line of a part."""
        return self.tree.line_of(*place)


def read_scenario(path: Path) -> tuple[Scenario | None, list[Finding]]:
    """Read one file; the scenario is None when there is a finding."""
    shown = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        return None, [Finding(shown, 1, f"cannot be read: {error.strerror}")]
    tree, findings = read_tree(shown, data)
    if tree is None:
        return None, findings
    script, faults = read_model(shown, tree, Script)
    findings += faults
    if script is None:
        return None, sorted(set(findings))
    scenario = Scenario(shown, script, tree)
    findings += _order_findings(scenario)
    return (None, sorted(set(findings))) if findings else (scenario, [])


def name_findings(scenario: Scenario, journeys: Journeys) -> list[Finding]:
    """Return the names that the journeys do not know: nothing about them can ever happen."""
    known = _Names(journeys)
    findings = []
    consents = scenario.script.consents
    for index, channel in enumerate(() if consents == "all" else consents):
        if channel not in known.channels:
            message = f"consents: {quoted(channel)} is unknown{instead(channel, known.channels)}"
            findings.append(Finding(scenario.path, scenario.line("consents", index), message))
    for index, item in enumerate(scenario.script.story):
        if item.event is not None and item.event not in known.events:
            message = f"event: {quoted(item.event)} is unknown{instead(item.event, known.events)}"
            line = scenario.line("story", index, "event")
            findings.append(Finding(scenario.path, line, message))
        if item.order is not None and item.order[1] not in known.scopes:
            word, scope = item.order
            message = f"{word}: {quoted(scope)} is unknown{instead(scope, known.scopes)}"
            findings.append(Finding(scenario.path, scenario.line("story", index, word), message))
        for at, expectation in enumerate(item.expect):
            if expectation.nothing_else:
                continue
            for name, value, allowed in known.asked_by(expectation):
                if value not in allowed:
                    line = scenario.line("story", index, "expect", at, name)
                    message = f"{name}: {quoted(value)} is unknown{instead(value, allowed)}"
                    findings.append(Finding(scenario.path, line, message))
    return findings


def _order_findings(scenario: Scenario) -> Iterator[Finding]:
    if not scenario.script.story:
        yield Finding(scenario.path, scenario.line("story"), "story: is empty")
    last_ms = scenario.script.start
    for index, item in enumerate(scenario.script.story):
        at_ms = scenario.at_ms(item)
        if at_ms < last_ms:
            before = "the item before it" if index else "the start"
            message = f"at: is earlier than {before}; a story goes forward"
            yield Finding(scenario.path, scenario.line("story", index, "at"), message)
        last_ms = max(last_ms, at_ms)


class _Names:
    """The names that a scenario may use."""

    def __init__(self, journeys: Journeys) -> None:
        versions = list(journeys.versions.values())
        self.events = Vocabulary(journeys.shop).types
        self.journeys = {journey.name for journey in versions}
        self.channels = set(journeys.channels)
        self.offers = {terms.name for terms in journeys.offers}
        self.steps = {"exit", "otherwise"} | {
            step.id for journey in versions for step in journey.steps
        }
        self.scopes = {GLOBAL, *(f"channel/{name}" for name in self.channels)}
        self.scopes |= {f"journey/{name}" for name in self.journeys}
        self.scopes |= {f"offer/{name}" for name in self.offers}
        self.templates = {name for journey in versions for name in _templates(journey)}
        self.templates |= {
            terms.offer.otherwise.template for terms in journeys.offers if terms.offer.otherwise
        }
        self.stages = {stage.name for stage in journeys.shop.stages}
        self.attributes = set(journeys.shop.attributes)
        self.audiences = {name for journey in versions for name in _audiences(journey)}

    def asked_by(self, expectation: Expectation) -> Iterator[tuple[str, str, set[str]]]:
        """Yield the names that an expectation uses, with what is allowed in their place."""
        by_name = {
            **dict.fromkeys(
                ("enter", "leave", "refuse_entry", "fence", "journey", "goal"), self.journeys
            ),
            **dict.fromkeys(
                ("send", "task", "cancel", "close_task", "refuse_send", "hold", "channel"),
                self.channels,
            ),
            **dict.fromkeys(
                ("step", "wait", "of", "choose", "hold_out", "set", "next", "owed_to"),
                self.steps,
            ),
            "tell": self.events,
            **dict.fromkeys(("add", "remove"), self.audiences),
            **dict.fromkeys(("template", "otherwise"), self.templates),
            **dict.fromkeys(("stage", "stage_withheld", "from"), self.stages),
            "derive": self.attributes,
            "ignore": {"duplicate", "erased"},
            **dict.fromkeys(
                ("offer", "promise", "grant", "confirm", "withdraw", "redeem", "undo_redemption"),
                self.offers,
            ),
            "reason": {one.value for one in _reasons(expectation)},
            "class": {"transactional", "service", "promotional"},
        }
        for name, value in expectation.wanted().items():
            if (allowed := by_name.get(name)) is not None:
                for one in value if isinstance(value, Mapping | list | tuple) else (value,):
                    if one is not None:  # Said to be nobody, like what a goal is owed to.
                        yield name, one, set(allowed)


def _reasons(expectation: Expectation) -> type[StrEnum]:
    if expectation.leave is not None:
        return EndReason
    if expectation.withdraw is not None:
        return PromiseEnd
    if expectation.stage is not None:
        return StageReason
    if expectation.refuse_claim is not None:
        return ClaimRefusal
    return Refusal if expectation.hold is None else Hold


def _templates(journey: Journey) -> Iterator[str]:
    for step in journey.steps:
        said = (step.send, step.ask, step.webhook, step.task)
        yield from (word.template for word in said if word is not None)
    yield from (one.then.template for one in journey.exits if one.then is not None)


def _audiences(journey: Journey) -> Iterator[str]:
    for step in journey.steps:
        if (audience := step.audience) is not None:
            yield from (name for name in (audience.add, audience.remove) if name is not None)
