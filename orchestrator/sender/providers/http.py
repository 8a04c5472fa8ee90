"""POSTs commands: to a sidecar's application beside us, or signed to a webhook anywhere.

The body is the command as it came, a structured CloudEvent; `Idempotency-Key` is its id, so that a
receiver that honours the key does each command once, whatever happens to us. A signature follows
Standard Webhooks, for which receivers find libraries in every language.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver

from orchestrator.errors import UsageError
from orchestrator.sender.rules.outcome import Delivered, Failed, Outcome, Retry, Unknown

if TYPE_CHECKING:
    import socket

    from orchestrator.sender.rules.command import Command

_CONTENT_TYPE: Final = "application/cloudevents+json"
_KEY_BYTES_MIN: Final = 24  # Standard Webhooks asks for 24 to 64 bytes.
_KEY_PREFIX: Final = "whsec_"
# 408 Request Timeout, 425 Too Early, 429 Too Many Requests: refused, and to be tried again.
_REFUSED_FOR_NOW: Final = frozenset({408, 425, 429, 503})
_RETRY_AFTER_SECONDS_MAX: Final = 24 * 60 * 60.0


class ForbiddenAddress(OSError):
    """A name leads to an address that is not on the public internet."""


class Signature:
    """Signs what is posted. Raises UsageError for a key that is too weak."""

    def __init__(self, key: str) -> None:
        text = key.removeprefix(_KEY_PREFIX)
        try:
            self._key = base64.b64decode(text, validate=True) if text != key else key.encode()
        except ValueError:
            raise UsageError(f"the webhook's key: no base64 after {_KEY_PREFIX}") from None
        if len(self._key) < _KEY_BYTES_MIN:
            raise UsageError(
                f"the webhook's key has {len(self._key)} bytes; allowed: at least "
                f"{_KEY_BYTES_MIN}, or {_KEY_PREFIX} and base64 of as many"
            )

    def headers(self, command_id: str, body: bytes, now_seconds: int) -> dict[str, str]:
        """Return the headers by which a receiver knows that it was us, and when."""
        signed = f"{command_id}.{now_seconds}.".encode() + body
        digest = hmac.new(self._key, signed, hashlib.sha256).digest()
        return {
            "webhook-id": command_id,
            "webhook-timestamp": str(now_seconds),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }


class HttpProvider:
    """Delivers by POST. `public_only` refuses addresses inside of a network.

    Raises UsageError for a URL that cannot be used.
    """

    def __init__(
        self, url: str, *, signature: Signature | None = None, public_only: bool = False
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is no URL; allowed: http:// or https:// and a host")
        if parts.username is not None:
            raise UsageError("the URL holds a login; allowed: none, it would stand in `ps`")
        if public_only and parts.scheme != "https":
            raise UsageError("--webhook wants https; allowed: http with --allow-private")
        self._url = url
        self._signature = signature
        self._public_only = public_only
        if public_only and _is_address(parts.hostname):
            _refuse_private(parts.hostname)
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, command: Command) -> Outcome:
        """POST one command; 2xx is the acknowledgement."""
        headers = {"Content-Type": _CONTENT_TYPE, "Idempotency-Key": command.id}
        if self._signature is not None:
            headers |= self._signature.headers(command.id, command.body, int(time.time()))
        try:
            async with self._opened().post(
                self._url, data=command.body, headers=headers, allow_redirects=False
            ) as answer:
                return outcome_of(answer.status, answer.headers.get("Retry-After"))
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ForbiddenAddress):
                return Failed("forbidden_address")
            # Nobody was reached, so nothing was sent.
            return Retry("not_reached")
        except aiohttp.InvalidURL:
            return Failed("invalid_url")
        except aiohttp.ClientError:
            return Unknown("no_answer")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        # A session belongs to the loop that it is made on.
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                resolver=_PublicResolver() if self._public_only else None,
                # What was checked is what is connected to; a cached name would not be checked.
                use_dns_cache=False,
            )
            # The sender bounds the whole call.
            timeout = aiohttp.ClientTimeout(total=None)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session


def outcome_of(status: int, retry_after: str | None) -> Outcome:
    """Return what an HTTP status means for a command."""
    if 200 <= status < 300:
        return Delivered()
    if status in _REFUSED_FOR_NOW:
        return Retry(f"http_{status}", _seconds(retry_after))
    if status >= 500:
        # It may have failed before or after doing what we asked for.
        return Unknown(f"http_{status}", _seconds(retry_after))
    return Failed(f"http_{status}")


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After: seconds, or a date."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            moment = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        seconds = (moment - datetime.now(UTC)).total_seconds() if moment.tzinfo else 0.0
    return min(max(seconds, 0.0), _RETRY_AFTER_SECONDS_MAX) if seconds == seconds else None  # noqa: PLR0124 - NaN.


class _PublicResolver(AbstractResolver):
    """Resolves to public addresses only; aiohttp connects to exactly what this returns.

    So a name that is checked now and leads elsewhere a moment later gains nothing.
    """

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = 0) -> Any:  # type: ignore[assignment]  # aiohttp's default is an enum too.
        found = await self._resolver.resolve(host, port, family)
        for one in found:
            if not _is_public(one["host"]):
                raise ForbiddenAddress(f"{host} leads to an address that is not public")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None)
    return all(one.is_global and not one.is_multicast for one in (address, mapped) if one)


def _refuse_private(host: str) -> None:
    if not _is_public(host):
        raise UsageError(
            f"--webhook: {host} is not a public address; allowed: others, or --allow-private"
        )
