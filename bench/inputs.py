"""What a mapped record costs beside the contract's envelope: `python -m bench.inputs`.

One worker with the shop in the box and the order system of docs/snippets/inputs. The same purchases
come in three ways, in turn, so that a machine that slows down slows all of them: as an envelope at
home, as an envelope in the wrong partition (forwarded, nothing mapped), and as an order of the
other team's (mapped, then forwarded). Processor time of the worker for each event, of the broker
too, and the wait until the purchase's first command could be read.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench.events import Touch, Workload, touches
from bench.load import producer_config
from bench.measure import Costs, collector
from bench.reader import histogram, percentiles
from bench.report import RESULTS, described, environment
from bench.systems import ROOT, Deployment, await_ready, running, send_population, shop_by_day
from orchestrator.broker import EmbeddedBroker
from orchestrator.catalog import load
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.inputs.mapping import Mapping
from orchestrator.protocol.inputs.schemas import Schemas
from orchestrator.protocol.inputs.trial import EVENT_BYTES_MAX, TrialRecord

if TYPE_CHECKING:
    from bench.reader import Collected
    from bench.systems import Running

EXAMPLE: Final = ROOT / "docs" / "snippets" / "inputs" / "inputs.yaml"
HOME, FORWARDED, MAPPED = "at home", "forwarded", "mapped"
WAYS: Final = (HOME, FORWARDED, MAPPED)
TOPICS: Final = {"erp.orders.v2": 12, "stores.receipts": 3, "wms.restocked": 1}
CUSTOMERS: Final = 2_000
DRAIN_SECONDS: Final = 120.0
# Customers come before, on a machine that may have much else to do.
READY_SECONDS: Final = 300.0
SETTLE_SECONDS: Final = 1.0


def order(value: bytes) -> bytes:
    """Return a purchase as the order system of the example writes it."""
    event = orjson.loads(value)
    data = event["data"]
    return orjson.dumps(
        {
            "status": "PAID",
            "order_no": data["order_id"],
            "event": event["id"],
            "customer": {"number": event["subject"]},
            "paid_ms": time.time_ns() // 1_000_000,
            "amount": {"gross": float(data["total"]), "currency": data["currency"]},
            "lines": [
                {
                    "article": item["sku"],
                    "group": item["category"],
                    "qty": item["quantity"],
                    "price": float(item["price"]),
                }
                for item in data["items"]
            ],
        }
    )


def example(prefix: str) -> str:
    """Return the inputs of the page under a prefix; the id carries the instant, as in all loads."""
    text = EXAMPLE.read_text("utf-8")
    for topic in TOPICS:
        text = text.replace(f"topic: {topic}", f"topic: {prefix}{topic}")
    # The examples tell of the ids that were replaced.
    kept = [part.partition("  examples:")[0] for part in text.split("\n\n")]
    return "\n\n".join(kept).replace('record.value.order_no + "/paid"', "record.value.event")


def send(deployment: Deployment, way: str, planned: list[Touch]) -> None:
    """Send purchases one way, each when its time has come."""
    producer = Producer(producer_config(deployment.bootstrap_servers))
    made = [order(one.value) if way == MAPPED else one.value for one in planned]
    for one, value in zip(planned, made, strict=True):
        while (ahead_ns := one.intended_ns - time.monotonic_ns()) > 0:
            producer.poll(0)
            time.sleep(min(ahead_ns / 1e9, 0.001))
        if way == MAPPED:
            topic = f"{deployment.prefix}erp.orders.v2"
            producer.produce(topic, key=one.id.encode(), value=value)
        elif way == HOME:
            producer.produce(deployment.input_topic, key=one.key, value=value)
        else:
            home = home_partition(one.key, deployment.partitions)
            elsewhere = (home + 1) % deployment.partitions
            producer.produce(deployment.input_topic, key=one.key, value=value, partition=elsewhere)
    if producer.flush(30):
        raise RuntimeError("the broker did not take the load")


def block(
    system: Running, deployment: Deployment, broker_pid: int, way: str, load: tuple[float, int, int]
) -> dict[str, Any]:
    """Send one block of purchases one way; return what it cost. `load` is rate, events, seed."""
    rate, count, seed = load
    workload = Workload(customers=CUSTOMERS, mix="purchases", seed=seed)
    start_ns = time.monotonic_ns() + 1_500_000_000
    planned = list(touches(workload, rate, 2 * count / rate, start_ns))[:count]
    with collector(deployment) as pipe:
        before = Costs.now(system, broker_pid)
        send(deployment, way, planned)
        pipe.send((len(planned), DRAIN_SECONDS))
        collected: Collected = pipe.recv()
        time.sleep(SETTLE_SECONDS)
        after = Costs.now(system, broker_pid)
    if len(collected.samples) < len(planned):
        raise RuntimeError(f"{way}: {len(collected.samples)} of {len(planned)} are visible")
    assert before.broker is not None
    assert after.broker is not None
    return {
        "way": way,
        "rate": rate,
        "events": len(planned),
        "worker_us": 1e6 * (after.system - before.system) / len(planned),
        "broker_us": 1e6 * (after.broker - before.broker) / len(planned),
        "latency_ms": percentiles(histogram(collected.samples)),
    }


def measure(rates: list[float], count: int, rounds: int) -> list[dict[str, Any]]:
    """Return all blocks, in the order in which they ran."""
    rows = []
    with EmbeddedBroker() as broker, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "journeys"
        shutil.copytree(shop_by_day(), folder)
        deployment = Deployment(broker.bootstrap_servers, "in.", journeys=folder)
        (folder / "inputs.yaml").write_text(example(deployment.prefix), "utf-8")
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        wanted = [NewTopic(f"{deployment.prefix}{name}", n, 1) for name, n in TOPICS.items()]
        for future in admin.create_topics(wanted).values():
            future.result()
        deployment.create_topics()
        send_population(deployment, Workload(customers=CUSTOMERS))
        with running("ours", deployment, Path(scratch) / "worker.log") as system:
            await_ready(system, deployment, seconds_max=READY_SECONDS)
            seed = 100
            for turn in range(-1, rounds):  # The first one warms everything up.
                for rate in rates:
                    for way in WAYS if turn % 2 == 0 else WAYS[::-1]:
                        seed += 1
                        row = block(system, deployment, broker.pid, way, (rate, count, seed))
                        worker, p50 = row["worker_us"], row["latency_ms"]["p50"]
                        click.echo(
                            f"{turn:>2} {rate:>6.0f}/s {way:<10} {worker:7.0f} us"
                            f"  p50 {p50:6.1f} ms"
                        )
                        rows += [row | {"round": turn}] if turn >= 0 else []
    return rows


def alone(passes: int = 7, count: int = 2_000) -> dict[str, float]:
    """Return the best pass of reading a purchase and of mapping an order, us for each; no Kafka."""
    journeys = Path(tempfile.mkdtemp(prefix="orchestrator-inputs-"))
    try:
        shutil.copytree(ROOT / "journeys", journeys, dirs_exist_ok=True)
        shutil.copy(EXAMPLE, journeys)
        declared = load(journeys, "test").inputs["shop_orders"]
    finally:
        shutil.rmtree(journeys)
    mapping = Mapping("shop_orders", declared, Schemas(), EVENT_BYTES_MAX)
    workload = Workload(customers=CUSTOMERS, mix="purchases")
    planned = list(touches(workload, 1_000, 2 * count / 1_000, time.monotonic_ns()))[:count]
    records = [TrialRecord(n, 0, None, order(one.value)) for n, one in enumerate(planned)]
    place = TopicPartition("erp.orders.v2", 0)
    best = {HOME: float("inf"), MAPPED: float("inf")}
    for _ in range(passes):
        started = time.thread_time()
        for one in planned:
            decode_event(one.key, one.value, (), event_bytes_max=EVENT_BYTES_MAX)
        between = time.thread_time()
        for record in records:
            mapping.events(place, record)
        ended = time.thread_time()
        best[HOME] = min(best[HOME], 1e6 * (between - started) / count)
        best[MAPPED] = min(best[MAPPED], 1e6 * (ended - between) / count)
    return best


def page(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table: the median of the rounds, and ratios within each round."""
    lines = [
        "| events/s | way | worker us/event | beside at home | broker us/event | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|---|",
    ]
    by_round: dict[tuple[float, int], dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        by_round[row["rate"], row["round"]][row["way"]] = row
    for rate in sorted({row["rate"] for row in rows}):
        rounds = [ways for (at, _), ways in by_round.items() if at == rate]
        for way in WAYS:
            of = [ways[way] for ways in rounds]
            ratios = [ways[way]["worker_us"] / ways[HOME]["worker_us"] for ways in rounds]
            lines.append(
                f"| {rate:,.0f} | {way} | {_median(one['worker_us'] for one in of):,.0f} | "
                f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f}) | "
                f"{_median(one['broker_us'] for one in of):,.0f} | "
                f"{_median(one['latency_ms']['p50'] for one in of):,.1f} | "
                f"{_median(one['latency_ms']['p99'] for one in of):,.1f} |"
            )
    return lines


