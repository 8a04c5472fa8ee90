"""`orchestrator pause` and `orchestrator resume`: what may not go out now, by whose word and why.

Both write one record to the topic `control`, which workers and senders follow.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import click

from orchestrator.catalog.bundle import load_files
from orchestrator.catalog.findings import instead
from orchestrator.cli.options import with_settings
from orchestrator.clients.security import client_options
from orchestrator.core.command import CommandClass
from orchestrator.core.pauses import GLOBAL, KINDS
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.protocol.control import Control, checked, scope_of, told
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.admin import ensure_topics
from orchestrator.runtime.definitions import Definitions, now, publisher
from orchestrator.runtime.followed.pauses import ControlTopic
from orchestrator.settings import ConnectionSettings, Settings, TopicSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.control import Controls

_PAUSE_EPILOG = """\b
Examples:
  orchestrator pause journey winter_sale --reason "wrong price"
  orchestrator pause channel sms --kill --reason "sender id is blocked" --by eva@shop.example
  orchestrator pause global --transactional --reason "wrong customer data"
  orchestrator pause --list

\b
Exit codes: 0 it is paused now, 1 the broker refuses; 2 wrong usage or settings, or a name that
nobody published.
"""
_RESUME_EPILOG = """\b
Examples:
  orchestrator resume journey winter_sale --reason "price is right again"
  orchestrator resume global --reason "all clear"

\b
Exit codes: 0 it is resumed, 1 it was not paused, or the broker refuses; 2 wrong usage or settings.
"""
_SCOPE = "[global | channel NAME | journey NAME | offer NAME]"


def _who_and_why(verb: Callable[..., Any]) -> Callable[..., Any]:
    verb = click.option("--by", metavar="NAME", help="Who says so. Default: user@host.")(verb)
    verb = click.option("--reason", metavar="TEXT", help="Why; everybody will read it.")(verb)
    verb = click.argument("name", required=False, metavar="")(verb)
    return click.argument("kind", required=False, metavar=_SCOPE)(verb)


@click.command(epilog=_PAUSE_EPILOG, short_help="Hold back what goes out, or drop it.")
@_who_and_why
@click.option("--kill", is_flag=True, help="Drop what would go out, instead of holding it.")
@click.option(
    "--transactional", is_flag=True, help="Transactional messages too; for global and a channel."
)
@click.option("--force", is_flag=True, help="Also a name that nobody has published.")
@click.option("--list", "listed", is_flag=True, help="Only show what is paused.")
@with_settings(ConnectionSettings, TopicSettings)
def pause(
    settings: Settings,
    *,
    kind: str | None,
    name: str | None,
    reason: str | None,
    by: str | None,
    kill: bool,
    transactional: bool,
    force: bool,
    listed: bool,
) -> int:
    """Let nothing of a scope go out: no message, question, task, webhook or addition to audiences.

    What comes due is held until `resume`, or until it expires. Cancels and removals always go out.
    Transactional messages do too, unless --transactional is given.
    """
    if listed:
        for line in asyncio.run(_with_topic(settings, _list)):
            click.echo(line)
        return 0
    scope, by, reason = _asked(kind, name, reason, by)
    control = checked(Control(scope, True, kill, by, reason, now(), transactional))

    async def write(topic: ControlTopic) -> list[str]:
        return await _pause(settings, topic, control, force=force)

    for line in asyncio.run(_with_topic(settings, write)):
        click.echo(line)
    return 0


@click.command(epilog=_RESUME_EPILOG, short_help="Let go out again what is paused.")
@_who_and_why
@with_settings(ConnectionSettings, TopicSettings)
def resume(
    settings: Settings, *, kind: str | None, name: str | None, reason: str | None, by: str | None
) -> int:
    """End a pause: everybody whom it holds is looked at again, and gets what has not expired."""
    scope, by, reason = _asked(kind, name, reason, by)
    control = checked(Control(scope, False, False, by, reason, now()))

    async def write(topic: ControlTopic) -> list[str]:
        return await _resume(topic, control)

    for line in asyncio.run(_with_topic(settings, write)):
        click.echo(line)
    return 0


def _asked(
    kind: str | None, name: str | None, reason: str | None, by: str | None
) -> tuple[str, str, str]:
    """Return scope, who and why. Raises UsageError for what is missing."""
    if kind is None:
        raise UsageError(f"scope: say what is meant; allowed: {', '.join(KINDS)}")
    if not reason:
        raise UsageError("--reason is missing: whoever finds this wants to know why")
    return scope_of(kind, name), by or f"{publisher()}@{socket.gethostname()}", reason


async def _with_topic(
    settings: Settings, act: Callable[[ControlTopic], Coroutine[Any, Any, list[str]]]
) -> list[str]:
    topics = Topics.of(settings, {})
    await ensure_topics(settings, topics)
    topic = ControlTopic(client_options(settings), topics.control)
    try:
        return await act(topic)
    finally:
        await topic.stop()


async def _list(topic: ControlTopic) -> list[str]:
    return told((await topic.read()).paused) or ["nothing is paused"]


async def _pause(
    settings: Settings, topic: ControlTopic, control: Control, *, force: bool
) -> list[str]:
    lines = []
    journeys = await _published(settings)
    kind, _, name = control.scope.partition("/")
    if not force:
        _check_name(journeys, kind, name)
    if journeys is not None and kind == "journey":
        lines += _goes_out_anyway(journeys, name)
    before = _standing(await topic.read(), control.scope)
    await topic.write(control)
    if before is not None:
        lines.append(f"before: {told([before])[0]}")
    return [*lines, *told([control])]


async def _resume(topic: ControlTopic, control: Control) -> list[str]:
    controls = await topic.read()
    before = _standing(controls, control.scope)
    if before is None:
        paused = [one.scope for one in controls.paused]
        hint = instead(control.scope, paused) or "; nothing is"
        raise OrchestratorError(f"{control.scope} is not paused{hint}")
    await topic.write(control)
    return [f"before: {told([before])[0]}", f"{control.scope}  resumed by {control.by}"]


def _standing(controls: Controls, scope: str) -> Control | None:
    return next((one for one in controls.paused if one.scope == scope), None)


async def _published(settings: Settings) -> Journeys | None:
    """Return the journeys that run, or None before anything was published."""
    definitions = Definitions(client_options(settings), Topics.of(settings, {}).definitions)
    try:
        bundle = (await definitions.read()).running
    finally:
        await definitions.stop()
    return None if bundle is None else load_files(bundle.files, settings.mode)


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


def _goes_out_anyway(journeys: Journeys, name: str) -> list[str]:
    """Say of a transactional journey that pausing it holds nothing."""
    kinds = {one.kind for one in journeys.versions.values() if one.name == name}
    if kinds != {CommandClass.TRANSACTIONAL}:
        return []
    note = (
        f"note: {name} is transactional, and a pause of a journey holds promotional and service "
        "messages only; pause its channel with --transactional to hold it too"
    )
    return [note]
