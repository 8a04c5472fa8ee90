"""A time table over 200,000 customers, the worker killed twice in the middle of its round.

Customers are brought into state, then a newsletter joins the shop whose time comes a moment later.
While its round goes through everybody, the worker is killed with -9 twice and started again, and
live events come in. Then all letters are read back: each customer must have exactly one for the
time of the table. `python -m bench.schedule` writes bench/results/schedule.md.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click
import orjson
from confluent_kafka import Producer

from bench.events import Workload, population
from bench.load import producer_config
from bench.report import RESULTS
from bench.systems import Deployment, await_ready, running
from bench.topics import end_offsets, read_topic
from orchestrator.broker import EmbeddedBroker

LETTERS: Final = "commands.email.promotional"
# Shares of the letters that stand on the topic when the worker dies.
DEATHS: Final = (0.2, 0.55)
ROUND_SECONDS_MAX: Final = 1_200.0
_FILES: Final = {
    "shop.yaml": "zone: UTC\n",
    "channels.yaml": "email: {kind: message, needs_consent: false, partitions: 8}\n",
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


def _client(deployment: Deployment) -> dict[str, str]:
    return {"bootstrap.servers": deployment.bootstrap_servers}


def _on_topic(deployment: Deployment) -> int:
    return end_offsets(_client(deployment), deployment.prefix + LETTERS)


def letters(deployment: Deployment) -> Counter[tuple[str, str]]:
    """Count the letters by customer and by the time of the table that they are for."""
    return Counter(
        (key.decode(), orjson.loads(value)["data"]["caused_by"]["id"])
        for key, value, _ in read_topic(_client(deployment), deployment.prefix + LETTERS)
        if key is not None and value is not None
    )


def fill(deployment: Deployment, customers: int) -> None:
    """Bring the customers into state with one worker."""
    producer = Producer(producer_config(deployment.bootstrap_servers) | {"linger.ms": 20})
    for key, value in population(Workload(customers=customers)):
        producer.produce(deployment.input_topic, key=key, value=value)
        producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the broker did not take the population")
    with running("ours", deployment, RESULTS / "logs/schedule-fill.log") as system:
        await_ready(system, deployment, seconds_max=1_800)


def go_round(deployment: Deployment, customers: int) -> float:
    """Let the round go through everybody, with its deaths; return its seconds."""
    started = time.monotonic()
    for number, share in enumerate((*DEATHS, 1.0)):
        with running("ours", deployment, RESULTS / f"logs/schedule-{number}.log") as system:
            while (stands := _on_topic(deployment)) < share * customers:
                if time.monotonic() > started + ROUND_SECONDS_MAX or not system.alive():
                    raise RuntimeError(f"the round stands still at {stands}:\n{system.tail()}")
                click.echo(f"  about {stands:,} of {customers:,} letters\r", nl=False)
                time.sleep(0.5)
            if share < 1:
                system.process.kill()
                click.echo(f"  killed with -9 at about {stands:,} of {customers:,} letters")
                continue
            _await_end(deployment)
    return time.monotonic() - started


def _await_end(deployment: Deployment) -> None:
    """Wait until nothing comes any more: markers make the count of offsets run ahead."""
    before, still = -1, 0
    while still < 10:
        stands = _on_topic(deployment)
        still = still + 1 if stands == before else 0
        before = stands
        time.sleep(0.5)


@click.command()
@click.option("--customers", default=200_000, show_default=True)
@click.option("--rate", default=3_000, show_default=True, help="Visits a second, as declared.")
def main(customers: int, rate: int) -> None:
    """Run it, judge it, and write the result."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrator-")))
        broker = stack.enter_context(EmbeddedBroker(folder / "kafka"))
        journeys = folder / "journeys"
        journeys.mkdir()
        for name, text in _FILES.items():
            (journeys / name).write_text(text, "utf-8")
        deployment = Deployment(broker.bootstrap_servers, "schedule-", journeys=journeys)
        deployment.create_topics()
        click.echo(f"bringing {customers:,} customers into state")
        fill(deployment, customers)
        at = datetime.now(UTC) + timedelta(minutes=2)
        text = _NEWSLETTER % (at.minute, at.hour, rate)
        (journeys / "newsletter.yaml").write_text(text, "utf-8")
        deployment.create_topics()
        seconds = go_round(deployment, customers)
        counted = letters(deployment)
    times = {time_ for _, time_ in counted}
    doubled = sum(count - 1 for count in counted.values())
    addressed = {customer for customer, _ in counted}
    known = {key.decode() for key, _ in population(Workload(customers=customers))}
    page = (
        "# A time table over many customers, the worker killed twice in its round\n\n"
        "`python -m bench.schedule`\n\n"
        "| customers | letters | customers without | doubled | times of the table | seconds with"
        " both restarts |\n|---|---|---|---|---|---|\n"
        f"| {customers:,} | {sum(counted.values()):,} | {len(known - addressed):,} | {doubled:,} |"
        f" {len(times)} | {seconds:.0f} |\n\n"
        f"Killed with -9 when about {DEATHS[0]:.0%} and {DEATHS[1]:.0%} of the letters stood on "
        f"the topic; the journey declares {rate:,} visits a second. The letters are those of the "
        "customers above and of a few probes that ask whether a worker is ready.\n"
    )
    click.echo(page)
    (RESULTS / "schedule.md").write_text(page, "utf-8")
    if doubled or known - addressed or len(times) != 1:
        raise SystemExit("not every customer got exactly one letter")


if __name__ == "__main__":
    main()
