"""What a scenario expects, compared with what happened.

`scenario` reads expectations from YAML; `story` calls `pair` once with everything that happened.
What finds no partner becomes a difference to the nearest thing that did happen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.catalog.findings import instead
from orchestrator.core.language.scalars import Duration

if TYPE_CHECKING:
    from orchestrator.simulator.facts import Fact

_OF_ENROLLMENT: Final = ("journey", "key", "enrollment")
_OF_MESSAGE: Final = (
    *("template", "step", "class", "variables", "content", "offer", "code"),
    *("locale", "delivery", "expires_after"),
    *_OF_ENROLLMENT,
)
_OF_AUDIENCE: Final = ("channel", "step", "class", *_OF_ENROLLMENT)
# What can be expected, and what more can be said about each. `customer` may always be.
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "send": _OF_MESSAGE,
    "task": ("queue", "context", *_OF_MESSAGE),
    "cancel": ("of", "class", *_OF_ENROLLMENT),
    "close_task": ("of", "class", *_OF_ENROLLMENT),
    "add": _OF_AUDIENCE,
    "remove": _OF_AUDIENCE,
    "enter": ("key", "enrollment", "version"),
    "leave": ("reason", "step", "label", "key", "enrollment"),
    "wait": ("for", "detail", *_OF_ENROLLMENT),
    "refuse_entry": ("reason", "detail"),
    "refuse_send": ("reason", "detail", "step", *_OF_ENROLLMENT),
    "hold": ("reason", "detail", "step", "for", *_OF_ENROLLMENT),
    "final": ("of", "outcome", *_OF_ENROLLMENT),
    "fence": ("key", "enrollment", "sequence"),
    "choose": ("next", *_OF_ENROLLMENT),
    "hold_out": ("next", *_OF_ENROLLMENT),
    "set": ("attributes", *_OF_ENROLLMENT),
    "tell": ("data", "step", *_OF_ENROLLMENT),
    "goal": ("owed_to", "key", "enrollment"),
    "promise": ("channel", "provisional", "for"),
    "grant": ("channel", "provisional", "for"),
    "refuse_offer": ("reason", "detail", "otherwise", "channel"),
    "confirm": (),
    "withdraw": ("reason", "otherwise", "channel"),
    "redeem": ("order",),
    "refuse_redemption": ("reason", "detail", "order"),
    "undo_redemption": ("order", "open", "detail"),
    "stage": ("from", "reason"),
    "stage_withheld": ("missing",),
    "claim": ("of", *_OF_ENROLLMENT),
    "refuse_claim": ("of", "reason", "detail"),
    "forget": (),
    "derive": (),
    "ignore": (),
    "dead_letter": ("detail",),
}
NOTHING_ELSE: Final = "nothing else"


def _steps(value: object) -> object:
    """Let one step stand for a list of one; the order of steps does not matter."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return sorted(value)
    return [value] if isinstance(value, str) else value


Steps = Annotated[tuple[str, ...], BeforeValidator(_steps)]


