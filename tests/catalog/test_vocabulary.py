"""What journeys may name is what the worker accepts."""

from __future__ import annotations

from msgspec import convert
from msgspec.structs import fields

from orchestrator.catalog.vocabulary import ANYTHING, EXAMPLES
from orchestrator.protocol.payloads import PAYLOADS


def test_journeys_know_the_event_types_of_the_contract() -> None:
    assert set(EXAMPLES) == set(PAYLOADS)


def test_journeys_know_the_fields_of_every_event_type() -> None:
    for event_type, payload in PAYLOADS.items():
        known = {one.encode_name for one in fields(payload)}

        assert (event_type, set(EXAMPLES[event_type])) == (event_type, known)


def test_every_example_is_a_valid_event() -> None:
    """Conditions are tried on the examples, so these must be what a producer may send."""
    for event_type, payload in PAYLOADS.items():
        example = EXAMPLES[event_type].items()
        convert({name: {} if one is ANYTHING else one for name, one in example}, payload)
