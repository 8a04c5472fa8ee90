"""`orchestrator broker`: the embedded Apache Kafka in the foreground, until Ctrl-C."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import click

from orchestrator.broker import EmbeddedBroker
from orchestrator.cli.options import with_broker
from orchestrator.errors import DependencyError

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

_POLL_SECONDS = 0.2


@click.command(
    epilog="Example: orchestrator broker --port 9092 --data-dir /var/tmp/kafka",
    short_help="Run the embedded Apache Kafka.",
)
@with_broker
def broker(port: int, data_dir: Path | None) -> None:
    """Run a real Apache Kafka on this machine, without Java, Maven or Docker.

    Prints its bootstrap address on a line of its own when it is ready. The first start downloads
    45 MB into the user's cache. Ctrl-C stops it cleanly.
    """
    stopping: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)

    embedded = EmbeddedBroker(data_dir, port=port)
    # A signal during the start ends it at once; later ones ask for an orderly stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        embedded.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, on_signal)
        click.echo(embedded.bootstrap_servers)
        while not stopping:
            if not embedded.is_running():
                raise DependencyError(f"the broker ended by itself; see {embedded.log_path}")
            time.sleep(_POLL_SECONDS)
    finally:
        embedded.stop()
