"""A small shop for one trial: a broker of its own, few journeys, its topics, and its customers.

`schedule`, `senders/fanout` and `senders/kill` open one, bring customers into state, let a
newsletter's time come, and wait until no more letters do.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from confluent_kafka import Producer

from bench.events import Workload, population
from bench.load import producer_config
from bench.report import RESULTS
from bench.systems import Deployment, await_ready, running
from bench.topics import end_offsets
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

LETTERS: Final = "commands.email.promotional"
FILL_SECONDS_MAX: Final = 1_800.0
# Markers make the count of offsets run ahead, so a topic has ended when it stands still.
LETTERS_SECONDS_MAX: Final = 1_800.0
_STILL_LOOKS: Final = 10
_LOOK_SECONDS: Final = 0.5
_FILES: Final = {
    "shop.yaml": "zone: UTC\n",
    # What tells that a worker is ready, and what live customers get.
    "post_purchase.yaml": """\
name: post_purchase
version: 1
owner: crm@shop.example
kind: transactional
stage: service
entry: {on: purchase, key: event.data.order_id}
steps:
  - id: thank_you
    send: {channel: email, template: thank_you}
""",
}
_NEWSLETTER: Final = """\
name: newsletter
version: 1
owner: editors@shop.example
kind: promotional
stage: awareness
entry:
  schedule: {cron: "%d %d * * *", rate: %d}
exits:
  - on: purchase
steps:
  - id: letter
    send: {channel: email, template: letter}
"""


@contextmanager
def small_shop(
    prefix: str, files: Mapping[str, str], *, mode: str = "test"
) -> Iterator[Deployment]:
    """Yield a deployment over a broker of its own; `files` join its journeys, by name."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as name:
        folder = Path(name)
        with EmbeddedBroker(folder / "kafka") as broker:
            journeys = folder / "journeys"
            journeys.mkdir()
            for file, text in {**_FILES, **files}.items():
                (journeys / file).write_text(text, "utf-8")
            deployment = Deployment(broker.bootstrap_servers, prefix, journeys=journeys, mode=mode)
            deployment.create_topics()
            yield deployment


def fill(deployment: Deployment, customers: int) -> None:
    """Bring the customers into state with one worker."""
    click.echo(f"bringing {customers:,} customers into state")
    producer = Producer(producer_config(deployment.bootstrap_servers) | {"linger.ms": 20})
    for key, value in population(Workload(customers=customers)):
        producer.produce(deployment.input_topic, key=key, value=value)
        producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the broker did not take the population")
    log = RESULTS / f"logs/{deployment.prefix}fill.log"
    with running("ours", deployment, log) as system:
        await_ready(system, deployment, seconds_max=FILL_SECONDS_MAX)


def announce(deployment: Deployment, at: datetime, visits_per_second: int, more: str = "") -> None:
    """Let a newsletter join the shop, whose time comes then; `more` are steps after its letter."""
    text = _NEWSLETTER % (at.minute, at.hour, visits_per_second) + more
    (deployment.journeys / "newsletter.yaml").write_text(text, "utf-8")


def letters_on_topic(deployment: Deployment) -> int:
    """Return about how many letters there are."""
    client = {"bootstrap.servers": deployment.bootstrap_servers}
    return end_offsets(client, deployment.prefix + LETTERS)


def await_last_letter(deployment: Deployment) -> None:
    """Wait until no more letters come."""
    deadline, before, still = time.monotonic() + LETTERS_SECONDS_MAX, -1, 0
    while still < _STILL_LOOKS:
        if time.monotonic() > deadline:
            raise RuntimeError(f"letters still come after {LETTERS_SECONDS_MAX:g} s")
        stands = letters_on_topic(deployment)
        still = still + 1 if stands == before else 0
        before = stands
        time.sleep(_LOOK_SECONDS)
