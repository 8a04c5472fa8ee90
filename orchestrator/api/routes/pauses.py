"""What may not go out now: seen, paused and resumed, as `orchestrator pause|resume` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.access import scoped_router
from orchestrator.api.problems import FieldFault, Problem, documented, is_name
from orchestrator.api.tokens import Scope
from orchestrator.clients import pausing
from orchestrator.clients.definitions import now
from orchestrator.errors import UsageError
from orchestrator.protocol.control import Control, checked, scope_of

if TYPE_CHECKING:
    from orchestrator.api.application import Api

_seen = scoped_router(Scope.READ, tags=["pauses"])
_acted = scoped_router(Scope.ACT, tags=["pauses"])
routers = (_seen, _acted)

_SCOPE = "global, channel/<name>, journey/<name> or offer/<name>"


class PauseView(BaseModel):
    """Something that may not go out now."""

    scope: str = Field(description=_SCOPE, examples=["journey/winter_sale"])
    kill: bool = Field(description="dropped, instead of held")
    transactional: bool = Field(description="transactional messages too")
    by: str = Field(examples=["eva via back-office"])
    reason: str = Field(examples=["wrong price"])
    at: str = Field(examples=["2026-11-22T10:00:00.000Z"])


class Pauses(BaseModel):
    """Everything that is paused."""

    pauses: list[PauseView]


class Word(BaseModel):
    """Who says so, about what, and why."""

    model_config = ConfigDict(extra="forbid")

    scope: str = Field(
        description=_SCOPE, max_length=160, examples=["global", "journey/winter_sale"]
    )
    reason: str = Field(min_length=1, max_length=256, examples=["wrong price"])
    by: str | None = Field(
        default=None,
        description="who; the token's name is added",
        min_length=1,
        max_length=60,
        examples=["eva"],
    )


class PauseWord(Word):
    """What to pause."""

    kill: bool = Field(default=False, description="drop it, instead of holding it")
    transactional: bool = Field(default=False, description="for global and a channel")
    force: bool = Field(default=False, description="also a name that nobody has published")


class Paused(BaseModel):
    """What stands now, what stood before, and what to know about it."""

    now: PauseView | None
    before: PauseView | None
    note: str | None


@_seen.get("/pauses", summary="What is paused")
async def get_pauses(request: Request) -> Pauses:
    """Return every pause in force, by scope."""
    api: Api = request.app.state.api
    await _current(api)
    return Pauses(pauses=[_view(one) for one in api.model.paused])


@_acted.post("/pauses", summary="Pause something", responses=documented(409))
async def post_pause(request: Request, word: PauseWord) -> Paused:
    """Let nothing of a scope go out until it is resumed. Cancels and removals always go out."""
    api: Api = request.app.state.api
    control = _control(request, word, word)
    await _current(api)
    model = api.model
    try:
        before = await pausing.pause(
            model.control, model.control.controls, control, model.journeys, force=word.force
        )
        await _current(api)
    except UsageError as error:
        raise Problem(422, _in_our_words(error)) from None
    except KafkaError as error:
        raise _away(error) from None
    note = pausing.goes_out_anyway(model.journeys, control.scope)
    stood = None if before is None else _view(before)
    return Paused(now=_view(control), before=stood, note=note)


@_acted.post("/pauses/resume", summary="Resume something", responses=documented(409))
async def post_resume(request: Request, word: Word) -> Paused:
    """End a pause: everybody whom it holds is looked at again."""
    api: Api = request.app.state.api
    control = _control(request, word, None)
    await _current(api)
    try:
        before = await pausing.resume(api.model.control, api.model.control.controls, control)
        await _current(api)
    except pausing.NotPaused as error:
        raise Problem(409, str(error), slug="not-paused") from None
    except KafkaError as error:
        raise _away(error) from None
    return Paused(now=None, before=_view(before), note=None)


async def _current(api: Api) -> None:
    """Return when everything that is on the topic now is known here."""
    if not api.model.ready:
        raise Problem(
            503,
            "the read model has not caught up yet",
            slug="not-ready",
            headers={"Retry-After": "2"},
        )
    try:
        await api.model.control.followed.caught_up()
    except KafkaError as error:
        raise _away(error) from None


def _control(request: Request, word: Word, paused: PauseWord | None) -> Control:
    caller = request.state.caller.name
    by = caller if word.by is None else f"{word.by} via {caller}"
    if not is_name(word.scope):
        fault = FieldFault(field="body.scope", detail=_SCOPE)
        raise Problem(422, "scope: this names nothing", errors=[fault])
    kind, slash, name = word.scope.partition("/")
    try:
        scope = scope_of(kind, name if slash else None)
        return checked(
            Control(
                scope,
                paused is not None,
                paused is not None and paused.kill,
                by,
                word.reason,
                now(),
                paused is not None and paused.transactional,
            )
        )
    except UsageError as error:
        raise Problem(422, _in_our_words(error)) from None


def _in_our_words(error: UsageError) -> str:
    return str(error).replace("--force pauses it anyway", '"force": true pauses it anyway')


def _away(error: KafkaError) -> Problem:
    return Problem(
        503,
        f"the broker does not answer ({type(error).__name__}); ask again",
        headers={"Retry-After": "2"},
    )


def _view(control: Control) -> PauseView:
    return PauseView(
        scope=control.scope,
        kill=control.kill,
        transactional=control.transactional,
        by=control.by,
        reason=control.reason,
        at=control.at,
    )
