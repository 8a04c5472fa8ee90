"""The journeys that run, and how many people stand where in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Path, Request
from pydantic import BaseModel, Field

from orchestrator.api.access import scoped_router
from orchestrator.api.problems import Problem, documented
from orchestrator.api.tokens import Scope
from orchestrator.api.waiting import After
from orchestrator.catalog.findings import instead

if TYPE_CHECKING:
    from orchestrator.api.application import Api
    from orchestrator.core.encoded.places import Place
    from orchestrator.core.journeys import Journeys
    from orchestrator.core.language.journey import Journey

router = scoped_router(Scope.READ, tags=["journeys"])


class StepPeople(BaseModel):
    """A step in which people stand."""

    step: str = Field(examples=["an_hour"])
    people: int = Field(examples=[1204])


class JourneyVersion(BaseModel):
    """One version; people finish on the one they entered."""

    version: int = Field(examples=[1])
    current: bool = Field(description="whether it is entered now")
    loaded: bool = Field(description="false when people stand in a version that is gone")
    people: int = Field(examples=[1204])
    steps: list[StepPeople]


class JourneyView(BaseModel):
    """A journey."""

    name: str = Field(examples=["cart_abandonment"])
    owner: str | None = Field(examples=["crm@shop.example"])
    kind: str | None = Field(examples=["promotional"])
    stage: str | None = Field(examples=["consideration"])
    priority: int | None = Field(examples=[50])
    versions: list[JourneyVersion]


class JourneyList(BaseModel):
    """All journeys, by name."""

    content_hash: str | None = Field(examples=["c894f993fe7c…"])
    journeys: list[JourneyView]


class JourneyDetail(JourneyView):
    """A journey with what its file says."""

    definition: dict[str, Any] | None


@router.get("/journeys", summary="Which journeys run, with people per step", dependencies=[After])
async def get_journeys(request: Request) -> JourneyList:
    """Return every journey that is published, or in which somebody still stands."""
    api: Api = request.app.state.api
    journeys, people = api.model.journeys, api.model.people()
    names = {name for name, _, _ in people}
    if journeys is not None:
        names |= {name for name, _ in journeys.versions}
    return JourneyList(
        content_hash=None if journeys is None else journeys.content_hash,
        journeys=[JourneyView(**_view(name, journeys, people)) for name in sorted(names)],
    )


@router.get(
    "/journeys/{name}",
    summary="One journey",
    dependencies=[After],
    responses=documented(404, 409),
)
async def get_journey(
    request: Request,
    name: Annotated[str, Path(max_length=128, examples=["cart_abandonment"])],
) -> JourneyDetail:
    """Return a journey's definition, and where its people stand."""
    api: Api = request.app.state.api
    journeys, people = api.model.journeys, api.model.people()
    current = _current(name, journeys)
    if current is None and not any(one == name for one, _, _ in people):
        known = [] if journeys is None else [one.name for one in journeys.current]
        raise Problem(404, f"there is no such journey{instead(name, known)}")
    definition = None if current is None else current.model_dump(mode="json")
    return JourneyDetail(**_view(name, journeys, people), definition=definition)


def _current(name: str, journeys: Journeys | None) -> Journey | None:
    if journeys is None:
        return None
    return next((one for one in journeys.current if one.name == name), None)


def _view(name: str, journeys: Journeys | None, people: dict[Place, int]) -> dict[str, Any]:
    current = _current(name, journeys)
    loaded = (
        {} if journeys is None else {v: j for (n, v), j in journeys.versions.items() if n == name}
    )
    standing = {version for one, version, _ in people if one == name}
    return {
        "name": name,
        "owner": None if current is None else current.owner,
        "kind": None if current is None else current.kind.value,
        "stage": None if current is None else current.stage,
        "priority": None if current is None else current.priority,
        "versions": [
            _version(
                name,
                version,
                people,
                order=[step.id for step in loaded[version].steps] if version in loaded else None,
                current=current is not None and current.version == version,
            )
            for version in sorted(standing | loaded.keys())
        ],
    }


def _version(
    name: str, version: int, people: dict[Place, int], *, order: list[str] | None, current: bool
) -> JourneyVersion:
    found = {
        step: count
        for (its_name, its_version, step), count in people.items()
        if (its_name, its_version) == (name, version)
    }
    steps = [step for step in order or () if step in found]
    steps += sorted(found.keys() - set(steps))
    return JourneyVersion(
        version=version,
        current=current,
        loaded=order is not None,
        people=sum(found.values()),
        steps=[StepPeople(step=step, people=found[step]) for step in steps],
    )
