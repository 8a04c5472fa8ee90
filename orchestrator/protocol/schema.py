"""The JSON Schemas (2020-12) of everything on the topics, generated from the codec's own types.

`orchestrator schemas` writes them to `schemas/`, a test keeps the committed files equal to what
this file says. Unknown fields are allowed everywhere: within a major version changes only add, and
readers ignore what they do not know.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

import orjson
from msgspec import Struct, json

from orchestrator.core.command import SOURCE, CommandType
from orchestrator.protocol.control import Control
from orchestrator.protocol.definitions import Bundle, Current
from orchestrator.protocol.outputs import COMMAND_DATA, Fence, LogRecord
from orchestrator.protocol.payloads import PAYLOADS, Feedback

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
URN: Final = "urn:journey-orchestrator:1"

# The types that share one form of data, told apart.
_FEEDBACK: Final = {
    "message.delivered": "A provider delivered the message of a command.",
    "message.opened": "The customer opened a message.",
    "message.clicked": "The customer clicked in a message.",
    "message.replied": "The customer replied to a message.",
    "message.bounced": "A message could not be delivered and never will be.",
    "message.failed": "A sender gave a command up.",
    "message.unsubscribed": "The customer unsubscribed by a message.",
    "audience.applied": "An ads audience took over a change.",
}
_COMMANDS: Final = {
    CommandType.MESSAGE_SEND: "Send a message, not before `not_before`, not after `expires_at`.",
    CommandType.MESSAGE_CANCEL: "Do not send, or recall, the commands in `data.cancels`.",
    CommandType.AUDIENCE_ADD: "Put the customer into an ads audience.",
    CommandType.AUDIENCE_REMOVE: "Take the customer out of an ads audience.",
    CommandType.TASK_CREATE: "A person of the call centre has something to do.",
    CommandType.TASK_CLOSE: "The tasks in `data.cancels` need no person any more.",
}

_TEXT: Final = {"type": "string", "minLength": 1}
_TIME: Final = {
    "type": "string",
    "format": "date-time",
    "pattern": (
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?"
        "([Zz]|[+-][0-9]{2}:[0-9]{2})$(?!\\n)"
    ),
}
_SUBJECT: Final = _TEXT | {
    "maxLength": 256,
    "description": "The customer id: 1 to 256 bytes of UTF-8. It is also the record's key.",
}


def event_schema(event_type: str) -> dict[str, Any]:
    """Return the schema of one event type as a structured CloudEvent."""
    payload = PAYLOADS[event_type]
    data, definitions = _components(payload)
    required = ["specversion", "id", "source", "type", "subject"]
    if data.get("required"):
        required.append("data")
    else:
        # Nothing is required of the data, so there need not be any.
        data = {"anyOf": [data, {"type": "null"}]}
    text = _FEEDBACK[event_type] if payload is Feedback else _text_of(payload)
    return _document(
        f"events:{event_type}",
        event_type,
        text,
        {
            "type": "object",
            "properties": {
                "specversion": {"const": "1.0"},
                "id": _TEXT | {"description": "With `source` it identifies the event."},
                "source": _TEXT | {"examples": ["/shop"]},
                "type": {"const": event_type},
                "subject": _SUBJECT,
                "time": _TIME | {"description": "When it happened; else the record's timestamp."},
                "backfill": {
                    "enum": [True, False, "true", "false"],
                    "description": "History: it fills profiles and triggers nothing.",
                },
                "traceparent": {"type": "string", "description": "W3C trace context."},
                "data": data,
            },
            "required": required,
        },
        definitions,
    )


def command_schema(command_type: CommandType) -> dict[str, Any]:
    """Return the schema of one command type."""
    data, definitions = _components(COMMAND_DATA[command_type])
    return _document(
        f"commands:{command_type.value}",
        command_type.value,
        _COMMANDS[command_type],
        {
            "type": "object",
            "properties": {
                "specversion": {"const": "1.0"},
                "id": _TEXT | {"description": "Derived once and stored; it never changes."},
                "source": {"const": SOURCE},
                "type": {"const": command_type.value},
                "subject": _SUBJECT,
                "time": _TIME,
                "data": data,
            },
            "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
        },
        definitions,
    )


def fence_schema() -> dict[str, Any]:
    """Return the schema of a value on `fences`."""
    schema, definitions = _components(Fence)
    return _document("fences", "fences", _text_of(Fence), schema, definitions)


def log_schema() -> dict[str, Any]:
    """Return the schema of a value on `journey-log`."""
    schema, definitions = _components(LogRecord)
    return _document("journey-log", "journey-log", _text_of(LogRecord), schema, definitions)


def definitions_schema() -> dict[str, Any]:
    """Return the schema of a value on `definitions`: a bundle, or which one is current."""
    schema, definitions = _components(Bundle | Current)
    text = "A folder of journeys by its content hash, or under `current` which one runs."
    return _document("definitions", "definitions", text, schema, definitions)


def control_schema() -> dict[str, Any]:
    """Return the schema of a value on `control`."""
    schema, definitions = _components(Control)
    return _document("control", "control", _text_of(Control), schema, definitions)


def schema_files() -> dict[str, dict[str, Any]]:
    """Return every schema by its path below `schemas/`."""
    return {
        **{f"events/{name}.json": event_schema(name) for name in PAYLOADS},
        **{f"commands/{one.value}.json": command_schema(one) for one in CommandType},
        "fences.json": fence_schema(),
        "journey-log.json": log_schema(),
        "definitions.json": definitions_schema(),
        "control.json": control_schema(),
    }


def schema_text(schema: dict[str, Any]) -> str:
    """Return a schema as it stands in its file."""
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode() + "\n"


def _components(kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a type's own schema, and those that it refers to."""
    (reference,), definitions = json.schema_components((kind,), ref_template="#/$defs/{name}")
    definitions = _plain(definitions)
    if "$ref" not in reference:  # A union of structs.
        return _plain(reference), {name: _plain(one) for name, one in definitions.items()}
    own = definitions.pop(reference["$ref"].rpartition("/")[2])
    return own, definitions


def _plain(schema: Any) -> Any:
    """Return the schema without OpenAPI's `discriminator`, which strict validators refuse."""
    if isinstance(schema, dict):
        return {name: _plain(one) for name, one in schema.items() if name != "discriminator"}
    return [_plain(one) for one in schema] if isinstance(schema, list) else schema


def _document(
    urn: str, title: str, text: str, schema: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    head = {"$schema": DIALECT, "$id": f"{URN}:{urn}", "title": title, "description": text}
    rest = {name: value for name, value in schema.items() if name not in head}
    return head | rest | ({"$defs": definitions} if definitions else {})


def _text_of(kind: type[Struct]) -> str:
    return inspect.getdoc(kind) or ""
