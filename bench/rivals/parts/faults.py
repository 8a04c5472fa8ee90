"""Rows of the fault matrix (`docs/faults.md`), played with every system that can be played.

The same load, the same fault, the same supervisor, which starts again whatever ends; the oracle of
the comparison judges the topics, and the group's offsets tell whether a system goes on. What comes
of it is the result: nobody is disqualified here.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.events import touches
from bench.load import producer_config, send
from bench.rivals.arena import owed
from bench.rivals.crew import crew
from bench.rivals.fault_table import SKIPPING
from bench.rivals.faults import FAULTS, is_event
from bench.systems import await_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.events import Touch
    from bench.rivals.arena import Arena, World
    from bench.rivals.crew import Crew
    from bench.rivals.faults import Fault
    from bench.rivals.lineup import Contestant
    from bench.systems import Deployment

RATE: Final = 150
CUSTOMERS: Final = 2_000
HEAP_MB: Final = 256
# How long a group may go on after the load, beside a session; Faust takes 5 s for a bad record.
SETTLE_SECONDS: Final = 45.0
BAD_RECORDS_SECONDS: Final = 45.0
# For the last words of a system that has committed everything.
WORDS_SECONDS: Final = 15.0


def run(arena: Arena) -> None:
    """Play every row with every system; who gives up after a bad record, also with what helps."""
    for number in arena.extent.fault_rows:
        fault = FAULTS[number]
        for repetition, contestant in arena.turns(
            arena.extent.fault_repetitions, arena.extent.fault_systems
        ):
            settings = [contestant]
            if fault.bad_records and contestant.skipping:
                settings.append(skipping(contestant))
            for one in settings:
                key = f"faults/{number}/{one.name}/{repetition}"
                if key in arena.runs:
                    continue
                if fault.processes > 1 and one.alone:
                    arena.keep(key, {"skipped": f"runs alone: {one.alone}"}, one.alone)
                else:
                    _play(arena, fault, replace(one, heap_mb=HEAP_MB), key)


def skipping(contestant: Contestant) -> Contestant:
    """Return it with the documented settings that let it go on after a record that it cannot."""
    return replace(
        contestant,
        name=f"{contestant.name}{SKIPPING}",
        settings=contestant.settings | contestant.skipping,
    )


def _play(arena: Arena, fault: Fault, contestant: Contestant, key: str) -> None:
    extent = replace(arena.extent, customers=CUSTOMERS, settle_seconds=WORDS_SECONDS)
    small = replace(arena, extent=extent)
    world: World | None = None
    try:
        with small.world(contestant) as world:
            row = _under_load(small, world, fault)
    except Exception as error:  # noqa: BLE001 - One that cannot be played stops no other one.
        arena.failed(key, world, error)
        return
    wrong = ", ".join(f"{kind} {count}" for kind, count in row["verdict"]["findings"].items())
    told = f"exits {row['exits']}, {row['owed']} undecided; {wrong or 'nothing lost or doubled'}"
    arena.keep(key, row, told)


def _under_load(arena: Arena, world: World, fault: Fault) -> dict[str, Any]:
    contestant = world.contestant
    seconds = fault.load_seconds(contestant.session_seconds)
    with crew(world, fault.processes) as processes:
        await_ready(processes.first(), world.deployment, seconds_max=120.0)
        processes.grow()
        settled = processes.exits()
        with feed(arena, world, fault, seconds) as sent:
            fault.strike(Stage(arena, processes, time.monotonic()))
        # Who has not committed an event may still decide it; who has, will not.
        settle = SETTLE_SECONDS + contestant.session_seconds
        left = owed(world.deployment, settle + BAD_RECORDS_SECONDS * fault.bad_records)
        verdict = arena.verdict(world, is_event=is_event)
        exits = {code: n - settled.get(code, 0) for code, n in processes.exits().items()}
        return {
            "rate": RATE,
            "seconds": seconds,
            "processes": fault.processes,
            "sent": len(sent),
            "bad_records": sum(not is_event(one.key, one.value) for one in sent),
            "exits": {str(code): n for code, n in exits.items() if n},
            "owed": left,
            "dead_letters": _records(world.deployment, f"{world.deployment.prefix}dead-letters"),
            "last_words": processes.last_words() if exits or left else "",
            "diary": processes.diary.entries[:40],
            "load_average": [os.getloadavg()[0]],
            "verdict": asdict(verdict),
        }


@dataclass(frozen=True, slots=True)
class Stage:
    """What a fault may strike at; `began` is the monotonic instant at which the load began."""

    arena: Arena
    processes: Crew
    began: float

    def at(self, seconds: float) -> None:
        """Wait until the load is so old."""
        time.sleep(max(0.0, self.began + seconds - time.monotonic()))


@contextmanager
def feed(arena: Arena, world: World, fault: Fault, seconds: float) -> Iterator[list[Touch]]:
    """Send the fault's load meanwhile; the way out is when everything was acknowledged.

    The producer is idempotent: a broker that dies makes it repeat, and nothing twice.
    """
    deployment = world.deployment
    start_ns = time.monotonic_ns() + 200_000_000
    planned = fault.told(list(touches(arena.workload, RATE, seconds, start_ns)))
    settings = producer_config(deployment.bootstrap_servers) | {"enable.idempotence": True}
    failed: list[int] = []

    def work() -> None:
        failed.append(send(Producer(settings), deployment.input_topic, planned)[0])

    sending = threading.Thread(target=work, daemon=True)
    sending.start()
    yield planned
    sending.join()
    if failed != [0]:
        raise RuntimeError(f"the broker did not take everything: {failed}")


def _records(deployment: Deployment, topic: str) -> int:
    """Return how many records were written to a topic, markers of transactions left out."""
    settings = {
        "bootstrap.servers": deployment.bootstrap_servers,
        "group.id": f"{deployment.prefix}count",
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "log_level": 2,
    }
    consumer = Consumer(settings)
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    left, count = set(partitions), 0
    deadline = time.monotonic() + WORDS_SECONDS
    while left and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None:
            continue
        if message.error():  # The end of a partition; nothing else is reported here.
            left.discard(message.partition())
        else:
            count += 1
    consumer.close()
    return count
