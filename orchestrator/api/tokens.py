"""Who may ask for what: bearer tokens with scopes, of which only digests are kept.

A line for each: a name for logs and limits, scopes, and the SHA-256 of the token. A token is 32
random bytes, so a plain digest cannot be guessed back. `new_token` makes one; `Tokens.parse` reads
what ORCHESTRATOR_API_TOKENS or the file of api_tokens_file holds.
"""

from __future__ import annotations

import hmac
import re
import secrets
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.catalog.findings import instead
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX: Final = "jo_"
_TOKEN_BYTES: Final = 32
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


class Scope(StrEnum):
    """What a token allows."""

    INGEST = "ingest"  # Send events in.
    READ = "read"  # See customers, journeys and pauses.
    ACT = "act"  # Pause, resume, publish, and act on a customer.
    ERASE = "erase"  # Erase and export a customer.


class Caller(NamedTuple):
    """Who holds a token."""

    name: str
    scopes: frozenset[Scope]


class Tokens:
    """All tokens of one process."""

    def __init__(self, callers: Iterable[tuple[bytes, Caller]] = ()) -> None:
        self._callers: Final = tuple(callers)

    def __bool__(self) -> bool:
        return bool(self._callers)

    @classmethod
    def parse(cls, text: str) -> Tokens:
        """Read lines of `name scope,scope sha256:…`; empty ones and those with # are passed over.

        Semicolons separate lines too. Raises UsageError with the number of the line, never with
        what stands in it.
        """
        found: list[tuple[bytes, Caller]] = []
        for number, line in enumerate(text.replace(";", "\n").splitlines(), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                found.append(_parse_line(line, number))
        names = [caller.name for _, caller in found]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"api_tokens: the name {name} stands there twice")
        return cls(found)

    @staticmethod
    def digest(token: str) -> bytes:
        """Return what is kept of a token."""
        return sha256(token.encode("utf-8", "surrogateescape")).digest()

    def find(self, token: str) -> Caller | None:
        """Return who holds a token."""
        return self.holder(self.digest(token))

    def holder(self, digest: bytes) -> Caller | None:
        """Return who holds the token of a digest; a wrong one takes as long as any other."""
        found: Caller | None = None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def new_token(name: str, scopes: Iterable[Scope]) -> tuple[str, str]:
    """Return a new token, and the line about it that the API is to be given."""
    token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    return token, line_of(name, scopes, token)


def line_of(name: str, scopes: Iterable[Scope], token: str) -> str:
    """Return the line about a token."""
    digest = sha256(token.encode()).hexdigest()
    return f"{name} {','.join(sorted(scopes))} sha256:{digest}"


def scopes_of(text: str) -> frozenset[Scope]:
    """Read scopes with commas between them. Raises UsageError."""
    allowed = [scope.value for scope in Scope]
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in allowed:
            raise UsageError(
                f"api_tokens: the scope {name!r} does not exist{instead(name, allowed)}"
            )
    if not names:
        raise UsageError(f"api_tokens: a token without a scope; allowed: {', '.join(allowed)}")
    return frozenset(Scope(name) for name in names)


def _parse_line(line: str, number: int) -> tuple[bytes, Caller]:
    parts = line.split()
    digest = _DIGEST.fullmatch(parts[2]) if len(parts) == 3 else None
    if digest is None or _NAME.fullmatch(parts[0]) is None:
        raise UsageError(
            f"api_tokens: line {number} is not `name scope,scope sha256:<64 hex digits>`; "
            "`orchestrator api --new-token NAME --scopes read` writes one"
        )
    return bytes.fromhex(digest[1]), Caller(parts[0], scopes_of(parts[1]))
