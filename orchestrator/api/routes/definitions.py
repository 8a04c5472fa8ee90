"""What is published: seen, and published, as `orchestrator publish` does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from aiokafka.errors import KafkaError
from fastapi import Path, Request
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.access import scoped_router
from orchestrator.api.problems import FieldFault, Problem, documented, is_name
from orchestrator.api.tokens import Scope
from orchestrator.api.waiting import After
from orchestrator.catalog.bundle import changes, is_read, load_files
from orchestrator.clients.definitions import prepare
from orchestrator.errors import DependencyError, JourneyError

if TYPE_CHECKING:
    from orchestrator.api.application import Api

_seen = scoped_router(Scope.READ, tags=["definitions"])
_acted = scoped_router(Scope.ACT, tags=["definitions"])
routers = (_seen, _acted)

_HASH = "c894f993fe7c0d7d"


class Publication(BaseModel):
    """What runs, since when, and by whose doing."""

    content_hash: str = Field(examples=[_HASH])
    published_at: str = Field(examples=["2026-11-22T10:00:00.000Z"])
    published_by: str = Field(examples=["maria via back-office"])


class Definitions(BaseModel):
    """What was published; `current` runs, null before anything does."""

    current: Publication | None
    content_hashes: list[str] = Field(examples=[[_HASH]])


class Files(BaseModel):
    """The files of one publication, by path."""

    content_hash: str = Field(examples=[_HASH])
    files: dict[str, str] = Field(examples=[{"shop.yaml": "zone: Europe/Madrid\n"}])


class NewFiles(BaseModel):
    """A folder of journeys to publish."""

    model_config = ConfigDict(extra="forbid")

    files: dict[str, str] = Field(
        description="every file of the folder, by path",
        min_length=1,
        max_length=5_000,
        examples=[{"shop.yaml": "zone: Europe/Madrid\n"}],
    )
    by: str | None = Field(default=None, min_length=1, max_length=60, examples=["maria"])


class Published(BaseModel):
    """What is current now, and what has changed."""

    current: Publication
    changes: list[str] = Field(examples=[["welcome: version 1 → 2"]])


@_seen.get("/definitions", summary="What is published", dependencies=[After])
async def get_definitions(request: Request) -> Definitions:
    """Return what runs, and what was published before it."""
    published = request.app.state.api.model.published
    current = published.current
    return Definitions(
        current=None
        if current is None
        else Publication(
            content_hash=current.content_hash,
            published_at=current.published_at,
            published_by=current.published_by,
        ),
        content_hashes=sorted(published.bundles),
    )


@_seen.get(
    "/definitions/{content_hash}",
    summary="The files of a publication",
    dependencies=[After],
    responses=documented(404, 409),
)
async def get_files(
    request: Request, content_hash: Annotated[str, Path(max_length=128, examples=[_HASH])]
) -> Files:
    """Return the files as their author wrote them, with older versions that are kept for people."""
    bundle = request.app.state.api.model.published.bundles.get(content_hash)
    if bundle is None:
        raise Problem(404, "nothing with this content hash is on the topic")
    return Files(content_hash=content_hash, files=dict(bundle.files))


@_acted.post(
    "/definitions",
    summary="Publish a folder of journeys",
    dependencies=[After],
    responses=documented(409),
)
async def post_definitions(request: Request, new: NewFiles) -> Published:
    """Check the files, and let all workers run them at once; findings come all together."""
    api: Api = request.app.state.api
    caller = request.state.caller.name
    by = caller if new.by is None else f"{new.by} via {caller}"
    for path in new.files:
        if not is_read(path):
            named = f"{path}: " if is_name(path) else ""
            fault = FieldFault(field="body.files", detail=f"{named}no file of a journeys folder")
            raise Problem(422, "a path that nobody reads", errors=[fault])
    definitions, mode = api.model.definitions, api.settings.mode
    try:
        journeys = await asyncio.to_thread(load_files, new.files, mode)
        await api.see_to_topics(api.settings, journeys.channels)
        await definitions.caught_up()
        ready = await asyncio.to_thread(prepare, new.files, journeys, definitions.published, mode)
        current = definitions.published.current
        if current is None or current.content_hash != ready.bundle.content_hash:
            current = await definitions.publish(ready.bundle, by=by)
    except JourneyError as error:
        faults = [FieldFault(field="body.files", detail=one) for one in error.findings]
        raise Problem(
            422, f"{len(faults)} findings in the journeys", slug="findings", errors=faults
        ) from None
    except DependencyError as error:
        raise Problem(409, str(error), slug="refused") from None
    except KafkaError as error:
        raise Problem(
            503, f"the broker does not answer ({type(error).__name__}); ask again"
        ) from None
    return Published(
        current=Publication(
            content_hash=current.content_hash,
            published_at=current.published_at,
            published_by=current.published_by,
        ),
        changes=changes(ready.running, ready.journeys),
    )
