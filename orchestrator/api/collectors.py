"""The shapes that collectors know (`identify`, `track`), as events of the contract. Pure.

An `identify` with a user id updates the profile of that user; when it also names an anonymous id,
both are told to be one customer. A `track` is a purchase where it is one by its name and carries
what a purchase needs; any other keeps its name as the type, with `track.` before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.api.ingest import cloud_event
from orchestrator.protocol.payloads import PAYLOADS

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE: Final = "/collector"
_NAME_MAX: Final = 200
# What collectors call what the contract has a word for: event name to type.
KNOWN_NAMES: Final = {
    "order completed": "purchase",
    "order cancelled": "order.cancelled",
    "order refunded": "order.returned",
    "product viewed": "product.viewed",
    "cart viewed": "cart.updated",
    "products searched": "search.done",
}


class Collected(BaseModel):
    """What `identify` and `track` have in common."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    user_id: str | None = Field(None, alias="userId", min_length=1, max_length=256)
    anonymous_id: str | None = Field(None, alias="anonymousId", min_length=1, max_length=256)
    message_id: str = Field(alias="messageId", min_length=1, max_length=200, examples=["m-1"])
    timestamp: str | None = Field(None, max_length=64, examples=["2026-11-22T10:00:00Z"])

    @model_validator(mode="after")
    def _somebody(self) -> Collected:
        if self.user_id is None and self.anonymous_id is None:
            raise ValueError("userId or anonymousId says who it is; both are missing")
        return self

    @property
    def subject(self) -> str:
        """The customer: the user, else the anonymous visitor."""
        return self.user_id or self.anonymous_id or ""


class Identify(Collected):
    """Who somebody is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "userId": "ana",
                "anonymousId": "web-7f3a",
                "messageId": "m-1",
                "timestamp": "2026-11-22T10:00:00Z",
                "traits": {"first_name": "Ana", "country": "ES"},
            }
        }
    )

    traits: dict[str, Any] = Field(default_factory=dict)


class Track(Collected):
    """What somebody did."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "userId": "ana",
                "messageId": "m-2",
                "timestamp": "2026-11-22T10:00:00Z",
                "event": "Product Viewed",
                "properties": {"sku": "tent-2", "category": "outdoor"},
            }
        }
    )

    event: str = Field(min_length=1, max_length=_NAME_MAX, examples=["Product Viewed"])
    properties: dict[str, Any] = Field(default_factory=dict)


def events_of_identify(said: Identify) -> list[dict[str, Any]]:
    """Return one event, or two when an anonymous visitor turns out to be a user."""
    events = []
    user, visitor = said.user_id, said.anonymous_id
    if user is not None and visitor is not None and user != visitor:
        ids = {"anonymous_id": visitor, "customer_id": user}
        events.append(_event(said, "profile.identified", ids, "identified"))
    if said.traits or not events:
        events.append(_event(said, "profile.updated", {"attributes": said.traits}, "traits"))
    return events


def event_of_track(said: Track) -> dict[str, Any]:
    """Return the event of a `track`."""
    event_type = _type_of(said.event)
    data = said.properties if event_type.startswith("track.") else _in_our_words(said.properties)
    return _event(said, event_type, data)


def _type_of(name: str) -> str:
    folded = " ".join(name.lower().replace("_", " ").split())
    known = KNOWN_NAMES.get(folded)
    if known is not None:
        return known
    if name in PAYLOADS:
        return name
    return f"track.{name}"


def _in_our_words(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data with the contract's names beside the collectors': `items`, `sku`."""
    data = dict(properties)
    products = data.get("products")
    if "items" not in data and isinstance(products, list):
        data["items"] = [_with_sku(one) if isinstance(one, dict) else one for one in products]
    return _with_sku(data)


def _with_sku(data: dict[str, Any]) -> dict[str, Any]:
    if "sku" not in data and "product_id" in data:
        return data | {"sku": data["product_id"]}
    return data


def _event(
    said: Collected, event_type: str, data: Mapping[str, Any], part: str | None = None
) -> dict[str, Any]:
    # Two events of one message need ids of their own; the same message always gives the same.
    event_id = said.message_id if part is None else f"{said.message_id}/{part}"
    return cloud_event(
        source=SOURCE,
        event_id=event_id,
        event_type=event_type,
        subject=said.subject,
        data=data,
        time_text=said.timestamp,
    )
