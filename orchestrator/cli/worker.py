"""`orchestrator worker`: one worker, until it is told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import with_settings
from orchestrator.worker import run_worker

if TYPE_CHECKING:
    from orchestrator.settings import Settings

_EPILOG = """\b
Example:
  orchestrator worker --bootstrap-servers kafka-1:9092 --partitions 8 --slot 0
"""


@click.command(epilog=_EPILOG)
@with_settings()
def worker(settings: Settings) -> None:
    """Run one worker until SIGTERM; exit code 70 asks whoever started it to start it again."""
    run_worker(settings)
