"""Fetches schemas from a registry that speaks Confluent's REST API.

`waiting` asks for one schema at a time. Avro is served as JSON, Protobuf as a file descriptor
(`format=serialized`); what a schema refers to is fetched with it, what is referred to first.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp
import orjson

from orchestrator.errors import DependencyError, UsageError
from orchestrator.protocol.inputs import Schema

if TYPE_CHECKING:
    from orchestrator.settings import RegistrySettings

_ANSWER_SECONDS: Final = 10.0
_REFERENCES_MAX: Final = 64
_OK: Final = 200
_NOT_FOUND: Final = 404


class SchemaRegistry:
    """One registry, for one process. Made on the loop that it runs on."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._url: Final = settings.schema_registry_url.rstrip("/")
        self._user: Final = settings.schema_registry_username
        password = settings.schema_registry_password
        self._password: Final = "" if password is None else password.get_secret_value()
        self._ssl: Final = _tls(settings) if self._url.startswith("https") else None
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, schema_id: int) -> Schema | None:
        """Return a schema, None when the registry has none of this id. Raises DependencyError."""
        try:
            return await self._fetched(schema_id)
        except (KeyError, TypeError, ValueError) as error:
            reason = "schema registry: its answer is none that its interface describes"
            raise DependencyError(reason) from error

    async def _fetched(self, schema_id: int) -> Schema | None:
        answer = await self._get(f"/schemas/ids/{schema_id}")
        if answer is None:
            return None
        found: dict[str, str] = {}
        await self._refer(answer, _form(answer), found, ())
        kind = _kind(answer)
        if _form(answer):
            answer = await self._get(f"/schemas/ids/{schema_id}{_form(answer)}") or answer
        return Schema(kind, str(answer["schema"]), tuple(found.items()))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _refer(
        self, answer: dict[str, Any], form: str, found: dict[str, str], above: tuple[str, ...]
    ) -> None:
        """Fetch what a schema names, deepest first."""
        for one in answer.get("references") or ():
            name = str(one["name"])
            if name in found or name in above:
                continue
            if len(found) + len(above) >= _REFERENCES_MAX:
                raise DependencyError(f"schema registry: more than {_REFERENCES_MAX} references")
            subject, version = quote(str(one["subject"]), safe=""), int(one["version"])
            inner = await self._get(f"/subjects/{subject}/versions/{version}{form}")
            if inner is None:
                raise DependencyError(f"schema registry: a reference is gone: {name[:100]}")
            await self._refer(inner, form, found, (*above, name))
            found[name] = str(inner["schema"])

    async def _get(self, path: str) -> dict[str, Any] | None:
        """Ask; None is the registry's word that there is no such thing."""
        try:
            async with self._opened().get(self._url + path) as response:
                body = await response.read()
                if response.status == _NOT_FOUND and b'"error_code"' in body:
                    return None
                if response.status != _OK:
                    raise DependencyError(f"schema registry: it answers {response.status}")
                return _document(body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise DependencyError(f"schema registry: {type(error).__name__}") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            auth = aiohttp.BasicAuth(self._user, self._password) if self._user else None
            connector = aiohttp.TCPConnector(ssl=self._ssl or True)
            self._session = aiohttp.ClientSession(
                auth=auth,
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
                headers={"accept": "application/vnd.schemaregistry.v1+json, application/json"},
            )
        return self._session


def _tls(settings: RegistrySettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.schema_registry_cafile)
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"schema_registry_cafile: {type(error).__name__}; allowed: a PEM file of certificates"
        ) from None


def _document(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise DependencyError("schema registry: it answers something else than JSON") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
        raise DependencyError("schema registry: its answer holds no schema")
    return answer


def _kind(answer: dict[str, Any]) -> str:
    return str(answer.get("schemaType") or "AVRO")


def _form(answer: dict[str, Any]) -> str:
    """Return what to ask for so that the schema can be read without its compiler."""
    return "?format=serialized" if _kind(answer) == "PROTOBUF" else ""
