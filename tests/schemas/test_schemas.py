"""The published schemas say what the codec does, in both directions, and are never stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.cli.authoring.schemas import generated
from orchestrator.core.command import CommandType
from orchestrator.errors import EventRejected
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.payloads import PAYLOADS
from orchestrator.protocol.schema import schema_files

SCHEMAS = Path(__file__).parents[2] / "schemas"
VALID = SCHEMAS / "samples" / "valid"
INVALID = SCHEMAS / "samples" / "invalid"
# What the codec must answer to each invalid event, and whether a JSON Schema can say it too.
REFUSALS: dict[str, dict[str, Any]] = json.loads((INVALID / "index.json").read_text())


def schema_of(sample: Path) -> dict[str, Any]:
    """Return the committed schema that a sample belongs to, by its file name and its type."""
    kind = sample.name.partition(".")[0]
    if kind in ("fences", "journey-log"):
        return json.loads((SCHEMAS / f"{kind}.json").read_text())
    document = json.loads(sample.read_bytes())
    name = document["type"] if isinstance(document, dict) else "purchase"
    return json.loads((SCHEMAS / f"{kind}s" / f"{name}.json").read_text())


def is_valid(sample: Path) -> bool:
    return Draft202012Validator(schema_of(sample)).is_valid(json.loads(sample.read_bytes()))


def read(sample: Path):
    return decode_event(None, sample.read_bytes(), [], event_bytes_max=10_000, record_time_ms=1)


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def test_the_committed_files_are_what_the_types_say() -> None:
    expected = generated()
    committed = {
        str(path.relative_to(SCHEMAS)): path.read_text(encoding="utf-8")
        for path in SCHEMAS.rglob("*")
        if path.is_file() and "samples" not in path.parts
    }
    stale = sorted(
        name
        for name in expected.keys() | committed.keys()
        if expected.get(name) != committed.get(name)
    )

    assert not stale, f"run `orchestrator schemas` and commit: {stale}"


@pytest.mark.parametrize("name", schema_files())
def test_each_file_is_a_json_schema(name: str) -> None:
    Draft202012Validator.check_schema(json.loads((SCHEMAS / name).read_text()))


def test_every_type_has_a_valid_sample() -> None:
    samples = set(names(VALID, "*.json"))

    assert {f"event.{name}.json" for name in PAYLOADS} <= samples
    assert {f"command.{one.value}.json" for one in CommandType} <= samples
    assert {"fences.json", "journey-log.purchase.json"} <= samples


@pytest.mark.parametrize("name", names(VALID, "event.*.json"))
def test_a_valid_event_is_read(name: str) -> None:
    event = read(VALID / name)

    assert event.type == json.loads((VALID / name).read_bytes())["type"]


@pytest.mark.parametrize("name", sorted(set(names(VALID, "*.json")) - {"event.unknown-type.json"}))
def test_a_valid_sample_passes_its_schema(name: str) -> None:
    Draft202012Validator(schema_of(VALID / name)).validate(json.loads((VALID / name).read_bytes()))


def test_every_invalid_event_says_what_is_wrong_with_it() -> None:
    assert names(INVALID, "event.*.json") == sorted(REFUSALS)


@pytest.mark.parametrize("name", REFUSALS)
def test_an_invalid_event_is_refused_for_its_reason(name: str) -> None:
    with pytest.raises(EventRejected) as caught:
        read(INVALID / name)

    assert caught.value.reason == REFUSALS[name]["reason"]
    if REFUSALS[name]["detail"] is not None:
        assert caught.value.detail == REFUSALS[name]["detail"]


@pytest.mark.parametrize("name", [n for n in REFUSALS if REFUSALS[n]["schema_refuses"]])
def test_an_invalid_event_fails_its_schema_where_a_schema_can_say_it(name: str) -> None:
    assert not is_valid(INVALID / name)


@pytest.mark.parametrize(
    "name",
    sorted(set(names(INVALID, "*.json")) - set(names(INVALID, "event.*.json")) - {"index.json"}),
)
def test_an_invalid_output_fails_its_schema(name: str) -> None:
    assert not is_valid(INVALID / name)


@pytest.mark.parametrize("event_type", PAYLOADS)
def test_schema_and_codec_agree_on_each_damage_to_a_valid_event(event_type: str) -> None:
    """Every field removed, emptied, or of another type: both say yes, or both say no."""
    document = json.loads((VALID / f"event.{event_type}.json").read_bytes())
    validator = Draft202012Validator(
        json.loads((SCHEMAS / "events" / f"{event_type}.json").read_text())
    )
    for damaged in damages(document):
        if damaged.get("type") != event_type:
            continue  # It is an event of another type now.
        value = json.dumps(damaged).encode()
        try:
            decode_event(None, value, [], event_bytes_max=10_000, record_time_ms=1)
            accepted = True
        except EventRejected:
            accepted = False

        assert accepted == validator.is_valid(damaged), damaged


def damages(value: Any):
    """Yield the object with each of its fields, at any depth, removed or replaced."""
    if isinstance(value, dict):
        for name, inner in value.items():
            others = {key: one for key, one in value.items() if key != name}
            yield others
            for wrong in ("", 7, -1.5, True, [], {}, "x" * 2_000):
                yield others | {name: wrong}
            for damaged in damages(inner):
                yield others | {name: damaged}
    if isinstance(value, list):
        for position, inner in enumerate(value):
            for damaged in damages(inner):
                yield [*value[:position], damaged, *value[position + 1 :]]
