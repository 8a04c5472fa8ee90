"""CEL expressions of journeys, and what they see of one decision.

`catalog` compiles an `Expression` once at load. `decide` opens one `Scope` for each decision: it
hands out values of `event`, `profile`, `segments`, `enrollment`, `trigger`, `offers`, `now_ms`.
Evaluating against a prepared CEL context is cheap, converting values into one is not, so a scope
converts a root only when an expression needs it, at most once, and only the fields that some
journey names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import cel
from msgspec import Struct

from orchestrator.core.expressions.comparison import (
    MISSING,
    MONEY_FIELDS,
    all_hold,
    amount,
    parse_terms,
    path_of,
)
from orchestrator.core.offers.ledger import open_names

if TYPE_CHECKING:
    from orchestrator.core.customer import Attribute, Customer, Enrollment, Promise
    from orchestrator.core.event import Event

SOURCE_CHARACTERS_MAX: Final = 2_000
NO_PROMISES: Final[Mapping[str, Promise]] = {}
ROOTS: Final = frozenset(
    {"event", "trigger", "profile", "segments", "enrollment", "offers", "now_ms"}
)
# The contract refuses events that nest deeper; the CEL binding converts recursively.
NESTING_MAX: Final = 64

_NAME = r"([A-Za-z_][A-Za-z0-9_]*)\b(?!\s*\()"
_READS: Final = {
    # A read of one field of a root; any other mention of the root reads it whole.
    "event": re.compile(rf"\bevent\s*\.\s*data\s*\.\s*{_NAME}"),
    "trigger": re.compile(rf"\btrigger\s*\.\s*data\s*\.\s*{_NAME}"),
    "profile": re.compile(rf"\bprofile\s*\.\s*{_NAME}"),
    "enrollment": re.compile(rf"\benrollment\s*\.\s*{_NAME}"),
}
_ENVELOPE: Final = re.compile(r"\bevent\s*\.\s*(type|source|id|time_ms)\b")
_MENTION: Final = {root: re.compile(rf"\b{root}\b") for root in _READS}
_BOUND: Final = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_PLAIN_PATH: Final = re.compile(
    r"\s*(?:event|trigger|profile|enrollment)(?:\s*\.\s*[A-Za-z_][A-Za-z0-9_]*)+\s*", re.ASCII
)


class Fields(NamedTuple):
    """Which top-level fields of a root are read; `whole` when it cannot be told."""

    names: frozenset[str] = frozenset()
    whole: bool = False

    def __or__(self, other: object) -> Fields:
        """Return what either reads."""
        if not isinstance(other, Fields):
            return NotImplemented
        return Fields(self.names | other.names, self.whole or other.whole)

    def pick(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of `data` that is read."""
        if self.whole:
            return dict(data)
        return {name: data[name] for name in self.names if name in data}


NO_FIELDS: Final = Fields()
ENVELOPE: Final = frozenset({"type", "source", "id", "time_ms"})


class Reads(NamedTuple):
    """What an expression, or several, read: of the event's data and envelope, and of the rest."""

    event: Fields = NO_FIELDS
    envelope: frozenset[str] = frozenset()
    trigger: Fields = NO_FIELDS
    profile: Fields = NO_FIELDS
    enrollment: Fields = NO_FIELDS

    def __or__(self, other: object) -> Reads:
        """Return what either reads."""
        if not isinstance(other, Reads):
            return NotImplemented
        return Reads(
            self.event | other.event,
            self.envelope | other.envelope,
            self.trigger | other.trigger,
            self.profile | other.profile,
            self.enrollment | other.enrollment,
        )


NOTHING: Final = Reads()


