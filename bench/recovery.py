"""How long a worker needs to know a million customers again: ours, then stock Faust.

The states come out of the core: thousands of customers with a month of views, carts, purchases and
waits each, copied under a million ids. The time is taken from outside, from process start to an
answered purchase on every partition, less what the same start takes with nobody to remember (or
what the worker says itself, if that is longer).
Stock Faust gets the same records without transactions: its recovery never ends on a changelog
whose last offset is a commit marker.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
import orjson
from confluent_kafka import Producer

from bench.events import MIXED, Workload, customer_id, event_bytes, population
from bench.load import producer_config
from bench.report import RESULTS, Results, environment
from bench.run import broker
from bench.systems import Deployment, Running, await_ready, peak_bytes, resident_bytes, running
from orchestrator import catalog
from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.event import TimerFired
from orchestrator.protocol.codec import decode_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orchestrator.core.journeys import Journeys

SYSTEMS: Final = ("ours", "stock-faust")
TEMPLATES: Final = 2_000
DAYS: Final = 30
EVENTS_MAX: Final = 90
DAY_MS: Final = 86_400_000
TRANSACTION_RECORDS: Final = 20_000
RECOVERY_SECONDS_MAX: Final = 1_800.0
EVENT_BYTES_MAX: Final = 1_000_000
HEAD: Final = (
    "| system | recovery s | records/s | start to answer s | with nobody s "
    "| resident bytes a customer | resident peak MiB | state bytes p50 / mean / p99 |"
)


def template(journeys: Journeys, number: int, now_ms: int) -> Customer:
    """Return a customer with a typical month: everything due until now has fired."""
    chance = random.Random(number)
    state = Customer(id=customer_id(number))
    kinds, weights = zip(*MIXED, strict=True)
    # Most come a few times, some every day.
    visits = min(EVENTS_MAX, 3 + int(chance.expovariate(1 / 15)))
    times = sorted(now_ms - int(chance.random() * DAYS * DAY_MS) for _ in range(visits))
    known = [value for _, value in population(Workload(customers=1))]
    records = [(times[0], value) for value in known[: 1 + number % 2]]
    for visit, at_ms in enumerate(times):
        kind = chance.choices(kinds, weights)[0]
        value = event_bytes(kind, f"0-{visit}", number, at_ms * 1_000_000, chance)
        records.append((at_ms, value))
    for at_ms, value in records:
        state = _fire_waits(journeys, state, at_ms)
        event = decode_event(None, value, (), event_bytes_max=EVENT_BYTES_MAX)
        event = msgspec.structs.replace(event, subject=state.id)
        state = decide(journeys, state, event, at_ms).customer
    return _fire_waits(journeys, state, now_ms)


def _fire_waits(journeys: Journeys, state: Customer, until_ms: int) -> Customer:
    for _ in range(1_000):
        due = [e.wake_at_ms for e in state.enrollments if e.wake_at_ms is not None]
        if not due or min(due) > until_ms:
            break
        state = decide(journeys, state, TimerFired(min(due)), min(due)).customer
    return state


def states(journeys: Journeys, customers: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and changelog value of as many customers; the first ones are the templates."""
    now_ms = time.time_ns() // 1_000_000
    templates = [template(journeys, number, now_ms) for number in range(min(TEMPLATES, customers))]
    for number in range(customers):
        identity = customer_id(number)
        state = msgspec.structs.replace(templates[number % len(templates)], id=identity)
        yield identity.encode(), encode_customer(state)


def write_states(
    deployment: Deployment,
    topic: str,
    found: Iterable[tuple[bytes, bytes]],
    *,
    transactional: bool,
) -> list[int]:
    """Write states to a changelog; return how many bytes each has."""
    config = producer_config(deployment.bootstrap_servers)
    config |= {"linger.ms": 20, "batch.size": 500_000}
    if transactional:
        config |= {"transactional.id": f"{deployment.prefix}fill"}
    producer = Producer(config)
    if transactional:
        producer.init_transactions(30)
        producer.begin_transaction()
    sizes = []
    for number, (key, value) in enumerate(found, start=1):
        producer.produce(topic, key=key, value=value)
        sizes.append(len(value))
        if number % TRANSACTION_RECORDS == 0:
            if transactional:
                producer.commit_transaction(60)
                producer.begin_transaction()
            else:
                producer.flush(60)
    if transactional:
        producer.commit_transaction(60)
    if producer.flush(60):
        raise RuntimeError("the broker did not take all states")
    return sizes


