"""The AsyncAPI 3 document: every topic, who reads and writes it, and what stands on it.

Generated beside the JSON Schemas (`orchestrator schemas`), to which its messages refer, so that one
description of the topics serves people, code generators and catalogues. Operations are told from
the orchestrator's side, as AsyncAPI wants it: it receives touchpoints and sends commands.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from orchestrator import __version__
from orchestrator.core.command import CommandType
from orchestrator.core.language.shop import Channel
from orchestrator.protocol.codec import REASONS
from orchestrator.protocol.outputs import CONTENT_TYPE
from orchestrator.protocol.payloads import PAYLOADS
from orchestrator.protocol.schema import command_schema, event_schema
from orchestrator.protocol.topics import Topic, Topics
from orchestrator.settings import TopicSettings

_STRUCTURED: Final = CONTENT_TYPE.decode()
_DESCRIPTION: Final = """\
Journeys of customers over all channels, decided exactly once on Kafka.

Names stand here without ORCHESTRATOR_TOPIC_PREFIX, and with the default ORCHESTRATOR_APP_ID in the
internal ones. The key of every record is the customer id; read with isolation.level=read_committed.
Unknown fields and types are to be ignored: within a major version changes only add.
"""
_KEY: Final = {"type": "string", "description": "The customer id."}
_TEXT: Final = {"type": "string"}
_WHOLE: Final = {"type": "string", "pattern": "^[0-9]+$"}
_CHANNEL_PARAMETER: Final = {
    "channel": {
        "description": "A channel of journeys/channels.yaml.",
        "examples": ["email", "sms", "push", "ads", "callcenter"],
    }
}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as people would, and every value where it stands."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - The library's signature.
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _write_text)


def asyncapi_document() -> dict[str, Any]:
    """Return the document as plain data."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Journey orchestrator",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _STRUCTURED,
        "channels": _channels(),
        "operations": _operations(),
        "components": {"messages": _messages()},
    }


def asyncapi_text() -> str:
    """Return the document as it stands in `schemas/asyncapi.yaml`."""
    return yaml.dump(
        asyncapi_document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def _channels() -> dict[str, Any]:
    # A channel called "{channel}" turns the names of its topics into AsyncAPI's templates.
    topics = Topics.of(TopicSettings(), {"{channel}": Channel(kind="message")})
    known = {topic.name: topic for topic in topics.all}
    events = [_event_name(event_type) for event_type in PAYLOADS]
    commands = [_command_name(one) for one in CommandType]
    (touchpoints,) = topics.inputs
    return {
        "touchpoints": _channel(
            known[touchpoints], "What customers did. More input topics may be configured.", events
        ),
        "commands": _channel(
            known[topics.commands("{channel}")],
            "Transactional and service commands of a channel.",
            commands,
        ),
        "commandsPromotional": _channel(
            known[topics.commands("{channel}", promotional=True)],
            "Promotional commands of a channel, so that they never delay the others.",
            commands,
        ),
        "fences": _channel(
            known[topics.fences],
            "Per customer, the enrollments that are over; ask it right before sending.",
            ["fences"],
        ),
        "journeyLog": _channel(
            known[topics.journey_log],
            "Every decided input with all it did, and why.",
            ["journeyLog"],
        ),
        "deadLetters": _channel(
            known[topics.dead_letters],
            "Records that could not be applied, as they came.",
            ["deadLetter"],
        ),
        "definitions": _channel(
            known[topics.definitions],
            "The journeys that run, and those that ran.",
            ["definition"],
        ),
        "control": _channel(
            known[topics.control],
            "What is paused, by whom and why; the key is the scope.",
            ["control"],
        ),
        "forward": _channel(
            known[topics.forward], "Internal: records on their way home.", ["forwarded"]
        ),
        "customersChangelog": _channel(
            known[topics.changelog],
            "Internal: the state of each customer, and one meta record per partition.",
            ["customerState"],
        ),
    }


def _channel(topic: Topic, description: str, messages: list[str]) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": topic.name,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    if "{channel}" in topic.name:
        channel["parameters"] = _CHANNEL_PARAMETER
    configuration: dict[str, Any] = {"cleanup.policy": [topic.config["cleanup.policy"]]}
    if retention_ms := topic.config.get("retention.ms"):
        configuration["retention.ms"] = int(retention_ms)
    channel["bindings"] = {
        "kafka": {
            "partitions": topic.partitions,
            "topicConfiguration": configuration,
            "bindingVersion": "0.5.0",
        }
    }
    return channel


def _operations() -> dict[str, Any]:
    return {
        "readTouchpoints": _operation("receive", "touchpoints", "Apply what a customer did."),
        "command": _operation("send", "commands", "Tell a channel what to do."),
        "commandPromotional": _operation(
            "send", "commandsPromotional", "Tell a channel what to do, in the slower lane."
        ),
        "fence": _operation("send", "fences", "Keep senders from sending for what is over."),
        "log": _operation("send", "journeyLog", "Say what was decided."),
        "setAside": _operation("send", "deadLetters", "Put aside what cannot be applied."),
        "publish": _operation("send", "definitions", "Make journeys the ones that run."),
        "takeOver": _operation("receive", "definitions", "Run what is published."),
        "pause": _operation("send", "control", "Pause a scope, or resume it."),
        "takePauseOver": _operation("receive", "control", "Hold or drop what is paused."),
        "sendHome": _operation("send", "forward", "Send a record to its customer's home."),
        "readForwarded": _operation("receive", "forward", "Apply a record that came home."),
        "keepState": _operation("send", "customersChangelog", "Keep a customer's state."),
        "restoreState": _operation("receive", "customersChangelog", "Recover the state."),
    }


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
    }


