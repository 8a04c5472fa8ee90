"""How long a part of `make bench-rivals` takes, said before it begins; from runs on two cores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from bench.rivals.faults import FAULTS
from bench.rivals.parts import faults, rebalance, recovery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rivals.arena import Extent
    from bench.rivals.lineup import Contestant

# Topics, start and first answer, oracle and removal of a world.
WORLD_SECONDS: Final = 20.0
DRAIN_SECONDS: Final = 4.0
# Probes of a ramp until its first failure; bisecting comes on top.
DOUBLINGS: Final = 5
# Where a group waits for the dead, and the oracle for the last word.
AFTER_KILL_SECONDS: Final = 30.0
RECOVERY_SECONDS_PER_MILLION: Final = {
    "ours": 30.0,
    "confluent_loop": 30.0,
    "streams": 60.0,
    "faust": 330.0,
}
FILL_SECONDS_PER_MILLION: Final = 45.0
DECISIONS_SECONDS: Final = 40.0


def minutes(part: str, extent: Extent, contestants: Sequence[Contestant]) -> float:
    """Return the minutes that a part takes; 0 for one that another one brings along."""
    jvm = extent.jvm_warm_up_seconds
    match part:
        case "latency":
            each = extent.warm_up_seconds + extent.seconds + DRAIN_SECONDS
            chosen = _those(extent.latency_systems, contestants)
            lives = [_life(one, jvm) + each * len(extent.rates) for one in chosen]
            seconds = sum(lives) * extent.repetitions
        case "rate":
            each = extent.warm_up_seconds + extent.ramp_seconds + DRAIN_SECONDS
            chosen = _those(extent.ramp_systems, contestants)
            probes = DOUBLINGS + math.ceil(math.log2(math.log(2) / math.log(extent.ramp_precision)))
            lives = [_life(one, jvm) + each * probes for one in chosen]
            seconds = sum(lives) * extent.ramp_repetitions
        case "kill":
            each = WORLD_SECONDS + extent.kill_seconds + AFTER_KILL_SECONDS
            chosen = _those(extent.kill_systems, contestants)
            seconds = each * len(chosen) * extent.kill_repetitions
        case "startup":
            chosen = _those(extent.startup_systems, contestants)
            seconds = WORLD_SECONDS * len(chosen) * extent.startup_repetitions
        case "rebalance":
            seconds = extent.rebalance_repetitions * sum(
                _life(one, rebalance.WARM_UP_SECONDS) + rebalance.load_seconds(one) + DRAIN_SECONDS
                for one in _those(extent.rebalance_systems, contestants)
                if not one.alone
            )
        case "faults":
            seconds = extent.fault_repetitions * sum(
                WORLD_SECONDS + fault.load_seconds(one.session_seconds) + faults.WORDS_SECONDS
                for fault in map(FAULTS.__getitem__, extent.fault_rows)
                for one in _those(extent.fault_systems, contestants)
                for _ in range(1 + (fault.bad_records and bool(one.skipping)))
            )
        case "recovery":
            millions = extent.recovery_customers / 1e6
            seconds = extent.recovery_repetitions * sum(
                2 * WORLD_SECONDS
                + millions * (FILL_SECONDS_PER_MILLION + RECOVERY_SECONDS_PER_MILLION[one.kind])
                for one in _those(extent.recovery_systems, contestants)
                if one.kind in recovery.KINDS
            )
        case "growth":
            worlds = 2 * len(extent.growth_customers)
            filled = 2 * sum(extent.growth_customers) / 1e6
            each = WORLD_SECONDS + extent.growth_seconds + DRAIN_SECONDS
            filling = filled * (FILL_SECONDS_PER_MILLION + RECOVERY_SECONDS_PER_MILLION["ours"])
            seconds = DECISIONS_SECONDS + worlds * each + filling
        case _:  # `cpu` and `memory` are told by the runs of `latency` and `recovery`.
            seconds = 0.0
    return seconds / 60


def _those(names: tuple[str, ...], contestants: Sequence[Contestant]) -> list[Contestant]:
    return [one for one in contestants if one.name in (names or {one.name})]


def _life(contestant: Contestant, jvm_warm_up_seconds: float) -> float:
    return WORLD_SECONDS + (jvm_warm_up_seconds if contestant.is_jvm else 0.0)