def fill(
    deployment: Deployment, topic: str, journeys: Journeys, customers: int, *, transactional: bool
) -> dict[str, Any]:
    """Write the states of so many customers to a changelog; return how large they are."""
    sizes = write_states(
        deployment, topic, states(journeys, customers), transactional=transactional
    )
    sizes.sort()
    return {
        "state_bytes_mean": round(sum(sizes) / len(sizes)),
        "state_bytes_p50": sizes[len(sizes) // 2],
        "state_bytes_p99": sizes[int(len(sizes) * 0.99)],
        "state_bytes_max": sizes[-1],
    }


def measure(system: str, deployment: Deployment, customers: int, logs: Path) -> dict[str, Any]:
    """Start, restart with nobody, restart with everybody."""
    journeys = catalog.load(deployment.journeys, "test")
    deployment.create_topics()

    def start(name: str) -> tuple[float, int, int]:
        with running(system, deployment, logs / f"{deployment.prefix}{name}.log") as process:
            seconds = await_ready(process, deployment, seconds_max=RECOVERY_SECONDS_MAX)
            return seconds, *_memory(process)

    try:
        start("first")
        empty_seconds, empty_bytes, _ = start("empty")
        topic = deployment.changelog(system)
        row = fill(deployment, topic, journeys, customers, transactional=system == "ours")
        full_seconds, full_bytes, full_peak = start("full")
    finally:
        deployment.delete_topics()
    # A start with nobody has fixed costs of its own; what a system says itself bounds the claim.
    reported = reported_seconds(logs / f"{deployment.prefix}full.log")
    seconds = max(0.01, full_seconds - empty_seconds, reported)
    return row | {
        "customers": customers,
        "start_to_answer_seconds": round(full_seconds, 2),
        "start_to_answer_empty_seconds": round(empty_seconds, 2),
        "reported_seconds": round(reported, 2),
        "recovery_seconds": round(seconds, 2),
        "records_per_second": round(customers / seconds),
        "resident_bytes": full_bytes,
        "resident_bytes_peak": full_peak,
        "resident_bytes_per_customer": round((full_bytes - empty_bytes) / customers),
    }


def reported_seconds(log: Path) -> float:
    """Return how long the worker says that it loaded; 0 for a system that says nothing."""
    lines = [line for line in log.read_bytes().splitlines() if b'"event":"recovered"' in line]
    return sum(orjson.loads(line)["seconds"] for line in lines)


def _memory(process: Running) -> tuple[int, int]:
    return resident_bytes(process.process.pid), peak_bytes(process.process.pid)


@click.command(epilog="Example: python -m bench.recovery --customers 1000000")
@click.option("--name", default="recovery", show_default=True, help="Results go to results/NAME.*.")
@click.option("--customers", default=1_000_000, show_default=True)
@click.option("--systems", default=",".join(SYSTEMS), show_default=True)
@click.option("--bootstrap-servers", help="A running broker; without it, the embedded one.")
def main(name: str, customers: int, systems: str, bootstrap_servers: str | None) -> None:
    """Measure recovery, and print it."""
    results = Results(RESULTS / f"{name}.json", environment(embedded=not bootstrap_servers))
    with broker(bootstrap_servers) as target:
        for system in systems.split(","):
            prefix = f"recovery-{results.token}-{system}-"
            deployment = Deployment(target.bootstrap_servers, prefix)
            row = measure(system, deployment, customers, results.logs)
            results.add(f"recovery/{customers}/{system}/0", row)
            click.echo(f"{system}: {row}")
    table = render(results, customers)
    results.path.with_suffix(".md").write_text(table, encoding="utf-8")
    click.echo(table)


def render(results: Results, customers: int) -> str:
    """Return the figures as a table, and the ratio."""
    _, systems = results.measured("recovery")
    rows = {system: results.rows("recovery", system, customers)[-1] for system in systems}
    lines = [f"# Recovery of {customers:,} customers", "", HEAD, "|---" * HEAD.count(" |") + "|"]
    for system, row in rows.items():
        lines.append(
            f"| {system} | {row['recovery_seconds']} | {row['records_per_second']:,} "
            f"| {row['start_to_answer_seconds']} | {row['start_to_answer_empty_seconds']} "
            f"| {row['resident_bytes_per_customer']:,} | {row['resident_bytes_peak'] // 2**20:,} "
            f"| {row['state_bytes_p50']:,} / {row['state_bytes_mean']:,} "
            f"/ {row['state_bytes_p99']:,} |"
        )
    if rows.keys() >= set(SYSTEMS):
        ours, stock = rows["ours"], rows["stock-faust"]
        ratio = stock["recovery_seconds"] / ours["recovery_seconds"]
        whole = stock["start_to_answer_seconds"] / ours["start_to_answer_seconds"]
        lines += [
            "",
            f"Recovery of stock Faust takes {ratio:.1f} x as long (goal >= 10).",
            f"From process start to answer, it is {whole:.1f} x.",
        ]
    return "\n".join([*lines, "", *results.where(), ""])


if __name__ == "__main__":
    main()
