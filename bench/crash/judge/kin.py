"""Ids, addresses and names of one customer: the judge's own idea, by docs/identity.md alone."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.history import murmur2

if TYPE_CHECKING:
    from collections.abc import Mapping

ANONYMOUS: Final = ("anon-", "anonymous-", "cookie-", "device-", "visitor-", "web-")
UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
INDEX_BYTE: Final = b"\xfe"
"""How the key of the claims of an address begins."""
CLAIMS_MAX: Final = 16
"""So many claims of one address are kept, the newest ones."""

Address = tuple[str, bytes]
"""`email` or `phone`, and the SHA-256 of the address."""


def is_anonymous(customer: str) -> bool:
    """Whether an id is one of a cookie or a device."""
    return customer.startswith(ANONYMOUS) or UUID.fullmatch(customer) is not None


def rank(customer: str) -> tuple[bool, bytes]:
    """Return the place of an id in the order by which the least one of a customer stays."""
    return is_anonymous(customer), customer.encode()


def pair(one: str, other: str) -> tuple[str, str]:
    """Return which of two ids is absorbed into which."""
    survivor, absorbed = sorted((one, other), key=rank)
    return absorbed, survivor


def moved(enrollment: str, customer: str) -> str:
    """Return how an enrollment is called once it has left an id; it names its first one."""
    return enrollment if "~" in enrollment else f"{enrollment}~{customer}"


def nameless(enrollment: str) -> str:
    """Return how an erased enrollment is called: without the key that the shop has given it."""
    head, _, ordinal = enrollment.rpartition("#")
    return f"{head.partition('/')[0]}#{ordinal}"


def addresses(attributes: Mapping[str, Any]) -> set[Address]:
    """Return the addresses of a profile as they are compared; `attributes` are plain values."""
    found = set()
    for name, value in attributes.items():
        by, _, hashed = name.partition("_")
        if by not in {"email", "phone"} or not isinstance(value, str):
            continue
        if hashed == "sha256" and re.fullmatch("[0-9a-fA-F]{64}", value):
            found.add((by, bytes.fromhex(value)))
        elif not hashed:
            plain = _email(value) if by == "email" else _phone(value)
            if plain is not None:
                found.add((by, sha256(plain.encode()).digest()))
    return found


def home_key(key: bytes) -> int:
    """Return what a home is worked out from, of any key of the forward topic."""
    return murmur2(key)


def index_key(address: Address) -> bytes:
    """Return the key under which the claims of an address stand."""
    return INDEX_BYTE + address[0][:1].encode() + address[1]


def _email(text: str) -> str | None:
    text = text.strip().lower()
    return text if re.fullmatch(r"[^@\s]+@[^@\s]+", text) else None


def _phone(text: str) -> str | None:
    digits = re.sub(r"[\s().\-/]", "", text)
    return digits if re.fullmatch(r"\+[1-9][0-9]{6,14}", digits) else None
