"""Notices between owners as records of the forward topic, and back.

`commit/group` writes and reads them. A header says what a record is; one without it is an event on
its way home. The headers carry the cause, the value what has to travel: nothing for a question, the
encoded state of an id that was absorbed, the ids that share an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from msgspec import MsgspecError, msgpack

from orchestrator.core.customer import Cause
from orchestrator.core.encoded.state import UnknownStateFormat, decode_customer, encode_customer
from orchestrator.core.identity.notices import (
    AddressClaimed,
    AddressShared,
    MergeAsked,
    Notice,
    StateMoved,
)
from orchestrator.errors import EventRejected

if TYPE_CHECKING:
    from orchestrator.protocol.outputs import Headers, WrittenHeaders

KIND: Final = "fw_kind"
_SCHEMA: Final = "schema"
_MERGE, _STATE, _CLAIM, _SHARED = b"merge", b"state", b"claim", b"shared"
_DIGEST_BYTES: Final = 32
_INDEX_KEY_BYTES: Final = 2 + _DIGEST_BYTES
_BY: Final = {b"e": "email", b"p": "phone"}
_encode: Final = msgpack.Encoder().encode
_others: Final = msgpack.Decoder(tuple[str, ...])


class Written(NamedTuple):
    """A notice as a record; its way so far is added as for any forwarded record."""

    key: bytes
    value: bytes
    headers: WrittenHeaders


def is_notice(headers: Headers) -> bool:
    """Whether a record of the forward topic is a notice, and not an event."""
    return any(name == KIND for name, _ in headers)


def write_notice(notice: Notice) -> Written:
    """Return the record of a notice."""
    match notice:
        case MergeAsked():
            headers = [*_caused(_MERGE, notice.cause), ("fw_into", notice.survivor.encode())]
            return Written(notice.absorbed.encode(), b"", headers)
        case StateMoved():
            headers = _caused(_STATE, notice.cause)
            return Written(notice.survivor.encode(), encode_customer(notice.state), headers)
        case AddressClaimed():
            headers = [
                (KIND, _CLAIM),
                ("fw_by", notice.by.encode()),
                ("fw_ended", b"1" if notice.ended else b"0"),
            ]
            return Written(notice.key, notice.customer.encode(), headers)
        case AddressShared():
            headers = [(KIND, _SHARED), ("fw_by", notice.by.encode()), ("fw_sha256", notice.digest)]
            return Written(notice.customer.encode(), _encode(notice.others), headers)
        case _:
            assert_never(notice)


def read_notice(key: bytes | None, value: bytes | None, headers: Headers) -> Notice:
    """Read a notice. Raises EventRejected for what is none of this release."""
    marks = dict(headers)
    try:
        return _read(key or b"", value or b"", marks)
    except (KeyError, ValueError, UnknownStateFormat, MsgspecError) as error:
        detail = f"is no notice of this release: {type(error).__name__}"
        raise EventRejected(_SCHEMA, detail) from None


def _read(key: bytes, value: bytes, marks: dict[str, bytes | None]) -> Notice:
    def text(name: str) -> str:
        return (marks[name] or b"").decode()

    match marks[KIND]:
        case b"merge":
            cause = Cause(text("fw_source"), text("fw_id"))
            return MergeAsked(key.decode(), text("fw_into"), cause)
        case b"state":
            cause = Cause(text("fw_source"), text("fw_id"))
            return StateMoved(key.decode(), decode_customer(value), cause)
        case b"claim":
            if len(key) != _INDEX_KEY_BYTES:
                raise ValueError("no key of an index")
            by = _BY[key[1:2]]
            return AddressClaimed(by, key[2:], value.decode(), marks["fw_ended"] == b"1")
        case b"shared":
            digest = marks["fw_sha256"] or b""
            return AddressShared(key.decode(), text("fw_by"), digest, _others.decode(value))
        case _:
            raise ValueError("unknown kind")


def _caused(kind: bytes, cause: Cause) -> WrittenHeaders:
    return [(KIND, kind), ("fw_source", cause.source.encode()), ("fw_id", cause.id.encode())]
