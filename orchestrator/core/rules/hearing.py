"""Waits that an event ends before their time, or starts again.

`decide` comes here after the exits and before the entries, so that what an event enters does not
hear it. A condition is asked when the wait begins (`advance`) and when the profile has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from orchestrator.core.condition import Failed
from orchestrator.core.decision import Moved
from orchestrator.core.rules.advance import lead
from orchestrator.core.rules.waiting import over_at_ms

if TYPE_CHECKING:
    from orchestrator.core.customer import Enrollment
    from orchestrator.core.event import Event
    from orchestrator.core.journey import Heard, Until, Wait
    from orchestrator.core.journeys import Plan
    from orchestrator.core.rules.draft import Draft

# Reports of senders. They are heard by the enrollment whose message they are about.
REPORTS: Final = "message."


def hear(draft: Draft, event: Event, occurred_ms: int) -> None:
    """Let those go on whose wait the event ends, and those wait anew whose wait it resets."""
    if event.type not in draft.journeys.heard:
        return
    changed = draft.attributes is not draft.customer.attributes
    for enrollment in draft.enrollments:
        plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
        position = None if plan is None else plan.positions.get(enrollment.step or "")
        if plan is None or position is None:
            continue
        wait = plan.journey.steps[position].wait
        if wait is None or not (wait.until or wait.reset_on):
            continue
        # Like an exit: what happened before the customer came in is not about this enrollment.
        told = event if occurred_ms >= enrollment.entry_time_ms else None
        arm = _ended_by(draft, enrollment, wait, told, changed=changed)
        if arm is not None:
            lead(draft, plan, enrollment, arm.next)
        elif any(_is_told(draft, enrollment, one, told) for one in wait.reset_on):
            _wait_anew(draft, plan, enrollment, wait)


def _ended_by(
    draft: Draft, enrollment: Enrollment, wait: Wait, event: Event | None, *, changed: bool
) -> Until | None:
    for arm in wait.until:
        if arm.event is not None:
            if _is_told(draft, enrollment, arm, event):
                return arm
        elif changed and draft.scope.holds(arm.when, enrollment) is True:
            return arm
    return None


def _is_told(
    draft: Draft, enrollment: Enrollment, heard: Until | Heard, event: Event | None
) -> bool:
    """Whether this is the event. What cannot be evaluated does not match: the wait has an end."""
    if event is None or heard.event != event.type:
        return False
    if event.type.startswith(REPORTS) and event.data.get("command_id") not in enrollment.sent:
        return False
    return draft.scope.holds(heard.when, enrollment) is True


def _wait_anew(draft: Draft, plan: Plan, enrollment: Enrollment, wait: Wait) -> None:
    wake_at_ms = over_at_ms(draft, plan, enrollment, wait)
    if isinstance(wake_at_ms, Failed):
        return  # It goes on as long as was said first.
    wake_at_ms = max(wake_at_ms, draft.now_ms)
    draft.put(replace(enrollment, wake_at_ms=wake_at_ms))
    draft.log(Moved(enrollment.id, enrollment.step or "", wake_at_ms))