class Expression:
    """One CEL expression: its source, its compiled program, and what it reads.

    `path` is set when the expression is nothing but a path (`event.data.cart_id`): such a value is
    looked up as it is, without CEL; `terms` when it is nothing but comparisons. Raises ValueError
    with a readable message when the source does not compile or names an unknown root.
    """

    __slots__ = (
        "event_fields",
        "path",
        "profile_fields",
        "program",
        "reads",
        "roots",
        "source",
        "terms",
        "trigger_fields",
    )

    def __init__(self, source: str) -> None:
        if len(source) > SOURCE_CHARACTERS_MAX:
            raise ValueError(f"expression is longer than {SOURCE_CHARACTERS_MAX} characters")
        self.source = source
        try:
            self.program = cel.compile(source)
        except Exception as error:  # The binding raises several types; all mean "cannot compile".
            raise ValueError(f"not a CEL expression: {error}") from error
        variables = frozenset(self.program.references()["variables"])
        unknown = variables - ROOTS - frozenset(_BOUND.findall(source))
        if unknown:
            raise ValueError(
                f"unknown name {min(unknown)!r}; an expression sees {', '.join(sorted(ROOTS))}"
            )
        self.roots = variables & ROOTS
        event = _fields_read(source, "event")
        envelope = ENVELOPE if event.whole else frozenset(_ENVELOPE.findall(source))
        self.reads = Reads(
            event=event,
            envelope=envelope,
            trigger=_fields_read(source, "trigger"),
            profile=_fields_read(source, "profile"),
            enrollment=_fields_read(source, "enrollment"),
        )
        self.event_fields = self.reads.event.names
        self.trigger_fields = self.reads.trigger.names
        self.profile_fields = self.reads.profile.names
        self.path = path_of(source) if _PLAIN_PATH.fullmatch(source) else None
        self.terms = parse_terms(source)

    def evaluate(self, context: cel.Context) -> Any:
        """Return the value. Raises whatever CEL raises; `Scope` turns that into `Failed`."""
        return self.program.execute(context)

    @classmethod
    def parse(cls, value: object) -> Self:
        """Accept a string or an Expression; raise ValueError for anything else."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, str):
            raise ValueError("an expression is written as text")  # noqa: TRY004 - pydantic's way.
        return cls(value)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)


def _fields_read(source: str, root: str) -> Fields:
    names = _READS[root].findall(source)
    known = len(names) + (len(_ENVELOPE.findall(source)) if root == "event" else 0)
    return Fields(frozenset(names), whole=len(_MENTION[root].findall(source)) > known)


class Lens(NamedTuple):
    """How a shop looks at every profile.

    `assumed` are attributes of those who have none of the name, `amounts` the attributes that hold
    a number as text, `segments` the conditions of the segments by name.
    """

    assumed: Mapping[str, Attribute] = MappingProxyType({})
    amounts: frozenset[str] = frozenset()
    segments: Mapping[str, Expression] = MappingProxyType({})


NO_LENS: Final = Lens()


class Failed(Struct, frozen=True, gc=False):
    """An expression gave no value; `missing` when only because something it names is not there."""

    detail: str
    missing: bool = False


class Scope:
    """What expressions see in one decision. `profile` is the profile after the event was applied.

    `reads` bounds what is converted for CEL. An instance serves one decision: the roots it has
    converted stay as they are, except those of the enrollment at hand.
    """

    __slots__ = (
        "_attributes",
        "_context",
        "_enrollment",
        "_event",
        "_in_context",
        "_lens",
        "_members",
        "_now_ms",
        "_promises",
        "_reads",
        "_roots",
    )

    def __init__(
        self,
        attributes: Mapping[str, Attribute],
        now_ms: int,
        *,
        event: Event | None,
        reads: Reads,
        promises: Mapping[str, Promise] = NO_PROMISES,
        lens: Lens = NO_LENS,
    ) -> None:
        self._attributes = attributes
        self._lens = lens
        self._members: dict[str, bool] | None = None
        self._promises = promises
        self._now_ms = now_ms
        self._event = event
        self._reads = reads
        self._roots: dict[str, Any] = {}
        self._context: cel.Context | None = None
        self._in_context: set[str] = set()
        self._enrollment: Enrollment | None = None

    def value(self, expression: Expression, enrollment: Enrollment | None = None) -> Any:
        """Return the expression's value, or `Failed`."""
        self._turn_to(enrollment)
        return self._value(expression)

    def _value(self, expression: Expression) -> Any:
        if expression.path is not None:
            return self._follow(expression.path)
        try:
            context = self._prepared(expression.roots)
            return expression.evaluate(context)
        except (KeyError, IndexError) as error:
            return Failed(f"{expression.source}: there is no {error}", missing=True)
        except Exception as error:  # noqa: BLE001 - The binding raises many types; all are values here.
            return Failed(f"{expression.source}: {_first_sentence(error)}")

    def holds(
        self, expression: Expression | None, enrollment: Enrollment | None = None
    ) -> bool | Failed:
        """Whether a condition is true. No condition is true; one over a missing field is false."""
        if expression is None:
            return True
        self._turn_to(enrollment)
        return self._decided(expression)

    def _decided(self, expression: Expression) -> bool | Failed:
        if expression.terms is not None:
            look_up = self._look_up_number if self._lens.amounts else self._look_up
            holds = all_hold(expression.terms, look_up)
            if holds is not None:
                return holds
        value = self._value(expression)
        if value is True or value is False:
            return bool(value)
        if isinstance(value, Failed):
            return False if value.missing else value
        return Failed(f"{expression.source}: is {value!r:.40}, neither true nor false")

    def _turn_to(self, enrollment: Enrollment | None) -> None:
        if enrollment is self._enrollment:
            return
        self._enrollment = enrollment
        for root in ("enrollment", "trigger"):
            self._roots.pop(root, None)
            self._in_context.discard(root)

    def _follow(self, path: tuple[str, ...]) -> Any:
        """Look a path up. The value is as the event had it: money stays exact decimal text."""
        value = self._look_up(path)
        if value is MISSING:
            return Failed(f"there is no {'.'.join(path)}", missing=True)
        return value

    def _look_up(self, path: tuple[str, ...]) -> Any:
        root, event = path[0], self._event
        value: Any
        if root == "profile":
            attribute = self._attributes.get(path[1])
            if attribute is None:
                attribute = self._lens.assumed.get(path[1])
            value = MISSING if attribute is None or attribute.value is None else attribute.value
            below = path[2:]
        elif root == "event" and event is not None and path[1] == "data":
            value, below = event.data, path[2:]
            if len(below) == 1:  # By far the most frequent path.
                return value.get(below[0], MISSING)
        elif root == "segments":
            return self._is_in(path[1])
        else:
            value, below = self._root(root), path[1:]
        for name in below:
            if not isinstance(value, dict) or name not in value:
                return MISSING
            value = value[name]
        return value

    def _look_up_number(self, path: tuple[str, ...]) -> Any:
        """Look a path up as it is compared: what holds a number as text is that number."""
        value = self._look_up(path)
        if path[0] == "profile" and path[1] in self._lens.amounts and isinstance(value, str):
            return amount(value)
        return value

    def _is_in(self, segment: str) -> bool:
        """Whether the customer is in a segment; a condition that gives no answer is a no."""
        if self._members is None:
            self._members = {}
        held = self._members.get(segment)
        if held is None:
            condition = self._lens.segments.get(segment)
            held = condition is not None and self._decided(condition) is True
            self._members[segment] = held
        return held

    def _root(self, root: str) -> Any:
        if root not in self._roots:
            self._roots[root] = self._built(root)
        return self._roots[root]

    def _built(self, root: str) -> Any:
        event, enrollment = self._event, self._enrollment
        if root == "now_ms":
            return self._now_ms
        if root == "profile":
            known = {**self._lens.assumed, **self._attributes}
            return profile_values(known, Fields(whole=True))
        if root == "segments":
            return [name for name in self._lens.segments if self._is_in(name)]
        if root == "event" and event is not None:
            return {
                "type": event.type,
                "source": event.source,
                "id": event.id,
                "time_ms": event.time_ms,
                "data": event.data,
            }
        if root == "offers":
            return open_names(self._promises, self._now_ms)
        if root == "trigger" and enrollment is not None:
            return {"data": enrollment.trigger}
        if root == "enrollment" and enrollment is not None:
            products = enrollment.products
            return {
                "id": enrollment.id,
                "key": enrollment.key,
                "skus": [product.sku for product in products],
                "families": [product.family for product in products if product.family],
            }
        return {}

    def _prepared(self, roots: frozenset[str]) -> cel.Context:
        """Return the context with these roots converted. Raises what the binding raises."""
        context = self._context
        if context is None:
            context = self._context = cel.Context()
        for root in roots:
            if root not in self._in_context:
                context.add_variable(root, self._converted(root))
                self._in_context.add(root)
        return context

    def _converted(self, root: str) -> Any:
        """Return a root as CEL gets it: the fields that are read, money as numbers."""
        value, reads = self._root(root), self._reads
        if root == "event" and value:
            converted: dict[str, Any] = {name: value[name] for name in reads.envelope}
            converted["data"] = calculable(reads.event.pick(value["data"]))
            return converted
        if root == "profile":
            picked = calculable(reads.profile.pick(value))
            for name in self._lens.amounts & picked.keys():
                if isinstance(picked[name], str):
                    picked[name] = amount(picked[name])
            return picked
        if root == "enrollment":
            return reads.enrollment.pick(value)
        return calculable(value)


