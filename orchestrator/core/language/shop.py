"""What holds for a whole shop: `shop.yaml` and `channels.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from orchestrator.core.language.scalars import Duration, EventType, Locale, Model, Name, Text


class Ownership(Model):
    """How long a bought product is not promoted again to its buyer."""

    default: Duration = 180 * 86_400_000
    categories: Mapping[str, Duration] = Field(default_factory=dict)
    """Other durations for named categories."""
    replenishable: tuple[str, ...] = ()
    """Categories that are bought again and again: never owned."""


class Expiry(Model):
    """How long a message may wait for its sender, by class, where the step says nothing."""

    promotional: Duration = 24 * 3_600_000
    service: Duration = 72 * 3_600_000
    transactional: Duration = 72 * 3_600_000


class Shop(Model):
    """What holds for the whole shop (`shop.yaml`)."""

    zone: str = "UTC"
    """IANA zone of customers for whom neither their profile nor the journey names one."""
    locale: str = "en"
    """Language of customers who name none, like `en` or `es-ES`."""
    owned_for: Ownership = Ownership()
    """How long a bought product is not promoted again to its buyer."""
    expires_after: Expiry = Expiry()
    """How long a message may wait for its sender, where the step says nothing."""
    snippets: Mapping[Locale, Mapping[Name, str]] = Field(default_factory=dict)
    """The brand's own words, by language: `{{ snippets.signature }}` in a template."""
    forbidden_words: Mapping[Locale, tuple[Text, ...]] = Field(default_factory=dict)
    """Words that no template may say, by language; those under `all` in none."""
    discount_words: Mapping[Locale, tuple[Text, ...]] = Field(default_factory=dict)
    """Words that promise a discount, by language: no template may say them, or a percentage, unless
    its message tells an offer. They stand in place of ours for that language."""
    messages_per_week_max: int | None = Field(default=None, ge=1)
    """How many promotional messages one customer may get in a week at the very worst, counted by
    `orchestrator check` over all journeys."""
    events: Mapping[EventType, tuple[Text, ...]] = Field(default_factory=dict)
    """Event types of the shop's own, and further data fields of the standard ones. A type of its
    own with no field listed may carry any."""


class Channel(Model):
    """One channel of `channels.yaml`."""

    kind: Literal["message", "audience", "task", "webhook"]
    """`message` goes to a customer, `webhook` to another system; `audience` is a list that an ad
    platform keeps, `task` waits for a person."""
    address_ref: str | None = None
    """Where the sender finds the address, for example `profile.email`."""
    partitions: int = Field(default=8, ge=1, le=1000)
    """Partitions of its command topics."""
