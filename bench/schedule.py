"""A time table over 200,000 customers, the worker killed twice in the middle of its round.

Customers are brought into state, then a newsletter joins the shop whose time comes a moment later.
While its round goes through everybody, the worker is killed with -9 twice and started again, and
live events come in. Then all letters are read back: each customer must have exactly one for the
time of the table. `python -m bench.schedule` writes bench/results/schedule.md.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

import click
import orjson

from bench.events import Workload, population
from bench.report import RESULTS
from bench.shop import LETTERS, announce, await_last_letter, fill, letters_on_topic, small_shop
from bench.systems import Deployment, running
from bench.topics import read_topic

# Shares of the letters that stand on the topic when the worker dies.
DEATHS: Final = (0.2, 0.55)
ROUND_SECONDS_MAX: Final = 1_200.0
_FILES: Final = {
    "channels.yaml": "email: {kind: message, needs_consent: false, partitions: 8}\n",
}


def _client(deployment: Deployment) -> dict[str, str]:
    return {"bootstrap.servers": deployment.bootstrap_servers}


def letters(deployment: Deployment) -> Counter[tuple[str, str]]:
    """Count the letters by customer and by the time of the table that they are for."""
    return Counter(
        (key.decode(), orjson.loads(value)["data"]["caused_by"]["id"])
        for key, value, _ in read_topic(_client(deployment), deployment.prefix + LETTERS)
        if key is not None and value is not None
    )


def go_round(deployment: Deployment, customers: int) -> float:
    """Let the round go through everybody, with its deaths; return its seconds."""
    started = time.monotonic()
    for number, share in enumerate((*DEATHS, 1.0)):
        with running("ours", deployment, RESULTS / f"logs/schedule-{number}.log") as system:
            while (stands := letters_on_topic(deployment)) < share * customers:
                if time.monotonic() > started + ROUND_SECONDS_MAX or not system.alive():
                    raise RuntimeError(f"the round stands still at {stands}:\n{system.tail()}")
                click.echo(f"  about {stands:,} of {customers:,} letters\r", nl=False)
                time.sleep(0.5)
            if share < 1:
                system.process.kill()
                click.echo(f"  killed with -9 at about {stands:,} of {customers:,} letters")
                continue
            await_last_letter(deployment)
    return time.monotonic() - started


@click.command()
@click.option("--customers", default=200_000, show_default=True)
@click.option("--rate", default=3_000, show_default=True, help="Visits a second, as declared.")
def main(customers: int, rate: int) -> None:
    """Run it, judge it, and write the result."""
    with small_shop("schedule-", _FILES) as deployment:
        fill(deployment, customers)
        announce(deployment, datetime.now(UTC) + timedelta(minutes=2), rate)
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
