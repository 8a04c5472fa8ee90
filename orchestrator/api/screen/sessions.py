"""Who is signed in at the screen. All of it stands in the cookie, sealed; nothing is kept here.

Every process that is given the same secret honours what another one has sealed, and a process of
which no secret is known to others makes up its own. The token behind a session is looked up with
each request: one that is gone, or has lost a scope, takes its sessions along. Customer ids do not
stand in the addresses of pages: they are sealed for the session that asks.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.api.tokens import Caller, Scope, Tokens

COOKIE: Final = "orchestrator_session"
IDLE_SECONDS: Final = 30 * 60
LIFE_SECONDS: Final = 10 * 3600
SECRET_CHARACTERS_MIN: Final = 32
_SECRET_BYTES: Final = 32
# Browsers keep 4,096 bytes of a cookie; the rest of ours is far from that.
_MESSAGE_CHARACTERS_MAX: Final = 300
_SEALED_CHARACTERS_MAX: Final = 4_096
# Who has signed out, remembered until the cookie would have run out anyway.
_ENDED_MAX: Final = 10_000


class _Content(msgspec.Struct, frozen=True, array_like=True):
    """What a cookie holds; the time it was sealed at is the seal's own."""

    token: bytes
    by: str
    secret: str
    began: int
    message: tuple[str, str] | None = None


_contents: Final = msgspec.msgpack.Decoder(_Content)


@dataclass(slots=True)
class Session:
    """One person at one browser. `message` is shown once, on the next page.

    `token` is the digest of what they signed in with, `began` in seconds since the epoch.
    """

    caller: Caller
    by: str
    token: bytes
    secret: str
    began: int
    seal: MultiFernet
    message: tuple[str, str] | None = None
    ended: bool = False

    def may(self, scope: Scope) -> bool:
        """Whether the token behind the session has a scope."""
        return scope in self.caller.scopes

    def is_from_us(self, secret: str) -> bool:
        """Whether a form was made by a page of this session."""
        return hmac.compare_digest(self.secret.encode(), secret.encode("utf-8", "replace"))

    def reference(self, customer: str) -> str:
        """Return what stands for a customer in the addresses of this session."""
        return self.seal.encrypt(f"{self.secret} {customer}".encode()).decode()

    def customer(self, reference: str) -> str | None:
        """Return the customer that a reference of this session stands for, or None."""
        try:
            text = self.seal.decrypt(reference.encode()).decode()
        except (InvalidToken, UnicodeError):
            return None
        secret, _, customer = text.partition(" ")
        return customer if self.is_from_us(secret) else None

    def told(self) -> tuple[str, str] | None:
        """Return what is to be shown once, and forget it."""
        message, self.message = self.message, None
        return message


class Sessions:
    """Seals and opens sessions. `now` is in seconds since the epoch, and the same everywhere."""

    def __init__(self, tokens: Tokens, secret: str = "") -> None:
        """Take the secret: lines, of which the first seals and each opens; none makes one up.

        Raises UsageError for one that could be guessed.
        """
        lines = secret_lines(secret) or [secrets.token_urlsafe(_SECRET_BYTES)]
        self._tokens: Final = tokens
        # Different keys, so that neither can be taken for the other.
        self._cookies: Final = _seal(lines, b"session cookie")
        self._references: Final = _seal(lines, b"customer reference")
        self._ended: OrderedDict[str, int] = OrderedDict()

    def begin(self, token: str, now: float) -> Session | None:
        """Sign in who holds a token; None when nobody does."""
        digest = self._tokens.digest(token)
        caller = self._tokens.holder(digest)
        if caller is None:
            return None
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        return Session(caller, caller.name, digest, secret, int(now), self._references)

    def sealed(self, session: Session, now: float) -> str:
        """Return what the cookie holds: the session, as used now."""
        message = session.message
        if message is not None:
            message = message[0], message[1][:_MESSAGE_CHARACTERS_MAX]
        content = _Content(session.token, session.by, session.secret, session.began, message)
        return self._cookies.encrypt_at_time(msgspec.msgpack.encode(content), int(now)).decode()

    def find(self, cookie: str, now: float) -> Session | None:
        """Return a session that is still good, by whichever process it was sealed."""
        if len(cookie) > _SEALED_CHARACTERS_MAX:
            return None
        try:
            opened = self._cookies.decrypt_at_time(cookie.encode(), IDLE_SECONDS, int(now))
            content = _contents.decode(opened)
        except (InvalidToken, UnicodeError, msgspec.DecodeError):
            return None
        caller = self._tokens.holder(content.token)
        late = now - content.began > LIFE_SECONDS
        if caller is None or late or content.secret in self._ended:
            return None
        return Session(
            caller,
            content.by,
            content.token,
            content.secret,
            content.began,
            self._references,
            content.message,
        )

    def end(self, session: Session) -> None:
        """Sign somebody out, and refuse here whatever copy of the cookie there is."""
        session.ended = True
        self._ended[session.secret] = session.began
        if len(self._ended) > _ENDED_MAX:
            self._ended.popitem(last=False)


def secret_lines(secret: str) -> list[str]:
    """Return the lines of a secret; none when there is no secret. Raises UsageError."""
    lines = [line.strip() for line in secret.splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line) < SECRET_CHARACTERS_MIN:
            raise UsageError(
                f"api_session_secret: line {number} has {len(line)} characters; allowed: at least "
                f"{SECRET_CHARACTERS_MIN}, by chance, such as of `openssl rand -base64 32`"
            )
    return lines


def _seal(lines: list[str], purpose: bytes) -> MultiFernet:
    keys = (
        HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(line.encode())
        for line in lines
    )
    return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in keys])
