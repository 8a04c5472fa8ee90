"""Messages that are shown instead of sent: `orchestrator sender CHANNEL --show`, and in `run`.

The kit does everything that it does for a real provider, so that what is shown is what would have
gone out. Nothing leaves the machine, therefore commands in `test` mode may be to anybody.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import click

from orchestrator.broker import tie_to_parent
from orchestrator.demo.supervisor import worker_environment
from orchestrator.sender import Delivered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.sender import Command, Outcome
    from orchestrator.settings import Settings

CHANNEL: Final = "email"
_TEXT_CHARACTERS_MAX: Final = 400
_STOP_SECONDS: Final = 10.0


class Everybody(AbstractSet[str]):
    """Every customer id there is."""

    def __contains__(self, customer: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Shown:
    """A provider that prints what it is handed."""

    async def __call__(self, command: Command) -> Outcome:
        """Print a message as a person would read it."""
        content = command.content or {}
        title = content.get("subject") or content.get("title") or command.template
        lines = [f"{command.channel} to {command.customer}: {title or command.type}"]
        text = content.get("text", "")[:_TEXT_CHARACTERS_MAX]
        lines += [f"    {line}" for line in text.splitlines()]
        click.echo("\n".join(lines), err=True)
        return Delivered(f"shown-{command.id}")

    async def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def showing_mails(settings: Settings) -> AsyncIterator[None]:
    """Show the e-mails of a deployment, from a process of its own, until the block ends."""
    command = (sys.executable, "-m", "orchestrator", "sender", CHANNEL, "--show")
    process = await asyncio.create_subprocess_exec(
        *command,
        # Its terminal is for the mails; what ends it is told by the kit.
        env={**os.environ, **worker_environment(settings), "ORCHESTRATOR_LOG_LEVEL": "error"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        process_group=0,
        preexec_fn=tie_to_parent(),
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
