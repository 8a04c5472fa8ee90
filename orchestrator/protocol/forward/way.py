"""How a record says on its way home where it stood first, and how often it was sent on."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from orchestrator.protocol.forward.original import Original, packed, unpacked
from orchestrator.protocol.outputs import Headers, Position, WrittenHeaders

_FORWARD_PREFIX: Final = "fw_"
_HOPS: Final = "fw_hops"


class Forward(Struct, frozen=True, gc=False):
    """What a record on the forward topic says about its way.

    `original` is there when the record came from a mapped topic; who forwards it again keeps it.
    """

    origin: Position
    hops: int
    original: Original | None = None


def forward_headers(headers: Headers, forward: Forward) -> WrittenHeaders:
    """Return the headers of a record on its way home: its own, and its way so far.

    `fw_time` keeps the record's own timestamp for events that bring no time themselves.
    """
    origin = forward.origin
    return [
        *without_forward(headers),
        ("fw_topic", origin.topic.encode()),
        ("fw_partition", b"%d" % origin.partition),
        ("fw_offset", b"%d" % origin.offset),
        ("fw_time", b"%d" % origin.time_ms),
        (_HOPS, b"%d" % forward.hops),
        *(() if forward.original is None else (("fw_original", packed(forward.original)),)),
    ]


def notice_headers(headers: Headers, hops: int) -> WrittenHeaders:
    """Return the headers of a notice with how often it has been sent on, itself included."""
    return [*(header for header in headers if header[0] != _HOPS), (_HOPS, b"%d" % hops)]


def read_hops(headers: Headers) -> int:
    """Return how often a record of the forward topic has been sent on; 0 for one of our own."""
    try:
        return int(dict(headers).get(_HOPS) or 0)
    except ValueError:
        return 0


def read_forward(headers: Headers) -> Forward | None:
    """Read what `forward_headers` wrote; None when it is not there or not ours.

    Only for records of the forward topic: anybody may put such headers on an input record.
    """
    marks = dict(headers)
    try:
        return Forward(
            origin=Position(
                topic=(marks["fw_topic"] or b"").decode(),
                partition=int(marks["fw_partition"] or b""),
                offset=int(marks["fw_offset"] or b""),
                time_ms=int(marks["fw_time"] or b""),
            ),
            hops=int(marks["fw_hops"] or b""),
            original=unpacked(marks.get("fw_original")),
        )
    except (KeyError, ValueError):
        return None


def without_forward(headers: Headers) -> WrittenHeaders:
    """Return the headers as the producer sent them."""
    return [header for header in headers if not header[0].startswith(_FORWARD_PREFIX)]
