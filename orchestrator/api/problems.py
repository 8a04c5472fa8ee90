"""Every answer that is not what was asked for: RFC 9457 problem details, for people and programs.

`type` is stable and for programs; `detail` says what was wrong, where, and what is allowed. Nothing
of the request's data is quoted: an error ends in somebody's log or ticket. Fields are named, but a
key that does not look like a field's name is data too.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

_log = structlog.get_logger()

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:journey-orchestrator:problem:"
_SLUGS: Final = {
    400: "bad-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid",
    429: "too-many-requests",
    500: "internal",
    503: "unavailable",
    504: "no-answer",
}
# What names of fields, files and journeys look like; no mail address and no phone number does.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,159}")
_UNNAMED: Final = "(no name)"


class FieldFault(BaseModel):
    """One thing that is wrong with a request."""

    field: str = Field(examples=["events[3].data.order_id"])
    detail: str = Field(examples=["is missing"])


class ProblemDetails(BaseModel):
    """What was wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=[f"{TYPE_PREFIX}not-found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["nothing is known of this customer"])
    errors: list[FieldFault] = Field(default_factory=list)


class Problem(HTTPException):
    """Raised wherever a request cannot be answered; `slug` ends the problem's type."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        slug: str | None = None,
        errors: list[FieldFault] | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(status, detail, dict(headers) if headers else None)
        self.slug = slug or _SLUGS.get(status, "other")
        self.errors = errors or []
        self.more = more

    def document(self) -> dict[str, Any]:
        """Return the problem as JSON says it."""
        found: dict[str, Any] = {
            "type": TYPE_PREFIX + self.slug,
            "title": HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
            "errors": [one.model_dump() for one in self.errors],
        }
        return found | self.more

    def response(self) -> Response:
        """Return the answer."""
        body = orjson.dumps(self.document())
        return Response(body, self.status_code, self.headers, MEDIA_TYPE)


def install(application: FastAPI) -> None:
    """Let what routes refuse be answered as a problem; `shield` answers for what fails."""
    application.add_exception_handler(HTTPException, _on_http)
    application.add_exception_handler(RequestValidationError, _on_validation)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the part of a route's documentation about these problems."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/ProblemDetails"},
                    "example": {
                        "type": TYPE_PREFIX + _SLUGS.get(status, "other"),
                        "title": HTTPStatus(status).phrase,
                        "status": status,
                        "detail": "what was wrong, where, and what is allowed",
                        "errors": [],
                    },
                }
            },
        }
        for status in statuses
    }


def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Problem):
        return error.response()
    details = {
        404: "there is no such route",
        405: "this route does not know the method; the header Allow says which it knows",
    }
    detail = details.get(error.status_code, str(error.detail))
    return Problem(error.status_code, detail, headers=error.headers).response()


def _on_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        FieldFault(field=_path(one["loc"]), detail=_plain(_message(one))) for one in error.errors()
    ]
    named = ", ".join(dict.fromkeys(fault.field for fault in faults))
    return Problem(422, f"the request is not valid: {named}", errors=faults).response()


def failed(route: str, error: Exception) -> Problem:
    """Return the answer to a request that failed by our fault; the log says where."""
    # Neither the message nor the values: either may hold what a customer is.
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    _log.error(
        "a request failed",
        route=route,
        error=type(error).__name__,
        at=None if place is None else f"{place.tb_frame.f_code.co_qualname}:{place.tb_lineno}",
    )
    return Problem(500, "something of ours failed; it is in the log")


def is_name(text: str) -> bool:
    """Whether what a request gave can be a name, and no data of a person."""
    return _NAME.fullmatch(text) is not None


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] != "union_tag_invalid":
        return str(error["msg"])
    # The library's own words quote what was given.
    field = str(error["ctx"]["discriminator"]).strip("'")
    return f"{field} is none of {error['ctx']['expected_tags']}"


def _path(location: tuple[int | str, ...]) -> str:
    """Write where something is wrong as people do: `body.events[3].type`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part if is_name(part) else _UNNAMED}"
    return path.lstrip(".") or "body"


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:]
