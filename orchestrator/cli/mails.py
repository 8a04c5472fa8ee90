"""The mails of `orchestrator run`: taken by the sender kit, and shown instead of sent."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Final

import click

from orchestrator.sender import Delivered, Options, Sender

if TYPE_CHECKING:
    from orchestrator.sender import Command, Outcome
    from orchestrator.settings import Settings

CHANNEL: Final = "email"
_TEXT_CHARACTERS_MAX: Final = 400


class _Everybody(AbstractSet[str]):
    """Nothing leaves the machine, so that a mail in `test` mode may be shown whoever it is to."""

    def __contains__(self, customer: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def mails(settings: Settings) -> Sender:
    """Return a sender of e-mail that prints what it is handed; call its `run`."""
    # A terminal is for the mails. What ends the sender is told by whoever runs it.
    logging.getLogger("orchestrator.sender").setLevel(logging.WARNING)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return Sender(settings, CHANNEL, _show, options=Options(allowed=_Everybody()))


async def _show(command: Command) -> Outcome:
    content = command.content or {}
    subject = content.get("subject") or f"template {command.template}"
    lines = [f"mail to {command.customer}: {subject}"]
    text = content.get("text", "")[:_TEXT_CHARACTERS_MAX]
    lines += [f"    {line}" for line in text.splitlines()]
    click.echo("\n".join(lines), err=True)
    return Delivered(f"shown-{command.id}")
