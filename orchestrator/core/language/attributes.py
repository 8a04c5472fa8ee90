"""How derived attributes and segments are declared in `shop.yaml`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from orchestrator.core.derived.amounts import parse_amount
from orchestrator.core.expressions.condition import Expression
from orchestrator.core.language.scalars import NAME_PATTERN, Condition, Duration, EventType, Model
from orchestrator.core.language.scalars import Name as Named

DERIVED_MAX: Final = 64
SEGMENTS_MAX: Final = 64
TIERS_MAX: Final = 16
# What an attribute may be made of, in the order in which people are told.
MAKES: Final = (
    *("count", "sum", "average", "max", "min", "newest", "oldest", "most_frequent", "values"),
    "tiers",
)
# Of these, what is a number calculated from numbers.
AMOUNTS: Final = ("sum", "average", "max", "min")
FIELD_PATTERN: Final = r"^(items\.)?[a-z_][a-z0-9_]*$"
_WINDOW_MS_MIN: Final = 60_000


def _field(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(FIELD_PATTERN, value) is None:
        raise ValueError(
            f"{value!r:.60} is no field of an event's data; write one like total, or items.category"
        )
    return value


def _amount(value: object) -> Decimal:
    amount = parse_amount(value)
    if amount is None:
        raise ValueError(f'{value!r:.40} is no amount; write one like 500 or "499.90"')
    return amount


def parse_segment(value: object) -> object:
    """Read a condition, or the name of a segment, which is short for `"name" in segments`."""
    if isinstance(value, str) and value not in {"true", "false"} and re.match(NAME_PATTERN, value):
        return Expression(f'"{value}" in segments')
    return Expression.parse(value)


DataField = Annotated[
    str,
    BeforeValidator(_field),
    WithJsonSchema({"type": "string", "pattern": FIELD_PATTERN}),
]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Threshold = Annotated[
    Decimal,
    BeforeValidator(_amount),
    PlainSerializer(str),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "examples": ["499.90"]}]}),
]
Segment = Annotated[
    Expression,
    BeforeValidator(parse_segment),
    PlainSerializer(lambda expression: expression.source),
    WithJsonSchema({"type": "string", "description": "A CEL expression."}),
]


class Tier(Model):
    """One tier, written from the lowest to the highest."""

    name: Named
    """Its name, as the profile has it."""
    from_: Threshold | None = Field(default=None, alias="from")
    """The least that it takes. The first tier may have none: then everybody is in it at least."""


class DerivedAttribute(Model):
    """An attribute that follows from events, or, with `tiers`, from another derived attribute.

    It is made of one of the words `count`, `sum`, `average`, `max`, `min`, `newest`, `oldest`,
    `most_frequent`, `values` and `tiers`. Each event counts once, in whatever order events arrive.
    A purchase counts as long as its order stands, and for the part that was kept when some of it
    comes back. Conditions and templates read it as `profile.<name>`; what events say of an
    attribute with that name is ignored.
    """

    on: EventType | None = None
    """The event type that counts."""
    when: Condition | None = None
    """Condition over `event`: other events of the type do not count. It sees no profile, so that
    the order in which events arrive makes no difference."""
    within: Duration | None = None
    """Only what happened in this time before now counts: `365d`. What leaves it does so by itself,
    a thousandth of that time late at most."""
    count: Literal["events", "pieces"] | None = None
    """How many `events`, or how many `pieces` their items have. 0 where there is none."""
    sum: DataField | None = None
    """The sum of a field, like `total`. Money is exact, and 0 where there is none."""
    average: DataField | None = None
    """The mean of a field over the events that have it; money in two decimals."""
    max: DataField | None = None
    """The largest value of a field."""
    min: DataField | None = None
    """The smallest value of a field."""
    newest: DataField | None = None
    """The value of a field in the event that happened last; `time` is when that was."""
    oldest: DataField | None = None
    """The value of a field in the event that happened first; `time` is when that was."""
    most_frequent: DataField | None = None
    """The commonest value of a field, like `items.category`, of which every piece counts. Of
    equally common ones the newest, then the first by the alphabet."""
    values: DataField | None = None
    """The list of all values of a field, by the alphabet, like `items.sku`; the newest 64."""
    currency: Currency | None = None
    """The currency of a sum of money: `EUR`. Amounts in others do not count, for there is no rate
    that would always be right. Default: the shop's `currency`."""
    of: Named | None = None
    """With `tiers`: the derived attribute that decides, a number."""
    tiers: tuple[Tier, ...] | None = Field(default=None, min_length=1, max_length=TIERS_MAX)
    """Names by thresholds, from the lowest to the highest: `[{name: base}, {name: gold, from:
    500}]`."""

    @property
    def make(self) -> str:
        """The word that says what it is made of."""
        return next(word for word in MAKES if getattr(self, word) is not None)

    @property
    def field(self) -> str:
        """The field that it looks at; nothing for a count and for tiers."""
        return "" if self.make in {"count", "tiers"} else str(getattr(self, self.make))

    @model_validator(mode="after")
    def _says_one(self) -> DerivedAttribute:
        said = [word for word in MAKES if getattr(self, word) is not None]
        if len(said) != 1:
            raise ValueError(f"say one of {', '.join(MAKES)}" + (", not several" if said else ""))
        if said == ["tiers"]:
            self._check_tiers()
            return self
        if self.on is None:
            raise ValueError(f"{said[0]}: say on which event, like `on: purchase`")
        if self.of is not None:
            raise ValueError("of: goes with tiers")
        if self.currency is not None and said[0] not in AMOUNTS:
            raise ValueError(f"currency: goes with {', '.join(AMOUNTS)}")
        if self.within is not None and self.within < _WINDOW_MS_MIN:
            raise ValueError("within: is at least 1m")
        return self

    def _check_tiers(self) -> None:
        if self.of is None:
            raise ValueError("tiers: say of which derived attribute, like `of: total_spent`")
        for word in ("on", "when", "within", "currency"):
            if getattr(self, word) is not None:
                raise ValueError(f"{word}: belongs to the attribute that `of` names")
        tiers = self.tiers or ()
        if len({tier.name for tier in tiers}) < len(tiers):
            raise ValueError("tiers: a name stands twice")
        bounds = [tier.from_ for tier in tiers]
        if None in bounds[1:]:
            raise ValueError("tiers: only the first may be without from")
        known = [bound for bound in bounds if bound is not None]
        if known != sorted(set(known)):
            raise ValueError("tiers: write them from the lowest to the highest")
