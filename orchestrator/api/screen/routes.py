"""The pages: sign in, what there is to do, one customer, and what an agent may do there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Query, Request
from pydantic import TypeAdapter, ValidationError
from starlette.responses import RedirectResponse, Response

from orchestrator.api.model.tasks import Wanted
from orchestrator.api.people import actions
from orchestrator.api.people.asking import Said, ask, is_visible, tell
from orchestrator.api.people.briefing import task_view
from orchestrator.api.problems import Problem
from orchestrator.api.routes.customers import known_customer
from orchestrator.api.routes.people import CALL_CENTRE, context_of, published
from orchestrator.api.screen import pages
from orchestrator.api.screen.door import HOME, remembered, session_router, sign_in_router
from orchestrator.api.tokens import Scope
from orchestrator.timeline.sentences import refused_because

if TYPE_CHECKING:
    from orchestrator.api.application import Api
    from orchestrator.api.screen.sessions import Session

_seen = session_router(Scope.READ)
_acted = session_router(Scope.ACT)
_sign_in = sign_in_router(Scope.READ)
routers: Final = (_sign_in, _seen, _acted)

TASKS_SHOWN: Final = 50
MOMENTS_SHOWN: Final = 30
_WAIT_SECONDS: Final = 5.0
_outcomes: Final[TypeAdapter[Any]] = TypeAdapter(actions.Outcome)
_handoffs: Final = TypeAdapter(actions.Handoff)


@_sign_in.post("/session")
async def begin(request: Request) -> Response:
    """Sign in with a token; the session's cookie is for these pages only."""
    api: Api = request.app.state.api
    form = request.state.form
    if api.rates.wait_seconds("(sign in)", time.monotonic()):
        raise Problem(429, "Too many people sign in at once. Wait a moment.")
    session = api.sessions.begin(form.get("token", "").strip(), time.time())
    if session is None:
        headers = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, "Nobody here has this token. Is all of it there?", headers=headers)
    if not session.may(Scope.READ):
        raise Problem(403, "This token may not see customers: it has no scope “read”.")
    name = " ".join(form.get("name", "").split())[: actions.BY_CHARACTERS_MAX]
    session.by = actions.who(session.caller.name, name or None)
    request.state.session = session
    return remembered(request, _to(HOME))


@_seen.post("/session/end")
async def end(request: Request) -> Response:
    """Sign out."""
    request.app.state.api.sessions.end(request.state.session)
    return _to(HOME)


@_seen.get("")
async def home(
    request: Request, queue: Annotated[str | None, Query(max_length=128)] = None
) -> Response:
    """Show what there is to do, mine first, and a way to a customer."""
    api: Api = request.app.state.api
    session: Session = request.state.session
    _check_ready(api)
    now_ms = api.model.now_ms()
    mine = api.model.tasks(Wanted(now_ms, claimed_by=session.by, by_priority=True), TASKS_SHOWN)
    free = api.model.tasks(
        Wanted(now_ms, queue=queue, claimed=False, by_priority=True), TASKS_SHOWN + 1
    )
    journeys = api.model.journeys
    return pages.home(
        request,
        queue=queue,
        queues=api.model.queues(),
        mine=[task_view(one, journeys) for one in mine],
        free=[task_view(one, journeys) for one in free[:TASKS_SHOWN]],
        more=len(free) > TASKS_SHOWN,
    )


@_seen.post("/find")
async def find(request: Request) -> Response:
    """Go to a customer: the id travels in the form, never in an address."""
    customer_id = request.state.form.get("customer", "").strip()
    session: Session = request.state.session
    try:
        known_customer(request.app.state.api, customer_id)
    except Problem as problem:
        if problem.status_code not in (404, 422):
            raise
        session.message = "bad", "Nothing is known of a customer with this id. Check it once more."
        return _to(HOME)
    return _to_customer(session, customer_id)


@_seen.get("/customers/{reference}")
async def customer(
    request: Request,
    reference: str,
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
) -> Response:
    """Show a customer: the context, what may be done, and the timeline a page at a time."""
    api: Api = request.app.state.api
    _check_ready(api)
    customer_id = _customer(request, reference)
    context = context_of(api, customer_id, _channel(api))
    entries = api.model.timeline(customer_id, before=before, limit=MOMENTS_SHOWN + 1)
    return pages.customer(
        request,
        reference=reference,
        context=context,
        entries=entries[:MOMENTS_SHOWN],
        older=entries[MOMENTS_SHOWN - 1].row if len(entries) > MOMENTS_SHOWN else None,
        newest=before is None,
    )


@_acted.post("/customers/{reference}/handoff")
async def hand_off(request: Request, reference: str) -> Response:
    """Start or end a hand-off."""
    word = _read(_handoffs, {"state": request.state.form.get("state")})
    session: Session = request.state.session
    said = Said(actions.handoff("", word).type, {"by": session.by})
    begun = word.state == "started"
    done = "Promotions wait while you talk." if begun else "Promotions may go out again."
    return await _told(request, reference, said, done)


