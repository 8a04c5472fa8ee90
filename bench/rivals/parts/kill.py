"""`kill -9` in the middle of the load, and a restart at once: who loses, who doubles, how long.

The same for every system, its state folder kept as a machine would keep it. The oracle judges what
stands on the topics when it is quiet again; the gap is the longest time without a visible command.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from bench.load import Load, LoadReport, generate
from bench.measure import SPAWN, collector

if TYPE_CHECKING:
    from bench.reader import Collected
    from bench.rivals.arena import Arena, World
    from bench.rivals.lineup import Contestant

RATE: Final = 500
# A group may wait 45 s for a member that will not come back: the default of most clients.
ANSWER_SECONDS_MAX: Final = 75.0


def run(arena: Arena) -> None:
    """Kill every system as often as the extent says, each time somewhere else in its work."""
    for repetition, contestant in arena.turns(
        arena.extent.kill_repetitions, arena.extent.kill_systems
    ):
        key = f"kill/{RATE}/{contestant.name}/{repetition}"
        if key not in arena.runs:
            _kill(arena, contestant, key, repetition)


def _kill(arena: Arena, contestant: Contestant, key: str, repetition: int) -> None:
    world: World | None = None
    try:
        with arena.world(contestant) as world:
            row = _under_load(arena, world, repetition)
            verdict = arena.verdict(world)
    except Exception as error:  # noqa: BLE001 - One that cannot be measured stops no other one.
        arena.failed(key, world, error)
        return
    wrong = ", ".join(f"{kind} {count}" for kind, count in verdict.findings.items())
    told = f"silent for {row['gap_seconds']:.1f} s; {wrong or 'nothing lost, nothing doubled'}"
    arena.keep(key, row | {"verdict": asdict(verdict)}, told)


def _under_load(arena: Arena, world: World, repetition: int) -> dict[str, Any]:
    """Start, load, kill, start again; return how long nothing was heard."""
    extent, deployment = arena.extent, world.deployment
    load = Load(
        deployment.bootstrap_servers,
        deployment.input_topic,
        RATE,
        extent.kill_seconds,
        0.0,
        arena.workload,
    )
    with collector(deployment) as pipe, ProcessPoolExecutor(1, SPAWN) as generator:
        with arena.started(world) as (process, _):
            sending = generator.submit(generate, load)
            # Somewhere else in a commit each time.
            time.sleep(extent.kill_seconds / 3 + 0.137 * repetition)
            process.process.kill()
            killed_ns = time.monotonic_ns()
            process.process.wait()
        with arena.launched(world):
            report: LoadReport = sending.result()
            pipe.send((report.purchases, ANSWER_SECONDS_MAX))
            if not pipe.poll(ANSWER_SECONDS_MAX + 60):
                raise RuntimeError("the collector did not report")
            collected: Collected = pipe.recv()
            # The system lives until the oracle has seen what it still had to say.
            arena.verdict(world)
    return {
        "rate": RATE,
        "sent": report.sent,
        "purchases": report.purchases,
        "answered": len(collected.samples),
        "gap_seconds": _gap_seconds([seen for _, seen in collected.samples], killed_ns),
        "valid": report.valid,
    }


def _gap_seconds(seen_ns: list[int], killed_ns: int) -> float:
    """Return the longest silence that began around the kill or after it."""
    times = sorted(seen_ns)
    gaps = [(b - a) / 1e9 for a, b in pairwise(times) if b > killed_ns]
    return max(gaps, default=ANSWER_SECONDS_MAX)
