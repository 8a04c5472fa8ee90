"""Where a customer stands in journeys, read from an encoded state without decoding the rest.

The read model counts people per step with it, for every changelog record that it takes in; a
record has many parts, and a count needs three small ones.
"""

from __future__ import annotations

from typing import Final

from msgspec import Raw, Struct

from orchestrator.core.customer import Customer
from orchestrator.core.encoded.state import HEADER_BYTES, check_state_format, part_decoder

# A journey, its version, and the step in which somebody stands.
Place = tuple[str, int, str]


class _Standing(Struct, frozen=True, array_like=True, gc=False):
    """The first fields of an `Enrollment`, up to the step."""

    id: Raw
    journey: str
    version: int
    key: Raw
    entry_time_ms: Raw
    entered_at_ms: Raw
    cause: Raw
    step: str | None = None


_decoder: Final = part_decoder(Customer, "enrollments", tuple[_Standing, ...])


def places_of(value: bytes) -> tuple[Place, ...]:
    """Return where the customer of a changelog value stands; somebody who has ended nowhere.

    Raises UnknownStateFormat for a record of a newer release.
    """
    check_state_format(value)
    found: tuple[_Standing, ...] = _decoder.decode(memoryview(value)[HEADER_BYTES:]).enrollments
    return tuple((one.journey, one.version, one.step) for one in found if one.step is not None)