@_acted.post("/customers/{reference}/outcome")
async def outcome(request: Request, reference: str) -> Response:
    """Record what the conversation came to."""
    session: Session = request.state.session
    fields = ("kind", "offer", "case_id", "subject", "text")
    form = request.state.form
    word = _read(_outcomes, {name: form[name] for name in fields if form.get(name)})
    said = actions.outcome("", word)
    return await _told(
        request,
        reference,
        said._replace(data={**said.data, "by": session.by}),
        ("It is recorded, and every channel follows it."),
    )


@_acted.post("/customers/{reference}/offer")
async def promise(request: Request, reference: str) -> Response:
    """Ask the owner whether an offer may be promised, and say what it is when it is."""
    api: Api = request.app.state.api
    session: Session = request.state.session
    customer_id = _customer(request, reference)
    offer = request.state.form.get("offer", "")
    data = {"offer": offer, "channel": _channel(api), "by": session.by}
    asked = await ask(
        api,
        session.caller.name,
        customer_id,
        Said("offer.requested", data),
        seconds=_WAIT_SECONDS,
    )
    granted = asked.answer and asked.answer.entry("offer_granted")
    refused = asked.answer and asked.answer.entry("offer_refused")
    if granted:
        await is_visible(api, asked, _WAIT_SECONDS)
        session.message = "good", "It is promised: you may tell the customer."
    elif refused:
        because = refused_because(str(refused.get("reason")))
        session.message = "bad", f"It may not be offered, because {because}."
    else:
        session.message = "bad", "There is no answer yet: do not offer it now."
    return _to_customer(session, customer_id)


@_acted.post("/customers/{reference}/exit")
async def leave(request: Request, reference: str) -> Response:
    """Take the customer out of a journey."""
    enrollment = request.state.form.get("enrollment", "")
    known = known_customer(request.app.state.api, _customer(request, reference))
    if all(one.id != enrollment for one in known.enrollments):
        raise Problem(404, "The customer is not in this journey any more.")
    data = {"enrollment": enrollment, "by": request.state.session.by}
    done = "The customer is out of this journey; what was on its way is recalled."
    return await _told(request, reference, Said("enrollment.exit_requested", data), done)


@_acted.post("/tasks/{task_id}/claim")
async def claim(request: Request, task_id: str) -> Response:
    """Take a task, and go to its customer."""
    return await _task(request, task_id, closing=False)


@_acted.post("/tasks/{task_id}/close")
async def close(request: Request, task_id: str) -> Response:
    """Close a task with its outcome."""
    return await _task(request, task_id, closing=True)


async def _task(request: Request, task_id: str, *, closing: bool) -> Response:
    api: Api = request.app.state.api
    session: Session = request.state.session
    caller = session.caller.name
    try:
        customer_id = actions.open_task(api, task_id).customer
        if closing:
            said = request.state.form.get("outcome", "").strip()[:128] or None
            await actions.close(api, caller, task_id, session.by, said, seconds=_WAIT_SECONDS)
            session.message = "good", "The task is closed."
        else:
            await actions.claim(api, caller, task_id, session.by, seconds=_WAIT_SECONDS)
            session.message = "good", "The task is yours."
    except Problem as problem:
        if problem.status_code not in (404, 409, 504):
            raise
        session.message = "bad", f"{problem.detail[:1].upper()}{problem.detail[1:]}."
        return _to(HOME)
    return _to_customer(session, customer_id)


async def _told(request: Request, reference: str, said: Said, done: str) -> Response:
    """Tell an event, wait for its effect, and show the customer with it."""
    api: Api = request.app.state.api
    session: Session = request.state.session
    customer_id = _customer(request, reference)
    known_customer(api, customer_id)
    told = await tell(api, session.caller.name, customer_id, said, wait_seconds=_WAIT_SECONDS)
    if told.applied:
        session.message = "good", done
    else:
        session.message = "note", "It is sent. Its effect is not here yet: look again in a moment."
    return _to_customer(session, customer_id)


def _customer(request: Request, reference: str) -> str:
    customer_id = request.state.session.customer(reference)
    if customer_id is None:
        raise Problem(404, "This page was of an earlier session. Find the customer once more.")
    return str(customer_id)


def _channel(api: Api) -> str:
    """Return the channel of our people: the usual name, else the first one with tasks."""
    channels = published(api).channels
    if CALL_CENTRE in channels:
        return CALL_CENTRE
    return next(
        (name for name, one in sorted(channels.items()) if one.kind == "task"), min(channels)
    )


def _check_ready(api: Api) -> None:
    if not api.model.ready:
        raise Problem(503, "This has just started and is still reading. Look again in a moment.")


def _read(words: TypeAdapter[Any], fields: dict[str, Any]) -> Any:
    try:
        return words.validate_python(fields)
    except ValidationError:
        raise Problem(422, "Something is missing in this form. Go back and fill it in.") from None


def _to_customer(session: Session, customer_id: str) -> Response:
    return _to(f"{HOME}/customers/{session.reference(customer_id)}")


def _to(place: str) -> RedirectResponse:
    return RedirectResponse(place, 303)
