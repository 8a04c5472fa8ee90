"""The two records of a changelog partition that are about the partition, not about a customer.

Their keys begin with byte 0xFF, which no customer id in UTF-8 can. `META_KEY` goes with every
transaction: its offset is the one to start from. `JOURNEYS_KEY` goes with every takeover.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field, msgpack

from orchestrator.core.encoded.state import STATE_FORMAT
from orchestrator.errors import DependencyError
from orchestrator.protocol.commit.rounds import Cursor

if TYPE_CHECKING:
    from orchestrator.core.journeys import Journeys

META_KEY: Final = b"\xffmeta"
JOURNEYS_KEY: Final = b"\xffjourneys"
META_FORMAT: Final = 1


class Meta(Struct, frozen=True, array_like=True, gc=False):
    """Where a partition stands, written by its owner in every transaction.

    `positions` are the next offsets to decide, by input topic. `starts` counts takeovers since
    the last transaction that made progress: a group that kills its worker is retried smaller.
    `rounds` says how far journeys are that visit customers, by name.
    """

    format: int
    state_format: int
    positions: Mapping[str, int]
    generation: int
    slot: str
    transactional_ids: tuple[str, ...]
    clock_ms: int
    starts: int
    content_hash: str
    extensions: Mapping[str, bytes] = field(default_factory=dict)
    rounds: Mapping[str, Cursor] = field(default_factory=dict)


_meta_decoder = msgpack.Decoder(Meta)
_journeys_decoder = msgpack.Decoder(dict[str, str])
_encoder = msgpack.Encoder()


def encode_meta(meta: Meta) -> bytes:
    """Return the value of the meta record."""
    return _encoder.encode(meta)


def decode_meta(value: bytes, *, where: str) -> Meta:
    """Read a meta record. Raises DependencyError when a newer release wrote it."""
    meta = _meta_decoder.decode(value)
    if meta.format > META_FORMAT or meta.state_format > STATE_FORMAT:
        raise DependencyError(
            f"{where}: meta format {meta.format} and state format {meta.state_format} were written "
            f"by a newer release; this one reads up to {META_FORMAT} and {STATE_FORMAT}: upgrade it"
        )
    return meta


def journey_digests(journeys: Journeys) -> dict[str, str]:
    """Return a digest of each loaded journey version, keyed `name@version`."""
    return {
        f"{name}@{version}": blake2b(journey.model_dump_json().encode(), digest_size=16).hexdigest()
        for (name, version), journey in journeys.versions.items()
    }


def encode_journeys(digests: Mapping[str, str]) -> bytes:
    """Return the value of the journeys record."""
    return _encoder.encode(dict(sorted(digests.items())))


def changed_journeys(recorded: Mapping[str, str], digests: Mapping[str, str]) -> list[str]:
    """Return the versions, as `name@version`, whose content is not what it was."""
    return sorted(key for key, digest in digests.items() if recorded.get(key, digest) != digest)


def check_journeys(value: bytes, digests: Mapping[str, str], *, where: str) -> None:
    """Refuse journeys that changed under the same version.

    Raises DependencyError naming each of them: people inside would find other steps than entered.
    """
    changed = changed_journeys(_journeys_decoder.decode(value), digests)
    if changed:
        raise DependencyError(
            f"{where}: {', '.join(changed)} changed its content under the same version; "
            "raise the version, and keep the old one in journeys/versions/ for people inside"
        )
