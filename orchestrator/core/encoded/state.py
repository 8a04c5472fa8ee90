"""A customer's state as bytes: the value of a changelog record.

One format byte, the earliest due time, and MessagePack arrays. What recovery asks of millions of
records is read without decoding them.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw, Struct, defstruct, msgpack

from orchestrator.core.customer import PAUSED, Contact, Customer, Removal, wake_at_ms

STATE_FORMAT: Final = 1


class UnknownStateFormat(Exception):
    """A state record was written by a newer release; this one must not touch it."""


_encoder = msgpack.Encoder()
_decoder = msgpack.Decoder(Customer)


def part_decoder(struct: type[Struct], name: str, type_: Any) -> msgpack.Decoder[Any]:
    """Return a decoder of one field of a struct; what stands before it is skipped, not read."""
    before = struct.__struct_fields__[: struct.__struct_fields__.index(name)]
    fields = [(field, Raw) for field in before]
    return msgpack.Decoder(defstruct(name, [*fields, (name, type_)], array_like=True, gc=False))


_contact_decoder = part_decoder(Customer, "contact", Raw)
_removals_decoder = part_decoder(Contact, "removals", tuple[Removal, ...])
_FORMAT_BYTE: Final = bytes((STATE_FORMAT,))
# The earliest due time stands in front of the record, so that recovery can rebuild the index of
# waits from millions of records without decoding any of them. Times need six of its eight bytes;
# the first bit says whether a pause holds the customer, the second whether a removal from an
# audience is not acknowledged.
HEADER_BYTES: Final = 9
_PAUSED_BIT: Final = 1 << 63
_REMOVAL_BIT: Final = 1 << 62
_TIME_BITS: Final = _REMOVAL_BIT - 1


def encode_customer(customer: Customer) -> bytes:
    """Return the changelog value of a customer: format byte, earliest due time, state."""
    due = wake_at_ms(customer) or 0
    for one in customer.enrollments:
        if one.held == PAUSED:
            due |= _PAUSED_BIT
    if customer.contact.removals:
        due |= _REMOVAL_BIT
    return _FORMAT_BYTE + due.to_bytes(8, "big") + _encoder.encode(customer)


def state_header() -> bytes:
    """Return what stands in front of a changelog value that is no customer, and never comes due."""
    return _FORMAT_BYTE + bytes(HEADER_BYTES - 1)


def decode_customer(value: bytes) -> Customer:
    """Read a changelog value. Raises UnknownStateFormat for a record of a newer release."""
    check_state_format(value)
    return _decoder.decode(memoryview(value)[HEADER_BYTES:])


def check_state_format(value: bytes) -> None:
    """Raise UnknownStateFormat when this release cannot read the record."""
    if value[:1] != _FORMAT_BYTE:
        raise UnknownStateFormat(
            f"state format {value[0] if value else 'none'}, this release reads {STATE_FORMAT}"
        )


def encoded_is_readable(value: bytes) -> bool:
    """Whether this release can read an encoded customer."""
    try:
        check_state_format(value)
    except UnknownStateFormat:
        return False
    return True


def encoded_wake_at_ms(value: bytes) -> int | None:
    """Return the earliest due time of an encoded customer without decoding it."""
    return int.from_bytes(value[1:HEADER_BYTES], "big") & _TIME_BITS or None


def encoded_is_paused(value: bytes) -> bool:
    """Whether a pause holds an encoded customer, without decoding it."""
    return value[1] >= _PAUSED_BIT >> 56


def encoded_awaits_removal(value: bytes) -> bool:
    """Whether a removal of an encoded customer is not acknowledged, without decoding it."""
    return bool(value[1] & (_REMOVAL_BIT >> 56))


def encoded_oldest_removal_ms(value: bytes) -> int | None:
    """Return what `oldest_removal_ms` says of an encoded customer, without decoding the rest."""
    if not encoded_awaits_removal(value):
        return None
    contact = _contact_decoder.decode(memoryview(value)[HEADER_BYTES:]).contact
    oldest: Removal = _removals_decoder.decode(contact).removals[0]
    return oldest.time_ms
