"""Where a customer stands in journeys, read from an encoded state without decoding the rest.

The read model counts people per step with it, for every changelog record that it takes in; a
record has many parts, and a count needs three small ones.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw, Struct, msgpack

from orchestrator.core.encoded.state import HEADER_BYTES, check_state_format

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


class _Standings(Struct, frozen=True, array_like=True, gc=False):
    """The first fields of a `Customer`, up to the enrollments."""

    id: Raw
    sequence: Raw
    now_ms: Raw
    seen: Raw
    business: Raw
    attributes: Raw
    orders: Raw
    enrollments: tuple[_Standing, ...]


_decoder: Final[Any] = msgpack.Decoder(_Standings)


def places_of(value: bytes) -> tuple[Place, ...]:
    """Return where the customer of a changelog value stands; somebody who has ended nowhere.

    Raises UnknownStateFormat for a record of a newer release.
    """
    check_state_format(value)
    found: _Standings = _decoder.decode(memoryview(value)[HEADER_BYTES:])
    return tuple(
        (one.journey, one.version, one.step) for one in found.enrollments if one.step is not None
    )
