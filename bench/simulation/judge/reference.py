"""The judge of the crash run as oracle: what every decision should have been, by its own reading.

It covers the language of the shop `guarded`. Where it learns more, so does the simulation.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from bench.crash.judge.checker import judge
from bench.crash.judge.reference import Model
from bench.simulation.shops import EVENT_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.crash.judge.history import History
    from bench.simulation.shops import Shop

# Thousands of histories want the journeys read once.
_model_of = cache(Model)
# Everybody may be dead for a while, and time goes by in jumps: nobody is late by a clock.
PATIENCE_MS = 600_000
# What is decided is committed by then, or never: a worker that sleeps longer is given up.
HEARD_MS = 9_000


def differences(history: History, shop: Shop) -> Iterator[tuple[str, str]]:
    """Yield what the crash judge finds: the law of FAULTS.md, and the finding."""
    report = judge(
        history,
        _model_of(shop.folder),
        lateness_ms_max=PATIENCE_MS,
        event_bytes_max=EVENT_BYTES_MAX,
        pause_lag_ms=HEARD_MS,
    )
    for one in report.violations:
        yield f"reference: {one.kind}", f"{one.what} {one.place or ''}"
