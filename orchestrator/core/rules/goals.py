"""Goals: what a journey is for, and which message it is owed to.

`decide` comes here before the exits, because what reaches a goal often ends the enrollment too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from orchestrator.core.decision import EndReason, GoalReached
from orchestrator.core.rules.ending import end

if TYPE_CHECKING:
    from orchestrator.core.event import Event
    from orchestrator.core.rules.draft import Draft


def reach_goals(draft: Draft, event: Event, occurred_ms: int) -> None:
    """Note every enrollment that the event brings to its goal, and end those that end there."""
    for enrollment in draft.enrollments:
        plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
        goal = None if plan is None else plan.journey.goal
        if (
            plan is None
            or goal is None
            or goal.on != event.type
            or enrollment.goal_ms is not None
            or occurred_ms < enrollment.entry_time_ms
            or draft.scope.holds(goal.when, enrollment) is not True
        ):
            continue
        sent_ms = enrollment.last_sent_ms
        owed = sent_ms is not None and sent_ms >= occurred_ms - goal.within
        command = enrollment.sent[-1] if owed and enrollment.sent else None
        draft.log(GoalReached(enrollment.id, plan.name, plan.version, command))
        reached = replace(enrollment, goal_ms=occurred_ms)
        draft.put(reached)
        if goal.ends:
            end(draft, reached, EndReason.GOAL, fenced=plan.promotional)
