"""What the topic `definitions` carries: folders of journeys by content hash, and which one runs.

A bundle stands under its hash and stays, for replay and for going back; the record under `current`
names the one that runs, who published it and when. `clients/definitions` reads and writes them,
`catalog/bundle` turns folders into bundles and bundles into journeys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import DecodeError, Struct, json

from orchestrator.errors import DependencyError
from orchestrator.protocol.outputs import Timestamp

FORMAT: Final = 1
CURRENT_KEY: Final = b"current"


class Bundle(Struct, frozen=True, tag="bundle", tag_field="kind"):
    """All files of a journeys folder, by path.

    `folder_hash` is the content hash of the folder as its author had it; the bundle may hold older
    versions besides, for people who are still inside, so that its own hash is another.
    """

    format: int
    content_hash: str
    folder_hash: str
    files: Mapping[str, str]


class Current(Struct, frozen=True, tag="current", tag_field="kind"):
    """Which bundle runs, since when, and by whose doing."""

    format: int
    content_hash: str
    published_at: Timestamp
    published_by: str


_decoder: json.Decoder[Bundle | Current] = json.Decoder(Bundle | Current)
_encoder = json.Encoder(order="sorted")


def encode_definition(record: Bundle | Current) -> tuple[bytes, bytes]:
    """Return key and value of a record of the topic."""
    key = CURRENT_KEY if isinstance(record, Current) else record.content_hash.encode()
    return key, _encoder.encode(record)


def decode_definition(value: bytes, *, where: str) -> Bundle | Current:
    """Read a record. Raises DependencyError for one that is not ours, or of a newer release."""
    try:
        record = _decoder.decode(value)
    except DecodeError as error:
        raise DependencyError(f"{where}: is no definition of journeys: {error}") from error
    if record.format > FORMAT:
        raise DependencyError(
            f"{where}: definitions of format {record.format} were written by a newer release; "
            f"this one reads up to {FORMAT}: upgrade it"
        )
    return record
