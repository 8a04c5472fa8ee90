"""Which promotion goes when several are due at once: one customer hears of one thing at a time.

The guard lets promotional messages of one decision stand at their steps; `decide` comes here when
all have been heard. The order is total and can be explained: the journey's priority, what expires
first, who entered first, the journey's name. The others are refused, and the log says to whom they
lost. Several messages of one enrollment do not compete with each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.core.rules.advance import Walk
    from orchestrator.core.rules.draft import Draft
    from orchestrator.core.rules.guard.checks import Attempt


def arbitrate(draft: Draft) -> None:
    """Let the first that may go do so, and everybody who stood at a step go on."""
    while draft.contenders:
        heard, draft.contenders = sorted(draft.contenders, key=_order), []
        for walk, attempt in heard:
            # The first that passes everything else and can be rendered is the one; who comes after
            # it is refused by the guard. On the way each may come to a further promotion.
            walk.take_chance(attempt.step)


def _order(contender: tuple[Walk, Attempt]) -> tuple[int, int, int, str, str]:
    walk, attempt = contender
    enrollment = walk.enrollment
    priority = walk.plan.journey.priority
    entered = enrollment.entered_at_ms
    return -priority, attempt.expires_at_ms, entered, enrollment.journey, enrollment.id
