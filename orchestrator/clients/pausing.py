"""Pauses and resumes a scope on somebody's word: for the command line and the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.catalog.findings import instead
from orchestrator.core.command import CommandClass
from orchestrator.core.pauses import GLOBAL
from orchestrator.errors import OrchestratorError, UsageError

if TYPE_CHECKING:
    from orchestrator.clients.control import ControlTopic
    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.control import Control, Controls


class NotPaused(OrchestratorError):
    """What was to be resumed is not paused."""


async def pause(
    topic: ControlTopic,
    controls: Controls,
    control: Control,
    journeys: Journeys | None,
    *,
    force: bool = False,
) -> Control | None:
    """Write a pause; return the one that stood before. `controls` are those at the topic's end.

    Raises UsageError for a name that nobody has published, unless `force` says so.
    """
    kind, _, name = control.scope.partition("/")
    if not force:
        _check_name(journeys, kind, name)
    before = standing(controls, control.scope)
    await topic.write(control)
    return before


async def resume(topic: ControlTopic, controls: Controls, control: Control) -> Control:
    """Write a resume; return the pause that it ends. Raises NotPaused."""
    before = standing(controls, control.scope)
    if before is None:
        paused = [one.scope for one in controls.paused]
        hint = instead(control.scope, paused) or "; nothing is"
        raise NotPaused(f"{control.scope} is not paused{hint}")
    await topic.write(control)
    return before


def standing(controls: Controls, scope: str) -> Control | None:
    """Return the pause of a scope, if there is one."""
    return next((one for one in controls.paused if one.scope == scope), None)


def goes_out_anyway(journeys: Journeys | None, scope: str) -> str | None:
    """Say of a transactional journey that pausing it holds nothing."""
    kind, _, name = scope.partition("/")
    if journeys is None or kind != "journey":
        return None
    kinds = {one.kind for one in journeys.versions.values() if one.name == name}
    if kinds != {CommandClass.TRANSACTIONAL}:
        return None
    return (
        f"{name} is transactional, and a pause of a journey holds promotional and service "
        "messages only; pause its channel with --transactional to hold it too"
    )


def _check_name(journeys: Journeys | None, kind: str, name: str) -> None:
    """Refuse a name that means nothing: what was to be stopped would go on going out."""
    if kind == GLOBAL:
        return
    known: dict[str, list[str]] = {"journey": [], "channel": [], "offer": []}
    if journeys is not None:
        known["journey"] = [one.name for one in journeys.current]
        known["channel"] = list(journeys.channels)
        known["offer"] = [one.name for one in journeys.offers]
    if name not in known[kind]:
        raise UsageError(
            f"{kind}: nobody has published {name!r}{instead(name, known[kind])}; --force pauses it "
            "anyway"
        )