def _median(values: Any) -> float:
    return statistics.median(values)


def report(kept: dict[str, Any]) -> list[str]:
    """Return the page about what was kept."""
    rows, read = kept["rows"], kept["alone_us"]
    count, rounds = rows[0]["events"], 1 + max(row["round"] for row in rows)
    about = (
        f"One worker, the shop in the box, {count:,} purchases in a block, {rounds} rounds of "
        "all blocks in turn; medians of the rounds, and the ratio within each round. `forwarded` "
        "is the hop that every mapped record takes as well, so that the rest is what mapping "
        "costs. Waits say something only when the machine had nothing else to do."
    )
    further = (
        "Without Kafka, processor time of a thread, the best of seven passes: reading an "
        f"envelope {read[HOME]:.0f} us, mapping an order of one line to a checked event "
        f"{read[MAPPED]:.0f} us."
    )
    head = ["# What a mapped record costs", "", about, ""]
    return [*head, *page(rows), "", further, "", described(kept["machine"])]


@click.command()
@click.option("--rates", default="200,2000", show_default=True, help="Events a second.")
@click.option("--events", "count", default=2_000, show_default=True, help="In a block.")
@click.option("--rounds", default=4, show_default=True)
@click.option("--quick", is_flag=True, help="Only see that it works; nothing is kept.")
def main(*, rates: str, count: int, rounds: int, quick: bool) -> None:
    """Measure, print the table, and write it to results/inputs.md with the raw rows beside it."""
    if quick:
        count, rounds = 300, 1
    machine = environment(embedded=True)
    read = alone()
    rows = measure([float(rate) for rate in rates.split(",")], count, rounds)
    kept = {"machine": machine, "rows": rows, "alone_us": read}
    lines = report(kept)
    click.echo("\n".join(lines))
    if not quick:
        (RESULTS / "inputs.json").write_bytes(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
        (RESULTS / "inputs.md").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
