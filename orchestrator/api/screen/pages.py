"""What the API knows, as HTML: rendered here, without a script, and nothing is fetched.

`routes` and `door` call it. Every value is escaped by the template engine; what is marked as safe
is only what stands in `assets`.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from liquid import Environment, Mode, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from orchestrator.api.tokens import Scope
from orchestrator.core.calendar import first_zone
from orchestrator.timeline.explanation import explain
from orchestrator.timeline.record import read_record
from orchestrator.timeline.sentences import channel_noun, held_because, refused_because

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from zoneinfo import ZoneInfo

    from fastapi import Request
    from liquid.template import BoundTemplate

    from orchestrator.api.model.store import Entry
    from orchestrator.api.model.tasks import Queue
    from orchestrator.api.people.briefing import CustomerContext, TaskView
    from orchestrator.api.problems import Problem
    from orchestrator.api.screen.sessions import Session
    from orchestrator.timeline.record import LogCause

_ASSETS: Final = files("orchestrator.api.screen") / "assets"
_STYLE: Final = (_ASSETS / "screen.css").read_text("utf-8")
_STYLE_HASH: Final = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_HEADERS: Final = {"Content-Security-Policy": _POLICY}
_environment: Final = Environment(tolerance=Mode.STRICT, undefined=StrictUndefined, autoescape=True)
_MACHINE_ID: Final = re.compile(r"[0-9a-f-]{16,}")
_HANDOFF: Final = "handoff"
_BECAUSE: Final = {
    "promised": "promised already: it may be told again",
    "in_journey": "a journey under way tells it",
    "qualifies": "it is for this customer",
}
_FATES: Final = {
    "sent": "sent, nothing heard yet",
    "cancelled": "recalled",
    "dropped": "not sent after all",
    "failed": "could not be delivered",
    "bounced": "bounced",
    "delivered": "delivered",
    "opened": "seen: opened",
    "clicked": "seen: clicked",
    "replied": "answered",
}


def sign_in(
    request: Request, status: int, message: str, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the form to sign in, with what was wrong before."""
    api = request.app.state.api
    return _page(
        request,
        "sign_in",
        "Sign in",
        {"problem": message, "tokens": bool(api.tokens)},
        status=status,
        headers=headers,
    )


def failed(request: Request, problem: Problem) -> Response:
    """Return a page that says what could not be done."""
    detail = problem.detail[:1].upper() + problem.detail[1:]
    values = {"problem": detail if detail.endswith(".") else f"{detail}."}
    return _page(
        request, "failed", "Sorry", values, status=problem.status_code, headers=problem.headers
    )


def home(
    request: Request,
    *,
    queue: str | None,
    queues: Sequence[Queue],
    mine: Sequence[TaskView],
    free: Sequence[TaskView],
    more: bool,
) -> Response:
    """Return what there is to do."""
    now_ms = request.app.state.api.model.now_ms()
    return _page(
        request,
        "home",
        "Tasks",
        {
            "queue": queue or "",
            "queues": [
                {
                    "name": one.name,
                    "free": one.open - one.claimed,
                    "waits": _ago(now_ms - one.oldest_ms),
                }
                for one in queues
            ],
            "mine": [_task(request, one) for one in mine],
            "free": [_task(request, one) for one in free],
            "more": more,
        },
    )


def customer(
    request: Request,
    *,
    reference: str,
    context: CustomerContext,
    entries: Sequence[Entry],
    older: int | None,
    newest: bool,
) -> Response:
    """Return a customer on one screen."""
    zone = _zone(request)
    session: Session = request.state.session
    known = context.model_dump(by_alias=True)
    name = str(known["attributes"].get("first_name") or context.customer)
    if last := known["attributes"].get("last_name"):
        name = f"{name} {last}"
    values = known | {
        "name": name,
        "reference": reference,
        "talking": "" if context.talking_until is None else _when(context.talking_until, zone),
        "attributes": [{"name": one, "value": said} for one, said in known["attributes"].items()],
        "note": None if context.note is None else _note(context, zone),
        "orders": [one | {"time": _when(one["time"], zone)} for one in known["orders"]],
        "consents": [
            {
                "what": "all channels" if one.channel == "*" else channel_noun(one.channel),
                "class": one.message_class,
                "granted": one.granted,
                "time": _when(one.time, zone),
            }
            for one in context.consents
        ],
        "unreachable": [
            {"what": channel_noun(one), "time": _when(at, zone)}
            for one, at in context.unreachable.items()
        ],
        "promises": [
            one | {"until": _when(one["valid_until"], zone)} for one in known["promises"]
        ],
        "messages": [_message(one, zone) for one in known["messages"]],
        "journeys": [_journey(one, zone) for one in known["journeys"]],
        "tasks": [
            _task(request, one) | {"mine": one.claimed_by == session.by} for one in context.tasks
        ],
        "cases": [one | {"since": _when(one["since"], zone)} for one in known["cases"]],
        "has_cases": bool(context.cases),
        "may": [
            one | {"why": _BECAUSE.get(one["because"], one["because"]),
                   "until": _when(one["expires_at"], zone)}
            for one in known["may_offer"]
        ],
        "may_not": [
            {"offer": one.offer, "why": _why_not(one.reason), "detail": one.detail or ""}
            for one in context.may_not_offer
        ],
        "moments": _moments(context.customer, entries, zone),
        "older": older,
        "newest": newest,
    }  # fmt: skip
    return _page(request, "customer", name, values)


