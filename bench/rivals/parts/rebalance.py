"""What customers notice when a second process joins under a steady load, and when it leaves.

Nothing but purchases, so that each event is a sample. The second process has a state folder of its
own; it leaves as operators let it: SIGTERM. Who cannot share its work is kept with the reason.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka.admin import AdminClient

from bench.events import Workload
from bench.load import Load, LoadReport, generate
from bench.measure import SPAWN, collector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.reader import Collected, Sample
    from bench.rivals.arena import Arena, World
    from bench.rivals.lineup import Contestant
    from bench.systems import Deployment

RATE: Final = 100
CUSTOMERS: Final = 2_000
ALONE_SECONDS: Final = 12.0
TOGETHER_SECONDS: Final = 25.0
# After the leaving: the longest patience of a group with who went without a word, and some more.
AFTER_SECONDS: Final = 15.0
DRAIN_SECONDS: Final = 30.0
WARM_UP_SECONDS: Final = 10.0


def run(arena: Arena) -> None:
    """Let every system that can be two take in a second process and let it go again."""
    small = replace(
        arena,
        extent=replace(arena.extent, customers=CUSTOMERS, jvm_warm_up_seconds=WARM_UP_SECONDS),
    )
    for repetition, contestant in arena.turns(
        arena.extent.rebalance_repetitions, arena.extent.rebalance_systems
    ):
        key = f"rebalance/{RATE}/{contestant.name}/{repetition}"
        if key in arena.runs:
            continue
        if contestant.alone:
            arena.keep(key, {"skipped": f"runs alone: {contestant.alone}"}, contestant.alone)
        else:
            _join_and_leave(small, contestant, key)


def load_seconds(contestant: Contestant) -> float:
    """Return how long the load lasts: its group may miss who has gone for a whole session."""
    return ALONE_SECONDS + TOGETHER_SECONDS + contestant.session_seconds + AFTER_SECONDS


def _join_and_leave(arena: Arena, contestant: Contestant, key: str) -> None:
    world: World | None = None
    try:
        with arena.world(contestant) as world:
            row = _under_load(arena, world)
    except Exception as error:  # noqa: BLE001 - One that cannot be measured stops no other one.
        arena.failed(key, world, error)
        return
    longest = ", ".join(
        f"{phase} {row[phase]['longest_wait_ms'] / 1_000:.2f} s"
        for phase in ("alone", "join", "leave")
    )
    wrong = row["verdict"]["findings"] or "nothing wrong"
    arena.keep(key, row, f"longest wait: {longest}; {row['members']} members; {wrong}")


def _under_load(arena: Arena, world: World) -> dict[str, Any]:
    deployment, seconds = world.deployment, load_seconds(world.contestant)
    load = Load(
        deployment.bootstrap_servers,
        deployment.input_topic,
        RATE,
        seconds,
        0.0,
        Workload(CUSTOMERS, mix="purchases", seed=arena.seed),
    )
    second = replace(world, folder=world.folder / "second", slot="slot-1")
    second.folder.mkdir()
    with arena.started(world) as (process, _):
        arena.warm_up(world, process)
        with collector(deployment) as pipe, ProcessPoolExecutor(1, SPAWN) as generator:
            sending = generator.submit(generate, load)
            time.sleep(ALONE_SECONDS)
            joined_ns = time.monotonic_ns()
            with arena.launched(second):
                time.sleep(TOGETHER_SECONDS)
                members = _members(deployment)
                left_ns = time.monotonic_ns()
            report: LoadReport = sending.result()
            pipe.send((report.purchases, DRAIN_SECONDS))
            if not pipe.poll(DRAIN_SECONDS + 60):
                raise RuntimeError("the collector did not report")
            collected: Collected = pipe.recv()
        verdict = arena.verdict(world)
    if members < 2:
        raise RuntimeError(f"the second process did not join: {members} members")
    return {
        "rate": RATE,
        "purchases": report.purchases,
        "unanswered": report.purchases - len(collected.samples),
        "members": members,
        **pauses(collected.samples, joined_ns, left_ns),
        "valid": report.valid,
        "load_average": [os.getloadavg()[0]],
        "verdict": asdict(verdict),
    }


def pauses(samples: Sequence[Sample], joined_ns: int, left_ns: int) -> dict[str, dict[str, float]]:
    """Return for each phase what its customers waited, by when their answers became visible.

    `longest_wait_ms` is from when a purchase was meant to be sent; `longest_silence_ms` between one
    answer and the next, whoever it was for.
    """
    bounds = {"alone": (0, joined_ns), "join": (joined_ns, left_ns), "leave": (left_ns, 1 << 63)}
    ordered = sorted(samples, key=lambda sample: sample[1])
    gaps = [(late, late - soon) for (_, soon), (_, late) in pairwise(ordered)]
    told = {}
    for phase, (first, end) in bounds.items():
        waits = [seen - meant for meant, seen in ordered if first <= seen < end]
        silent = [gap for at, gap in gaps if first <= at < end]
        told[phase] = {
            "answers": len(waits),
            "median_wait_ms": median(waits) / 1e6 if waits else 0.0,
            "longest_wait_ms": max(waits, default=0) / 1e6,
            "longest_silence_ms": max(silent, default=0) / 1e6,
        }
    return told


def _members(deployment: Deployment) -> int:
    """Return how many members its group has."""
    admin = AdminClient({"bootstrap.servers": deployment.bootstrap_servers, "log_level": 2})
    (described,) = admin.describe_consumer_groups([deployment.app_id]).values()
    return len(described.result(10).members)
