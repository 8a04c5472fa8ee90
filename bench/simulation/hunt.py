"""Histories one after the other, and whether anything in them must not be so."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, NamedTuple

from bench.simulation.judge.verdict import violations
from bench.simulation.plan import plan_of, play
from bench.simulation.planted import planted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bench.simulation.plan import Plan

DEFECT_SECONDS_MAX = 60.0


class Found(NamedTuple):
    """A history with violations, and how long it took to come there; seconds of one core."""

    seed: int
    violations: list[tuple[str, str]]
    histories: int
    seconds: float

    @property
    def checks(self) -> list[str]:
        """The checks that have found something, each once."""
        return list(dict.fromkeys(check for check, _ in self.violations))


def judged(plan: Plan) -> list[tuple[str, str]]:
    """Let a plan happen, and judge it."""
    return violations(play(plan), plan.flavour)


def hunt(
    seeds: Iterable[int], *, seconds_max: float, seen: Callable[[int], None] = lambda _: None
) -> Found | None:
    """Return the first seed whose history has a violation; None when time or seeds are over."""
    began = time.process_time()
    gc.freeze()  # Journeys and modules live for ever.
    for histories, seed in enumerate(seeds, 1):
        found = judged(plan_of(seed))
        seconds = time.process_time() - began
        if found:
            return Found(seed, found, histories, seconds)
        seen(histories)
        if seconds > seconds_max:
            break
    return None


def hunt_defect(
    name: str, seeds: Iterable[int], seconds_max: float = DEFECT_SECONDS_MAX
) -> Found | None:
    """Plant a bug and look for it."""
    with planted(name):
        return hunt(seeds, seconds_max=seconds_max)
