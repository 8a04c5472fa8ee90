"""Cuts a failing plan down to the smallest one that still fails the same check, and tells it.

Acts are left out, whole runs of them first, then one by one (delta debugging): every act stands for
itself, so what is left is a plan like any other.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.simulation.hunt import judged
from bench.simulation.plan import play

if TYPE_CHECKING:
    from bench.simulation.plan import Act, Plan

SECONDS_MAX = 120.0


def shrink(plan: Plan, *, seconds_max: float = SECONDS_MAX) -> Plan:
    """Return a smaller plan that is found by the same check; the same one when it is sound."""
    checks = {check for check, _ in judged(plan)}
    until = time.process_time() + seconds_max

    def fails(acts: list[Act]) -> bool:
        if time.process_time() > until:
            return False
        return any(check in checks for check, _ in judged(plan._replace(acts=tuple(acts))))

    acts = list(plan.acts)
    size = len(acts) // 2
    while size and checks:
        at, before = 0, len(acts)
        while at < len(acts):
            without = acts[:at] + acts[at + size :]
            if fails(without):
                acts = without
            else:
                at += size
        # As long as single acts still go, others may have become needless.
        size = size // 2 if size > 1 else int(len(acts) < before)
    return plan._replace(acts=tuple(acts))


def story(plan: Plan) -> list[str]:
    """Return what happens in a plan, one line after the other."""
    lines: list[str] = []
    play(plan, lines.append)
    return lines
