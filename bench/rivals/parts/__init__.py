"""The parts of `make bench-rivals`: each asks for worlds, and keeps a row for each run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.rivals.parts import (
    faults,
    growth,
    kill,
    latency,
    rate,
    rebalance,
    recovery,
    startup,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rivals.arena import Arena

PARTS: Final[dict[str, Callable[[Arena], None]]] = {
    "latency": latency.run,
    "cpu": latency.run_cpu,
    "rate": rate.run,
    "kill": kill.run,
    "recovery": recovery.run,
    "memory": recovery.run,  # The same runs tell both.
    "growth": growth.run,
    "startup": startup.run,
    "rebalance": rebalance.run,
    "faults": faults.run,
}
