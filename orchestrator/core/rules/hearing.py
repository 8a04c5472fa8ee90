"""Waits that an event ends before their time, or starts again.

`decide` comes here after the exits and before the entries, so that what an event enters does not
hear it. A condition is asked when the wait begins (`advance`) and when the profile has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from orchestrator.core.contact import REACHED
from orchestrator.core.decision import Moved
from orchestrator.core.expressions.condition import Failed
from orchestrator.core.people.tasks import has_task
from orchestrator.core.rules.advance import arrive, go_on, lead
from orchestrator.core.rules.waiting import over_at

if TYPE_CHECKING:
    from orchestrator.core.customer import Enrollment
    from orchestrator.core.event import Event
    from orchestrator.core.journeys import Plan
    from orchestrator.core.language.words import Heard, Until, Wait
    from orchestrator.core.rules.draft import Draft

# Reports of senders. They are heard by the enrollment whose message they are about.
REPORTS: Final = "message."
# What our people report is heard by the enrollment whose task it is about.
TASKS: Final = frozenset({"task.claimed", "task.closed"})
# A condition is asked again when this has come; `Journeys.heard` says so of its journeys.
PROFILE: Final = "profile.updated"


def hear(draft: Draft, event: Event, occurred_ms: int) -> None:
    """Let those go on whose wait the event ends, and those wait anew whose wait it resets."""
    changed = draft.attributes is not draft.customer.attributes
    for enrollment in draft.enrollments:
        # Like an exit: what happened before the customer came in is not about this enrollment.
        told = event if occurred_ms >= enrollment.entry_time_ms else None
        _listen(draft, enrollment, told, changed=changed)


def hear_profile(draft: Draft) -> None:
    """Let those go on who wait for what a step has just written into the profile."""
    if PROFILE in draft.journeys.heard:
        for enrollment in draft.enrollments:
            _listen(draft, enrollment, None, changed=True)


def hear_report(draft: Draft, event: Event) -> None:
    """Let a message arrive that somebody waits for, or let the next channel be tried."""
    command_id = event.data.get("command_id")
    for enrollment in draft.enrollments:
        if enrollment.awaited is not None and enrollment.awaited == command_id:
            # What nobody knows the fate of may have arrived: no second one then.
            if event.type in REACHED or event.data.get("reason") == "unknown":
                arrive(draft, enrollment)
            else:
                go_on(draft, enrollment)


def _listen(draft: Draft, enrollment: Enrollment, event: Event | None, *, changed: bool) -> None:
    plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
    position = None if plan is None else plan.positions.get(enrollment.step or "")
    if plan is None or position is None:
        return
    wait = plan.journey.steps[position].wait
    if wait is None or not (wait.until or wait.reset_on):
        return
    best = _arm(draft, enrollment, wait, event, changed=changed)
    if best is not None and (best == 0 or not wait.ranked):
        lead(draft, plan, enrollment, wait.until[best].next)
    elif best is not None and (enrollment.best_arm is None or best < enrollment.best_arm):
        draft.put(replace(enrollment, best_arm=best))
    elif any(_is_told(draft, enrollment, one, event) for one in wait.reset_on):
        _wait_anew(draft, plan, enrollment, wait)


def _arm(
    draft: Draft, enrollment: Enrollment, wait: Wait, event: Event | None, *, changed: bool
) -> int | None:
    """Return the first arm that has come."""
    for index, arm in enumerate(wait.until):
        if arm.event is not None:
            if _is_told(draft, enrollment, arm, event):
                return index
        elif changed and draft.scope.holds(arm.when, enrollment) is True:
            return index
    return None


def _is_told(
    draft: Draft, enrollment: Enrollment, heard: Until | Heard, event: Event | None
) -> bool:
    """Whether this is the event. What cannot be evaluated does not match: the wait has an end."""
    if event is None or heard.event != event.type:
        return False
    if event.type.startswith(REPORTS) and event.data.get("command_id") not in enrollment.sent:
        return False
    if event.type in TASKS and not _had_task(draft, enrollment, event.data.get("task_id")):
        return False
    return draft.scope.holds(heard.when, enrollment) is True


def _had_task(draft: Draft, enrollment: Enrollment, task_id: object) -> bool:
    """Whether the task was one of this enrollment; closing it has taken it out of the draft."""
    return any(
        one.id == enrollment.id and has_task(one, task_id) for one in draft.customer.enrollments
    )


def _wait_anew(draft: Draft, plan: Plan, enrollment: Enrollment, wait: Wait) -> None:
    over = over_at(draft, plan, enrollment, wait)
    if isinstance(over, Failed):
        return  # It goes on as long as was said first.
    wake_at_ms = max(over.at_ms, draft.now_ms)
    draft.put(replace(enrollment, wake_at_ms=wake_at_ms))
    draft.log(Moved(enrollment.id, enrollment.step or "", wake_at_ms, over.why))
