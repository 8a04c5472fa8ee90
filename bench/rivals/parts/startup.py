"""From the start of a process to its first answers, with nobody in the state.

Fresh topics, no files. Answered is a purchase on every partition, sent at the start; so what a
system does at its first start (topics of its own, tables, a group) is part of it, as it would be of
a new deployment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.rivals.arena import Arena, World
    from bench.rivals.lineup import Contestant


def run(arena: Arena) -> None:
    """Start every system, as often as the extent says."""
    for repetition, contestant in arena.turns(
        arena.extent.startup_repetitions, arena.extent.startup_systems
    ):
        key = f"startup/0/{contestant.name}/{repetition}"
        if key not in arena.runs:
            _start(arena, contestant, key)


def _start(arena: Arena, contestant: Contestant, key: str) -> None:
    world: World | None = None
    try:
        with (
            arena.world(contestant, populated=False) as world,
            arena.started(world) as (_, seconds),
        ):
            row = {"seconds": round(seconds, 2), "load_average": [os.getloadavg()[0]]}
    except Exception as error:  # noqa: BLE001 - One that cannot be measured stops no other one.
        arena.failed(key, world, error)
        return
    arena.keep(key, row, f"{seconds:.1f} s")