def profile_values(attributes: Mapping[str, Attribute], fields: Fields) -> dict[str, Any]:
    """Return the profile as expressions see it; an attribute set to null is not there."""
    names = attributes if fields.whole else fields.names & attributes.keys()
    return {name: attributes[name].value for name in names if attributes[name].value is not None}


def profile_of(customer: Customer) -> dict[str, Any]:
    """Return all attribute values of a customer."""
    return profile_values(customer.attributes, Fields(whole=True))


def calculable(value: Any, depth: int = 0) -> Any:
    """Return a copy in which money is a number; what nests too deep becomes null."""
    if isinstance(value, dict):
        if depth > NESTING_MAX:
            return None
        return {name: _field(name, inner, depth) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return None if depth > NESTING_MAX else [calculable(inner, depth + 1) for inner in value]
    return value


def _field(name: str, value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return amount(value) if name in MONEY_FIELDS else value
    return calculable(value, depth + 1)


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ", 1)[0][:200]


def is_empty(value: Any) -> bool:
    """Whether a template would show nothing for the value; false and 0 are something."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, Mapping | list | tuple) and not value)


def plain(value: Any) -> Any:
    """Return the value as JSON data with sorted names: CEL hands maps out in any order."""
    if isinstance(value, Mapping):
        return {str(name): plain(value[name]) for name in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)
