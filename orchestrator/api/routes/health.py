"""Whether the process lives, and whether it may be asked: the only routes without a token."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from orchestrator.api.problems import Problem, documented

router = APIRouter(prefix="/health", tags=["health"])


class Health(BaseModel):
    """One word."""

    status: str = Field(examples=["ready"])


@router.get("/live", summary="Whether the process answers")
async def live() -> Health:
    """Answer 200 as long as requests are answered at all."""
    return Health(status="alive")


@router.get("/ready", summary="Whether it has caught up", responses=documented(503))
async def ready(request: Request) -> Health:
    """Answer 200 once everything that was on the topics at the start is known here."""
    if not request.app.state.api.model.ready:
        raise Problem(
            503,
            "the read model has not caught up yet",
            slug="not-ready",
            headers={"Retry-After": "2"},
        )
    return Health(status="ready")
