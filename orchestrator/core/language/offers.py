"""What the shop promises its customers: `offers.yaml`.

An offer is declared once; journeys, pages and agents name it. What becomes of it at one customer
is the matter of `core/offers`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from orchestrator.core.calendar import parse_moment
from orchestrator.core.expressions.condition import Expression
from orchestrator.core.expressions.templates import first_language
from orchestrator.core.language.journey import After
from orchestrator.core.language.scalars import Condition, Duration, Locale, Model, Name, Text
from orchestrator.core.language.words import Variable

_PRICE: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,2})? [A-Z]{3}", re.ASCII)
# Who has an address with us, or an account, is somebody; a cookie is not.
KNOWN: Final = Expression("has(profile.email) || has(profile.phone) || has(profile.customer_id)")


def parse_price(value: object) -> str:
    """Check an amount with its currency. Raises ValueError with what is allowed."""
    if isinstance(value, str) and _PRICE.fullmatch(value):
        return value
    raise ValueError(f'{value!r:.40} is no price; write one like "10 EUR" or "7.50 EUR"')


Price = Annotated[
    str, BeforeValidator(parse_price), WithJsonSchema({"type": "string", "examples": ["7.50 EUR"]})
]
Moment = Annotated[
    str,
    BeforeValidator(parse_moment),
    WithJsonSchema({"type": "string", "examples": ["2026-12-24", "2026-12-24T10:00:00+01:00"]}),
]


class Gives(Model):
    """What an offer gives, for machines: one of these, or several that belong together."""

    percent_off: float | None = Field(default=None, gt=0, le=100)
    """So many of a hundred off the price."""
    amount_off: Price | None = None
    """So much off the price, like `10 EUR`."""
    free_shipping: bool = False
    """Shipping costs nothing."""
    gift: Text | None = None
    """The article that comes along."""
    other: Text | None = None
    """Something that touches no price, like a day of early access. It is no discount."""
    from_total: Price | None = None
    """Only for orders of at least this."""

    @property
    def is_discount(self) -> bool:
        """Whether it touches the price: two discounts contradict each other unless they stack."""
        return self.free_shipping or (self.percent_off or self.amount_off or self.gift) is not None

    @model_validator(mode="after")
    def _gives_something(self) -> Gives:
        if not self.is_discount and self.other is None:
            ways = "percent_off, amount_off, free_shipping, gift, other"
            raise ValueError(f"gives nothing; say one of {ways}")
        return self


class Otherwise(Model):
    """What is said in place of an acquisition offer to who turns out to be known already."""

    template: Text
    """A template of the channel that the offer would have been told on."""
    variables: Mapping[Name, Variable] = Field(default_factory=dict, max_length=64)
    """Template variables over `profile`; a bare expression is short for `{value: …}`."""


class Offer(Model):
    """One offer: what it promises, to whom, when, where, and beside which others."""

    owner: Text
    """Who answers for it: a mail address or a team."""
    description: str = ""
    """What it is for, in a sentence, for people."""
    text: Mapping[Locale, Text] = Field(min_length=1)
    """The promise as customers read it, by language: `{{ offer.text }}` in templates."""
    gives: Gives
    """The same for machines."""
    code: Text | None = None
    """What the checkout knows it by, if not by its name: `{{ offer.code }}` in templates."""
    from_: Moment | None = Field(default=None, alias="from")
    """Promised from here on: a day of the shop's zone, or an instant."""
    until: Moment | None = None
    """Promised, and redeemed, until here: a day is meant to its end."""
    valid_for: Duration | None = None
    """So long after it was promised to a customer it can be redeemed, and never after `until`."""
    channels: tuple[Name, ...] = ()
    """Where it may be told. Default: everywhere."""
    qualifies: Condition | None = None
    """Condition over `profile` and `now_ms`: who may get it. Default: everybody."""
    acquisition: bool = False
    """For new customers. To who is not known yet it is promised provisionally, without the code;
    as soon as they are known, `qualifies` decides. It is asked again when they redeem."""
    known_when: Condition | None = None
    """Condition over `profile`: whether we know who this is (for acquisition offers). Default: they
    have an `email`, a `phone` or a `customer_id`."""
    otherwise: Otherwise | None = None
    """What an acquisition offer's journey says, once, to who does not qualify."""
    again: Literal["once", "always"] | After = "once"
    """`once` for each customer, `always` (after the last one is over) or `{after: 365d}` since."""
    groups: tuple[Name, ...] = ()
    """Groups that it belongs to, to be named by `excludes` and `stacks_with`."""
    excludes: tuple[Name, ...] = ()
    """Offers and groups that contradict it: who holds one of them open is not promised this."""
    stacks_with: tuple[Name, ...] = ()
    """Offers and groups that it may stand beside although both are discounts."""

    @property
    def known(self) -> Expression:
        """The condition under which we know who this is."""
        return self.known_when or KNOWN

    def text_in(self, languages: Iterable[str]) -> str:
        """Return the promise in the first of these languages that it is written in."""
        return self.text[first_language(tuple(languages), self.text)]

    @model_validator(mode="after")
    def _has_an_end(self) -> Offer:
        if self.until is None and self.valid_for is None:
            raise ValueError("a promise has an end; say until, valid_for or both")
        if self.valid_for == 0:
            raise ValueError("valid_for: is over as soon as it is promised; give it time")
        return self
