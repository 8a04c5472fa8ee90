"""A million malformed records among valid traffic through the real worker, judged from the topics.

Every consumed record must have become exactly one thing: applied, a duplicate, forwarded or a dead
letter; the valid purchases among them must be answered; the one worker process must live through
it and must never stand still while there is something to do. Exits 1 when any of that is not so.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Final

import click
import orjson
from confluent_kafka import Consumer, TopicPartition

from bench.events import Workload
from bench.malformed.feed import Fed, Feed, send
from bench.malformed.judge import judge
from bench.measure import collector
from bench.reader import consumer_config, histogram, percentiles
from bench.report import RESULTS, Results, environment
from bench.run import broker
from bench.systems import Deployment, Running, await_ready, running, send_population

STALL_SECONDS_MAX: Final = 10.0
LOOK_SECONDS: Final = 0.5
QUIET_SECONDS: Final = 4.0


def await_consumed(deployment: Deployment, system: Running, feeding: Future[Fed]) -> float:
    """Wait until everything fed is consumed by the group; return its longest standstill.

    Raises RuntimeError when the worker ends or stands still for too long with work to do.
    """
    consumer = Consumer(consumer_config(deployment.bootstrap_servers, deployment.app_id))
    numbers = range(deployment.partitions)
    inputs = [TopicPartition(deployment.input_topic, number) for number in numbers]
    forwards = [TopicPartition(deployment.forward_topic, number) for number in numbers]
    last, since, longest = [-1], time.monotonic(), 0.0
    while True:
        finished = feeding.done()
        ends = [consumer.get_watermark_offsets(tp, timeout=10)[1] for tp in inputs]
        at = [max(0, tp.offset) for tp in consumer.committed(inputs + forwards, timeout=10)]
        behind = sum(ends) - sum(at[: len(ends)])
        now = time.monotonic()
        if at != last:
            last, since = at, now
        if behind:
            longest = max(longest, now - since)
        if not system.alive():
            raise RuntimeError(f"the worker ended:\n{system.tail()}")
        if longest > STALL_SECONDS_MAX:
            raise RuntimeError(f"the worker stands still, {behind} behind:\n{system.tail()}")
        # The forward topic ends with commit markers, which are no records: it is done when quiet.
        if finished and not behind and now - since > QUIET_SECONDS:
            consumer.close()
            return longest
        time.sleep(LOOK_SECONDS)


def run(deployment: Deployment, feed: Feed, results: Results) -> dict[str, Any]:
    """Start the worker, feed it, judge it."""
    deployment.create_topics()
    send_population(deployment, Workload(customers=1_000))
    log = results.logs / f"{deployment.prefix}worker.log"
    spawn = multiprocessing.get_context("spawn")
    try:
        with running("ours", deployment, log) as worker:
            await_ready(worker, deployment)
            with collector(deployment) as pipe, ProcessPoolExecutor(1, spawn) as feeder:
                started = time.monotonic()
                feeding = feeder.submit(send, deployment, feed)
                stall = await_consumed(deployment, worker, feeding)
                seconds = time.monotonic() - started
                fed = feeding.result()
                pipe.send((sys.maxsize, QUIET_SECONDS))
                samples = [sample for sample in pipe.recv().samples if sample[0] in fed.purchases]
        verdict = judge(deployment)
    finally:
        deployment.delete_topics()
    return {
        "malformed": fed.records,
        "refused_by_client": fed.refused_by_client,
        "seconds": round(seconds, 1),
        "consumed": verdict.consumed,
        "outcomes": dict(verdict.outcomes),
        "dead_letters": dict(verdict.reasons.most_common()),
        "lost": len(verdict.lost),
        "doubled": len(verdict.doubled),
        "examples": (verdict.lost + verdict.doubled)[:10],
        "balanced": verdict.balanced,
        "valid_purchases": len(fed.purchases),
        "valid_purchases_unanswered": len(fed.purchases) - len(samples),
        "valid_purchases_ms": percentiles(histogram(samples)),
        "standstill_seconds_max": round(stall, 1),
    }


@click.command(epilog="Example: python -m bench.malformed --count 1000000 --rate 3000")
@click.option("--count", default=1_000_000, show_default=True)
@click.option("--rate", default=3_000.0, show_default=True, help="Malformed records a second.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--name", default="malformed", show_default=True, help="Results go to results/NAME.json."
)
@click.option("--bootstrap-servers", help="A running broker; without it, the embedded one.")
def main(count: int, rate: float, seed: int, name: str, bootstrap_servers: str | None) -> None:
    """Send malformed records and check that each became exactly one thing."""
    results = Results(RESULTS / f"{name}.json", environment(embedded=not bootstrap_servers))
    with broker(bootstrap_servers) as target:
        deployment = Deployment(target.bootstrap_servers, f"malformed-{results.token}-")
        row = run(deployment, Feed(count, rate, seed), results)
    results.add(f"malformed/{count}/ours/{seed}", row)
    click.echo(orjson.dumps(row, option=orjson.OPT_INDENT_2))
    if not row["balanced"] or row["valid_purchases_unanswered"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