def _page(
    request: Request,
    template: str,
    title: str,
    values: dict[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    session: Session | None = getattr(request.state, "session", None)
    shared: dict[str, Any] = {
        "title": title,
        "style": Markup(_STYLE),  # noqa: S704 - Our own file.
        "signed_in": session is not None,
        "by": "" if session is None else session.by,
        "secret": "" if session is None else session.secret,
        "acts": session is not None and session.may(Scope.ACT),
        "message": None,
    }
    if session is not None and status < 400 and (told := session.told()) is not None:
        shared["message"] = {"kind": told[0], "text": told[1]}
    body = _template(template).render(**shared | values)
    shared["body"] = Markup(body)  # noqa: S704 - Rendered with escapes.
    page = _template("layout").render(**shared)
    return HTMLResponse(page, status, headers={**(headers or {}), **_HEADERS})


@cache
def _template(name: str) -> BoundTemplate:
    return _environment.from_string((_ASSETS / f"{name}.liquid").read_text("utf-8"))


def _task(request: Request, one: TaskView) -> dict[str, Any]:
    now_ms = request.app.state.api.model.now_ms()
    zone = _zone(request)
    made = datetime.fromisoformat(one.created_at)
    return {
        "id": one.task_id,
        "what": (one.template or one.step).replace("_", " "),
        "journey": one.journey.replace("_", " "),
        "queue": one.queue,
        "customer": one.customer,
        "reference": request.state.session.reference(one.customer),
        "waits": _ago(now_ms - round(made.timestamp() * 1000)),
        "until": _when(one.expires_at, zone),
        "claimed_by": one.claimed_by or "",
    }


def _note(context: CustomerContext, zone: ZoneInfo) -> dict[str, str]:
    note = context.note
    assert note is not None
    source = note.source.removeprefix("/api/")
    return {"text": note.text, "time": _when(note.time, zone), "source": source}


def _message(one: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    return {
        "what": one["template"].replace("_", " "),
        "channel": channel_noun(one["channel"]),
        "journey": one["journey"].replace("_", " "),
        "time": _when(one["time"], zone),
        "fate": _FATES.get(one["fate"], one["fate"]),
        "fate_time": "" if one["fate_time"] is None else _when(one["fate_time"], zone),
        "seen": one["seen"],
    }


def _journey(one: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    held = "" if one["held"] is None else held_because(one["held"])
    return {
        "enrollment": one["enrollment"],
        "name": one["journey"].replace("_", " "),
        "kind": one["kind"] or "",
        "step": one["step"].replace("_", " "),
        "since": _when(one["since"], zone),
        "due": "" if one["due"] is None else _when(one["due"], zone),
        "held": held,
    }


def _why_not(reason: str) -> str:
    return held_because(reason) if reason == _HANDOFF else refused_because(reason)


def _moments(customer_id: str, entries: Sequence[Entry], zone: ZoneInfo) -> list[dict[str, Any]]:
    """Return what happened, the newest first, in sentences."""
    records = [read_record(one.record) for one in reversed(entries)]
    story = explain(customer_id, (one for one in records if one is not None))
    return [
        {
            "time": _when(one.at.isoformat(), zone),
            "iso": one.at.isoformat(),
            "cause": _cause(one.cause),
            "facts": [{"mark": fact.mark.value, "text": fact.text} for fact in one.facts],
        }
        for one in reversed(story.moments)
    ]


def _cause(cause: LogCause) -> str:
    """Return what happened, in people's words: ids that only programs can read stay out."""
    if cause.type is None:
        return cause.sentence()
    words = cause.type.replace(".", " ").replace("_", " ")
    if cause.id is not None and _MACHINE_ID.fullmatch(cause.id) is None:
        words += f" {cause.id}"
    source = (cause.source or "").removeprefix("/api/").removeprefix("/")
    return f"{words}, from {source}" if source else words


def _zone(request: Request) -> ZoneInfo:
    journeys = request.app.state.api.model.journeys
    return first_zone(() if journeys is None else (journeys.shop.zone,))


def _when(text: str, zone: ZoneInfo) -> str:
    """Return a time as people at the shop read it."""
    at = datetime.fromisoformat(text).astimezone(zone)
    day = f"{at.day} {at:%b}"
    if at.year != datetime.now(UTC).year:
        day += f" {at.year}"
    return f"{day}, {at:%H:%M}"


def _ago(milliseconds: int) -> str:
    """Return a duration in its largest unit: `3 min`, `5 h`, `12 days`."""
    minutes = max(0, milliseconds) // 60_000
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"