def _messages() -> dict[str, Any]:
    events = {
        _event_name(event_type): _message(
            event_type, event_schema(event_type)["description"], f"./events/{event_type}.json"
        )
        for event_type in PAYLOADS
    }
    commands = {
        _command_name(one): _message(
            one.value,
            command_schema(one)["description"],
            f"./commands/{one.value}.json",
            headers={"content-type": {"const": _STRUCTURED}, "ce_id": _TEXT, "ce_type": _TEXT},
        )
        for one in CommandType
    }
    return {**events, **commands, **_own_messages(), **_internal_messages()}


def _own_messages() -> dict[str, Any]:
    return {
        "fences": _message(
            "fences",
            "The enrollments of a customer that are over; no value when none is left.",
            "./fences.json",
            content_type="application/json",
        ),
        "journeyLog": _message(
            "journey-log", "One decision.", "./journey-log.json", content_type="application/json"
        ),
        "definition": _message(
            "definition",
            "A folder of journeys under its content hash, or which one is current.",
            "./definitions.json",
            content_type="application/json",
        ),
        "control": _message(
            "control",
            "A scope is paused, or resumed.",
            "./control.json",
            content_type="application/json",
            key={"type": "string", "description": "The scope, like `journey/winter_sale`."},
        ),
    }


def _internal_messages() -> dict[str, Any]:
    return {
        "deadLetter": _message(
            "dead-letter",
            "Key, value and headers as they came, and why.",
            None,
            content_type="application/octet-stream",
            headers={
                "dl_reason": {"type": "string", "enum": list(REASONS)},
                "dl_detail": _TEXT,
                "dl_topic": _TEXT,
                "dl_partition": _WHOLE,
                "dl_offset": _WHOLE,
                "dl_time": {"type": "string", "format": "date-time"},
            },
        ),
        "forwarded": _message(
            "forwarded",
            "A record as it came, and where it came from.",
            None,
            content_type="application/octet-stream",
            headers={
                "fw_topic": _TEXT,
                "fw_partition": _WHOLE,
                "fw_offset": _WHOLE,
                "fw_time": _WHOLE,
                "fw_hops": _WHOLE,
            },
        ),
        "customerState": _message(
            "customer-state",
            "A format byte and MessagePack; for the orchestrator only.",
            None,
            content_type="application/octet-stream",
        ),
    }


def _message(
    title: str,
    summary: str,
    schema: str | None,
    *,
    content_type: str = _STRUCTURED,
    headers: dict[str, Any] | None = None,
    key: dict[str, Any] = _KEY,
) -> dict[str, Any]:
    message: dict[str, Any] = {
        "name": title,
        "title": title,
        "summary": summary,
        "contentType": content_type,
        "bindings": {"kafka": {"key": dict(key), "bindingVersion": "0.5.0"}},
    }
    if headers:
        message["headers"] = {
            "type": "object",
            "properties": {name: dict(schema) for name, schema in headers.items()},
        }
    if schema:
        message["payload"] = {"$ref": schema}
    return message


def _event_name(event_type: str) -> str:
    return f"event.{event_type}"


def _command_name(command_type: CommandType) -> str:
    return f"command.{command_type.value}"