class Expectation(BaseModel):
    """One line of `expect`: a word, what it is about, and as many details as the author cares for.

    Details that are not given may be anything; `variables` may name only some.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    nothing_else: bool = Field(default=False, exclude=True)
    send: str | None = None
    task: str | None = None
    cancel: str | None = None
    close_task: str | None = None
    add: str | None = None
    remove: str | None = None
    enter: str | None = None
    leave: str | None = None
    wait: str | None = None
    refuse_entry: str | None = None
    refuse_send: str | None = None
    hold: str | None = None
    """The channel of a send that may not go out now and waits at its step."""
    final: str | None = None
    fence: str | None = None
    choose: str | None = None
    """The step of a split."""
    hold_out: str | None = None
    """The step of a holdout."""
    set_: str | None = Field(default=None, alias="set")
    """The step that writes attributes."""
    tell: str | None = None
    """The type of an event that a step tells."""
    goal: str | None = None
    """The journey that reaches its goal."""
    promise: str | None = None
    """The offer that the customer is promised."""
    grant: str | None = None
    """The offer that a page or an agent may tell."""
    refuse_offer: str | None = None
    """The offer that a page or an agent must not tell."""
    confirm: str | None = None
    """The offer whose provisional promise holds."""
    withdraw: str | None = None
    """The offer whose promise is taken back."""
    redeem: str | None = None
    """The offer that is redeemed."""
    refuse_redemption: str | None = None
    """The offer that cannot be redeemed."""
    undo_redemption: str | None = None
    """The offer whose order came back."""
    stage: str | None = None
    """The stage that the customer comes to."""
    stage_withheld: str | None = None
    """The stage that is earned while attributes are missing."""
    claim: str | None = None
    """Who takes a task."""
    refuse_claim: str | None = None
    """Who does not get a task."""
    outcome: str | None = None
    """With what a person has closed a task."""
    forget: str | None = None
    """The customer of whom nothing stays."""
    derive: Mapping[str, Any] | None = None
    """The derived attributes that have another value now, with the value; null for none."""
    ignore: str | None = None
    """`duplicate`, or `erased` when it is not younger than the customer's erasure."""
    dead_letter: str | None = None
    customer: str | None = None
    """Whom it concerns; the item's customer unless given."""
    template: str | None = None
    step: str | None = None
    journey: str | None = None
    command_class: str | None = Field(default=None, alias="class")
    variables: Mapping[str, Any] | None = None
    """Variables of the template; those not named may be anything."""
    content: Mapping[str, Any] | None = None
    """Parts of the rendered message; those not named may be anything."""
    next: str | None = None
    attributes: Mapping[str, Any] | None = None
    data: Mapping[str, Any] | None = None
    queue: str | None = None
    context: Mapping[str, Any] | None = None
    """Parts of what a person is told of the customer; those not named may be anything."""
    owed_to: str | None = None
    """The step whose message the goal is owed to."""
    offer: str | None = None
    """The offer that a message tells."""
    code: str | None = None
    """The code that goes with it; null while nobody knows who the customer is."""
    order: str | None = None
    provisional: bool | None = None
    open: bool | None = None
    """Whether the promise can be redeemed again."""
    otherwise: str | None = None
    """The template that is shown in place of an offer."""
    locale: str | None = None
    delivery: str | None = None
    expires_after: Duration | None = None
    of: Steps | None = None
    """The steps whose messages are recalled or final."""
    from_: str | None = Field(default=None, alias="from")
    """The stage from which the customer comes."""
    missing: Steps | None = None
    """The attributes without which the customer does not go on."""
    channel: str | None = None
    key: str | None = None
    enrollment: str | None = None
    version: int | None = None
    reason: str | None = None
    label: str | None = None
    detail: str | None = None
    sequence: int | None = None
    wait_for: Duration | None = Field(default=None, alias="for")

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, value: object) -> object:
        if value == NOTHING_ELSE:
            return {"nothing_else": True}
        if not isinstance(value, Mapping):
            raise ValueError(  # noqa: TRY004 - pydantic turns it into a finding.
                f"write `{NOTHING_ELSE}`, or one of {', '.join(WORDS)} with what it is about"
            )
        words = [word for word in WORDS if value.get(word) is not None]
        if len(words) != 1:
            unknown = next((one for one in value if one not in cls._names()), None)
            if not words and unknown is not None:
                raise ValueError(f"{unknown!r} cannot be expected{instead(unknown, WORDS)}")
            what = "names " + " and ".join(words) if words else "names nothing that can happen"
            raise ValueError(f"{what}; an expectation is about one of {', '.join(WORDS)}")
        allowed = {*WORDS[words[0]], words[0], "customer"}
        for name in value:
            if name in cls._names() and name not in allowed:
                raise ValueError(f"{words[0]} has no {name}{instead(name, WORDS[words[0]])}")
        return value

    @classmethod
    def _names(cls) -> set[str]:
        return {info.alias or name for name, info in cls.model_fields.items()}

    @property
    def word(self) -> str:
        """What kind of thing is expected."""
        said = self.model_dump(by_alias=True, exclude_none=True)
        return next(word for word in WORDS if word in said)

    def wanted(self) -> dict[str, Any]:
        """Return the details that have to be as they are here, the word's own first."""
        given = self.model_dump(by_alias=True, exclude_unset=True, exclude={"customer"})
        word = self.word
        return {word: given.pop(word)} | given


