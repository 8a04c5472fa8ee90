"""A mapped record as its producer wrote it, in a header of the events that it became.

`outputs` packs it when a record goes home, and unpacks it when one of its events is refused there:
a dead letter is what was accepted, not what became of it.
"""

from __future__ import annotations

from typing import Final

from msgspec import MsgspecError, Struct, msgpack


class Original(Struct, frozen=True, array_like=True, gc=False):
    """A mapped record as its producer wrote it: what becomes of it as a dead letter."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


_packer: Final = msgpack.Encoder()
_unpacker: Final = msgpack.Decoder(Original)


def packed(original: Original) -> bytes:
    """Return the value of the header."""
    return _packer.encode(original)


def unpacked(header: bytes | None) -> Original | None:
    """Read what `packed` wrote; None when it is not there or not ours."""
    try:
        return None if header is None else _unpacker.decode(header)
    except MsgspecError:
        return None
