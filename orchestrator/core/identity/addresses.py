"""Known customers that share an e-mail address or a phone number, found by its hash.

`decide` claims the addresses of a profile; the owner of an address keeps who has claimed it, and
tells the last one who the others are. Neither its records nor its state hold an address.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from msgspec import msgpack

from orchestrator.core.command import SOURCE
from orchestrator.core.customer import Cause
from orchestrator.core.decision import DuplicateFound
from orchestrator.core.encoded.state import state_header
from orchestrator.core.identity.notices import AddressClaimed, AddressShared, MergeAsked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.customer import Attribute
    from orchestrator.core.rules.draft import Draft

# Attributes that hold an address, and those that hold its SHA-256 already, as hexadecimal text.
_PLAIN: Final = ("email", "phone")
_HASHED: Final = {"email_sha256": "email", "phone_sha256": "phone"}
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
# What people write between digits.
_BETWEEN: Final = re.compile(r"[\s().\-/]+")
_PHONE: Final = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
# The newest so many claims of one address are kept; a switchboard's number has many.
CLAIMS_MAX: Final = 16
# Enough to find the cause again in logs, too little to try addresses against.
_CAUSE_DIGITS: Final = 8

Addresses = frozenset[tuple[str, bytes]]
_encoder: Final = msgpack.Encoder()
_decoder: Final = msgpack.Decoder(tuple[str, ...])


def addresses_of(attributes: Mapping[str, Attribute]) -> Addresses:
    """Return the kind and hash of every address in a profile; what is no address is none."""
    found = set()
    for name in _PLAIN:
        text = _normal(name, _value(attributes, name))
        if text is not None:
            found.add((name, sha256(text.encode()).digest()))
    for name, by in _HASHED.items():
        value = _value(attributes, name)
        if isinstance(value, str) and _SHA256.fullmatch(value):
            found.add((by, bytes.fromhex(value)))
    return frozenset(found)


def claim(draft: Draft) -> None:
    """Tell the owners of addresses that the profile has them now, or no longer."""
    before, after = draft.customer.attributes, draft.attributes
    names = (*_PLAIN, *_HASHED)
    if all(before.get(name) is after.get(name) for name in names):
        return
    if draft.journeys.identities.is_anonymous(draft.customer.id):
        return
    had, has = addresses_of(before), addresses_of(after)
    _tell(draft, has - had, ended=False)
    _tell(draft, had - has, ended=True)


def release(draft: Draft) -> None:
    """Tell the owners of all addresses of the profile that this id has them no longer."""
    if not draft.journeys.identities.is_anonymous(draft.customer.id):
        _tell(draft, addresses_of(draft.attributes), ended=True)


def note_shared(draft: Draft, shared: AddressShared) -> None:
    """Report ids that share an address with this one, and merge them where the shop says so."""
    customer = draft.customer
    if (shared.by, shared.digest) not in addresses_of(draft.attributes):
        return  # It has another one by now.
    others = tuple(
        one for one in shared.others if one != customer.id and one not in customer.absorbed
    )
    if not others:
        return
    merges = _policy(draft, shared.by) == "merge"
    draft.log(DuplicateFound(by=shared.by, others=others, merges=merges))
    for other in others if merges else ():
        pair = draft.journeys.identities.pair(customer.id, other)
        cause = Cause(SOURCE, f"{shared.by}/{shared.digest.hex()[:_CAUSE_DIGITS]}")
        draft.notices.append(MergeAsked(pair.absorbed, pair.survivor, cause))


def claims_after(claims: tuple[str, ...], notice: AddressClaimed) -> tuple[str, ...]:
    """Return who has an address, the newest last, after one more word on it."""
    others = tuple(one for one in claims if one != notice.customer)
    return others if notice.ended else (*others, notice.customer)[-CLAIMS_MAX:]


def shared_by(claims: tuple[str, ...], notice: AddressClaimed) -> AddressShared | None:
    """Return what the new claimant has to be told, with the claims as they were before."""
    others = tuple(one for one in claims if one != notice.customer)
    if notice.ended or not others:
        return None
    return AddressShared(notice.customer, notice.by, notice.digest, others)


def encode_claims(claims: tuple[str, ...]) -> bytes:
    """Return the changelog value of an index of one address."""
    return state_header() + _encoder.encode(claims)


def decode_claims(value: bytes) -> tuple[str, ...]:
    """Read what `encode_claims` wrote."""
    return _decoder.decode(memoryview(value)[len(state_header()) :])


def _tell(draft: Draft, addresses: Addresses, *, ended: bool) -> None:
    draft.notices += (
        AddressClaimed(by, digest, draft.customer.id, ended)
        for by, digest in sorted(addresses)
        if _policy(draft, by) != "ignore"
    )


def _policy(draft: Draft, by: str) -> str:
    said = draft.journeys.shop.identity
    return said.shared_email if by == "email" else said.shared_phone


def _value(attributes: Mapping[str, Attribute], name: str) -> Any:
    attribute = attributes.get(name)
    return None if attribute is None else attribute.value


def _normal(name: str, value: Any) -> str | None:
    """Return an address as all its spellings are hashed; None for what is none."""
    if not isinstance(value, str):
        return None
    if name == "email":
        text = value.strip().lower()
        return text if _EMAIL.fullmatch(text) else None
    text = _BETWEEN.sub("", value)
    text = f"+{text[2:]}" if text.startswith("00") else text
    return text if _PHONE.fullmatch(text) else None
