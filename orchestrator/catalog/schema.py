"""JSON Schemas (2020-12) of what authors write, generated from the models, for editors.

`orchestrator schemas` writes them beside those of the topics. An editor that knows them completes
words and underlines what `check` would find in a single file; what takes more than one file, and
CEL, is the matter of `check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.language.inputs import Input
from orchestrator.core.language.journey import Journey
from orchestrator.core.language.offers import Offer
from orchestrator.core.language.scalars import NAME_PATTERN, duration_text
from orchestrator.core.language.shop import Channel, Shop

if TYPE_CHECKING:
    from pydantic import BaseModel

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_CEL: Final = {"type": "string", "description": "A CEL expression."}
_DURATION: Final = {"type": "string", "examples": ["30m", "12h", "3d", "2w", "PT2H"]}
# What the models accept in short, and the reader turns into the long form.
_SHORT: Final[dict[str, dict[str, Any]]] = {
    "Variable": _CEL,
    "Setting": _CEL,
    "Wait": {"anyOf": [_DURATION, {"const": "best_time"}]},
    "Heard": {"type": "string", "description": "An event type."},
    "Way": {"type": "string", "description": "An event type."},
    "Taken": _CEL,
    "Instant": _CEL,
}
# Lists for which one of them may stand alone.
_SINGLE: Final = {
    "Wait": ("weekday", "reset_on"),
    "Send": ("or",),
    "CustomerStage": ("on",),
    "Example": ("gives",),
}


def journey_schema() -> dict[str, Any]:
    """Return the schema of a journey's file."""
    return _document("A journey: who gets in, what ends it, its steps.", Journey)


def shop_schema() -> dict[str, Any]:
    """Return the schema of `shop.yaml`."""
    return _document("What holds for the whole shop.", Shop)


def channels_schema() -> dict[str, Any]:
    """Return the schema of `channels.yaml`: channels by name."""
    channel = model_schema(Channel)
    definitions = channel.pop("$defs", {})
    return {
        "$schema": DIALECT,
        "title": "Channels",
        "description": "The ways to reach a customer, by name.",
        "type": "object",
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": channel,
        "$defs": definitions,
    }


def offers_schema() -> dict[str, Any]:
    """Return the schema of `offers.yaml`: offers by name."""
    offer = model_schema(Offer)
    return {
        "$schema": DIALECT,
        "title": "Offers",
        "description": "What the shop promises its customers, by name.",
        "type": "object",
        "propertyNames": {"pattern": NAME_PATTERN},
        "$defs": offer.pop("$defs"),
        "additionalProperties": offer,
    }


def inputs_schema() -> dict[str, Any]:
    """Return the schema of `inputs.yaml`: inputs by name."""
    one = model_schema(Input)
    return {
        "$schema": DIALECT,
        "title": "Inputs",
        "description": "Other teams' topics, and how their records become events, by name.",
        "type": "object",
        "propertyNames": {"pattern": NAME_PATTERN},
        "$defs": one.pop("$defs"),
        "additionalProperties": one,
    }


def templates_schema() -> dict[str, Any]:
    """Return the schema of a file in `templates/`: language → part → Liquid."""
    part = {"type": "string", "minLength": 1, "description": "Liquid."}
    return {
        "$schema": DIALECT,
        "title": "Template",
        "description": "A message in every language: language, part, text in Liquid.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": NAME_PATTERN},
            "additionalProperties": part,
        },
    }


def model_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a model with the short forms that its readers accept."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    definitions: dict[str, Any] = schema.get("$defs", {})
    for name, properties in _SINGLE.items():
        for field in properties:
            if name in definitions:
                listed = definitions[name]["properties"][field]
                definitions[name]["properties"][field] = {
                    "anyOf": [listed["items"], listed],
                    "description": listed.get("description", ""),
                }
    for part in (schema, *definitions.values()):
        for one in part.get("properties", {}).values():
            _write_default(one)
    for name, short in _SHORT.items():
        if name in definitions:
            definitions[name] = {"anyOf": [short, definitions[name]]}
    return schema


def _write_default(one: dict[str, Any]) -> None:
    """Write a default as an author would: durations and times of day are numbers inside."""
    value = one.get("default")
    if isinstance(value, bool) or not isinstance(value, int) or one.get("type") != "string":
        return
    if "pattern" in one:
        one["default"] = f"{value // 60:02d}:{value % 60:02d}"
    else:
        one["default"] = duration_text(value)


def _document(description: str, model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": DIALECT, **model_schema(model), "description": description}
