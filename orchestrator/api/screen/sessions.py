"""Who is signed in at the screen. A session lives in this process, and never in a file.

The cookie holds 32 random bytes; only their digest is kept here. Customer ids do not stand in the
addresses of pages: a session gives each customer it has looked at a name of its own.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.api.tokens import Caller, Scope

COOKIE: Final = "orchestrator_session"
IDLE_SECONDS: Final = 30 * 60.0
LIFE_SECONDS: Final = 10 * 3600.0
# The one that was idle for longest goes when another one comes.
SESSIONS_MAX: Final = 2_000
_CUSTOMERS_MAX: Final = 200
_REFERENCE_BYTES: Final = 12
_SECRET_BYTES: Final = 32


@dataclass(slots=True)
class Session:
    """One person at one browser. `message` is shown once, on the next page."""

    caller: Caller
    by: str
    began: float
    used: float
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(_SECRET_BYTES))
    message: tuple[str, str] | None = None
    _references: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def may(self, scope: Scope) -> bool:
        """Whether the token behind the session has a scope."""
        return scope in self.caller.scopes

    def is_from_us(self, secret: str) -> bool:
        """Whether a form was made by a page of this session."""
        return hmac.compare_digest(self.secret.encode(), secret.encode("utf-8", "replace"))

    def reference(self, customer: str) -> str:
        """Return what stands for a customer in the addresses of this session."""
        for reference, known in self._references.items():
            if known == customer:
                self._references.move_to_end(reference)
                return reference
        reference = secrets.token_urlsafe(_REFERENCE_BYTES)
        self._references[reference] = customer
        if len(self._references) > _CUSTOMERS_MAX:
            self._references.popitem(last=False)
        return reference

    def customer(self, reference: str) -> str | None:
        """Return the customer that a reference stands for, or None."""
        return self._references.get(reference)

    def told(self) -> tuple[str, str] | None:
        """Return what is to be shown once, and forget it."""
        message, self.message = self.message, None
        return message


class Sessions:
    """All sessions of one process."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, caller: Caller, by: str, now: float) -> str:
        """Sign somebody in; return what the cookie holds."""
        cookie = secrets.token_urlsafe(_SECRET_BYTES)
        self._sessions[_digest(cookie)] = Session(caller, by, now, now)
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return cookie

    def find(self, cookie: str, now: float) -> Session | None:
        """Return a session that is still good, and note that it was used."""
        digest = _digest(cookie)
        session = self._sessions.get(digest)
        if session is None:
            return None
        if now - session.used > IDLE_SECONDS or now - session.began > LIFE_SECONDS:
            del self._sessions[digest]
            return None
        session.used = now
        self._sessions.move_to_end(digest)
        return session

    def end(self, cookie: str) -> None:
        """Sign somebody out."""
        self._sessions.pop(_digest(cookie), None)


def _digest(cookie: str) -> bytes:
    return sha256(cookie.encode("utf-8", "replace")).digest()
