"""Tasks of our people: queues, the list, and who does what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from fastapi import Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.access import scoped_router
from orchestrator.api.model.tasks import Wanted
from orchestrator.api.people import actions
from orchestrator.api.people.asking import WAIT_SECONDS_MAX
from orchestrator.api.people.briefing import TaskView, task_view
from orchestrator.api.problems import FieldFault, Problem, documented
from orchestrator.api.tokens import Scope
from orchestrator.api.waiting import After
from orchestrator.protocol.outputs import rfc3339

if TYPE_CHECKING:
    from orchestrator.api.application import Api

_seen = scoped_router(Scope.READ, tags=["tasks"])
_acted = scoped_router(Scope.ACT, tags=["tasks"])
routers = (_seen, _acted)

_PAGE_MAX: Final = 200
_TIME: Final = "2026-11-22T10:00:00.000Z"
TaskId = Annotated[str, Path(min_length=1, max_length=128, examples=["4be1c0…"])]
Wait = Annotated[
    float, Query(gt=0, le=WAIT_SECONDS_MAX, description="seconds to wait for the decision")
]


class QueueView(BaseModel):
    """A queue in which something waits."""

    queue: str = Field(examples=["callcenter"])
    open: int = Field(examples=[12])
    claimed: int = Field(examples=[3])
    oldest_at: str = Field(examples=[_TIME])


class QueueList(BaseModel):
    """Every queue with open tasks, by name."""

    queues: list[QueueView]


class TaskPage(BaseModel):
    """A page of open tasks."""

    tasks: list[TaskView]
    next: str | None = Field(description="`page` of the next page; null on the last one")


class ClaimWord(BaseModel):
    """Who wants the task."""

    model_config = ConfigDict(extra="forbid")

    by: actions.By


class CloseWord(ClaimWord):
    """Who has done the task, and what came of it."""

    outcome: str | None = Field(
        default=None,
        description="a journey may wait for it",
        min_length=1,
        max_length=128,
        examples=["solved"],
    )


class TaskDone(BaseModel):
    """What the owner of the customer has decided, committed."""

    task_id: str = Field(examples=["4be1c0…"])
    by: str = Field(examples=["eva via callcenter"])
    receipt: str = Field(examples=["r1.kZSrdG91Y2hwb2ludHMDzQTSAQ"])


@_seen.get("/tasks/queues", summary="Which queues there are", dependencies=[After])
async def get_queues(request: Request) -> QueueList:
    """Return how much waits in each queue, and since when."""
    api: Api = request.app.state.api
    return QueueList(
        queues=[
            QueueView(
                queue=one.name,
                open=one.open,
                claimed=one.claimed,
                oldest_at=rfc3339(one.oldest_ms),
            )
            for one in api.model.queues()
        ]
    )


@_seen.get("/tasks", summary="What our people have to do", dependencies=[After])
async def get_tasks(
    request: Request,
    queue: Annotated[str | None, Query(max_length=128)] = None,
    customer: Annotated[str | None, Query(max_length=256)] = None,
    claimed: Annotated[bool | None, Query(description="whether somebody has it")] = None,
    claimed_by: Annotated[str | None, Query(max_length=256)] = None,
    order: Annotated[Literal["priority", "age"], Query()] = "priority",
    limit: Annotated[int, Query(ge=1, le=_PAGE_MAX)] = 50,
    page: Annotated[str | None, Query(max_length=200, description="`next` of a page")] = None,
) -> TaskPage:
    """Return open tasks, the most urgent first, or the oldest; a page at a time."""
    api: Api = request.app.state.api
    wanted = Wanted(
        api.model.now_ms(),
        queue=queue,
        customer=customer,
        claimed=claimed,
        claimed_by=claimed_by,
        by_priority=order == "priority",
        after=_mark(page),
    )
    found = api.model.tasks(wanted, limit + 1)
    more = len(found) > limit
    found = found[:limit]
    return TaskPage(
        tasks=[task_view(one, api.model.journeys) for one in found],
        next=_text(found[-1].mark(by_priority=wanted.by_priority)) if more else None,
    )


@_seen.get(
    "/tasks/{task_id}", summary="One task", dependencies=[After], responses=documented(404, 409)
)
async def get_task(request: Request, task_id: TaskId) -> TaskView:
    """Return an open task; the customer's context says what to know."""
    api: Api = request.app.state.api
    return task_view(actions.open_task(api, task_id), api.model.journeys)


@_acted.post(
    "/tasks/{task_id}/claim",
    summary="Take a task",
    dependencies=[After],
    responses=documented(404, 409, 504),
)
async def post_claim(
    request: Request, task_id: TaskId, word: ClaimWord, wait: Wait = 5
) -> TaskDone:
    """Answer when it is decided: exactly one of several who claim at once gets it, others 409."""
    caller = request.state.caller.name
    by = actions.who(caller, word.by)
    receipt = await actions.claim(request.app.state.api, caller, task_id, by, seconds=wait)
    return TaskDone(task_id=task_id, by=by, receipt=receipt)


@_acted.post(
    "/tasks/{task_id}/close",
    summary="Say that a task is done",
    dependencies=[After],
    responses=documented(404, 409, 504),
)
async def post_close(
    request: Request, task_id: TaskId, word: CloseWord, wait: Wait = 5
) -> TaskDone:
    """Close a task with its outcome, which may move the journey that waits for it."""
    caller = request.state.caller.name
    by = actions.who(caller, word.by)
    receipt = await actions.close(
        request.app.state.api, caller, task_id, by, word.outcome, seconds=wait
    )
    return TaskDone(task_id=task_id, by=by, receipt=receipt)


def _text(mark: tuple[int, int, str]) -> str:
    rank, created_ms, task_id = mark
    return f"{rank}.{created_ms}.{task_id}"


def _mark(page: str | None) -> tuple[int, int, str] | None:
    if page is None:
        return None
    try:
        rank, created_ms, task_id = page.split(".", 2)
        mark = int(rank), int(created_ms), task_id
    except ValueError:
        mark = None
    if mark is None or max(map(abs, mark[:2])) > 2**53:
        fault = FieldFault(field="query.page", detail="give the `next` of the page before")
        raise Problem(422, "this is no page", errors=[fault])
    return mark