class Due(NamedTuple):
    """An expectation at its place in a story. `caused_by` numbers the event's item, if any."""

    at_ms: int
    customer: str
    expectation: Expectation
    caused_by: int | None
    line: int


class Happened(NamedTuple):
    """A fact at its place in a story; `item` is what was played when it happened."""

    fact: Fact
    item: int
    by_event: bool


class Difference(NamedTuple):
    """One detail that is not as expected, each value as a scenario would write it."""

    name: str
    expected: Any
    was: Any


def pair(expected: Sequence[Due], happened: Sequence[Happened]) -> dict[int, int]:
    """Return which fact answers which expectation, so that as many as possible are answered.

    Positions in the two sequences. Augmenting paths, so that a loose expectation never takes the
    only fact that a strict one could have.
    """
    possible = [
        [at for at, one in enumerate(happened) if not differences(due, one)] for due in expected
    ]
    holder: dict[int, int] = {}
    for place in range(len(expected)):
        _assign(place, possible, holder, set())
    return {place: at for at, place in holder.items()}


def _assign(
    place: int, possible: Sequence[Sequence[int]], holder: dict[int, int], tried: set[int]
) -> bool:
    for at in possible[place]:
        if at in tried:
            continue
        tried.add(at)
        if at not in holder or _assign(holder[at], possible, holder, tried):
            holder[at] = place
            return True
    return False


def differences(due: Due, happened: Happened) -> list[Difference]:
    """Return in what a fact is not what was expected; empty when it is."""
    fact = happened.fact
    wanted = due.expectation.wanted()
    word = due.expectation.word
    if fact.word != word:
        return [Difference("", word, fact.word)]
    found = []
    if fact.at_ms != due.at_ms:
        found.append(Difference("at", due.at_ms, fact.at_ms))
    elif due.caused_by is not None and not (happened.by_event and happened.item == due.caused_by):
        found.append(Difference("cause", "this event", "something else at this moment"))
    if fact.customer != due.customer:
        found.append(Difference("customer", due.customer, fact.customer))
    for name, value in wanted.items():
        found += _different(name, value, fact.details.get(name))
    return found


def nearest(due: Due, happened: Sequence[Happened]) -> tuple[Happened, list[Difference]] | None:
    """Return what comes nearest to an expectation, and what is different about it."""
    alike = [one for one in happened if one.fact.word == due.expectation.word]
    if not alike:
        return None
    compared = [(one, differences(due, one)) for one in alike]
    return min(compared, key=lambda pair: (len(pair[1]), abs(pair[0].fact.at_ms - due.at_ms)))


def _different(name: str, expected: Any, was: Any) -> list[Difference]:
    """Compare a value; of a mapping only what is named, of lists all places."""
    if isinstance(expected, Mapping) and isinstance(was, Mapping):
        return [
            one
            for key, value in expected.items()
            for one in _different(f"{name}.{key}", value, was.get(key))
        ]
    if isinstance(expected, list | tuple) and isinstance(was, list | tuple):
        if len(expected) != len(was):
            return [Difference(name, list(expected), list(was))]
        return [
            one
            for at, (value, other) in enumerate(zip(expected, was, strict=True))
            for one in _different(f"{name}[{at + 1}]", value, other)
        ]
    same = expected == was and isinstance(expected, bool) is isinstance(was, bool)
    return [] if same else [Difference(name, expected, was)]
