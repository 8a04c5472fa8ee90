"""How enrollments end: at a goal, by an exit event at once, or because their step is gone.

`decide` comes here after the event was applied and before anything is entered: goals first, because
what reaches a goal often ends the enrollment too. What ending means stands in `ending`. The exit
event is remembered, because an entry older than it may be learned after it: one rule for order,
whichever comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from orchestrator.core.customer import (
    REMEMBERED_EXIT_MS,
    REMEMBERED_EXITS_MAX,
    Cause,
    Enrollment,
    RememberedExit,
)
from orchestrator.core.decision import EndReason, GoalReached
from orchestrator.core.event import BODY_BYTES, IDENTITY_BYTES, Event
from orchestrator.core.expressions.condition import NO_FIELDS, Failed
from orchestrator.core.identity.ids import moved_enrollment
from orchestrator.core.rules.ending import end
from orchestrator.core.rules.reach import send_farewell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.core.journeys import Plan
    from orchestrator.core.rules.draft import Draft

EXIT_REQUESTED: Final = "enrollment.exit_requested"


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


def end_by_event(draft: Draft, event: Event, occurred_ms: int) -> None:
    """End every enrollment that the event exits, in whatever step it stands, and what is gone."""
    plans, event_type = draft.journeys.plans, event.type
    on_request = _requested(draft, event) if event_type == EXIT_REQUESTED else None
    for enrollment in draft.enrollments:
        plan = plans.get((enrollment.journey, enrollment.version))
        if plan is None:
            # Its kind is unknown with its version, so that it counts as promotional.
            end(draft, enrollment, EndReason.VERSION_GONE, fenced=True)
        elif event_type in plan.exits and enrollment.entry_time_ms <= occurred_ms:
            _exit_if_matching(draft, plan, enrollment, event_type)
        elif enrollment.id == on_request:
            end(draft, enrollment, EndReason.EXIT, fenced=plan.promotional)
        elif enrollment.step is not None and enrollment.step not in plan.positions:
            end(draft, enrollment, EndReason.STEP_GONE, fenced=plan.promotional)
    if event_type in draft.journeys.exit_types:
        _remember(draft, event, occurred_ms)


def exited_later(draft: Draft, plan: Plan, would_be: Enrollment) -> RememberedExit | None:
    """Return the remembered exit that is not older than this entry and would have ended it."""
    return exit_of(draft, plan, draft.exits, would_be)


def exit_of(
    draft: Draft, plan: Plan, exits: Iterable[RememberedExit], enrollment: Enrollment
) -> RememberedExit | None:
    """Return the first of these exits that is not older than the entry and ends the enrollment."""
    for remembered in exits:
        if (
            remembered.type in plan.exits
            and remembered.time_ms >= enrollment.entry_time_ms
            and remembered.cause != enrollment.cause
            and _remembered_matches(draft, plan, remembered, enrollment)
        ):
            return remembered
    return None


def _requested(draft: Draft, event: Event) -> object:
    """Return the enrollment that somebody wants to end; by its old name when it came with an id."""
    name = event.data.get("enrollment")
    if isinstance(name, str) and event.subject != draft.customer.id:
        return moved_enrollment(name, event.subject)
    return name


def _exit_if_matching(draft: Draft, plan: Plan, enrollment: Enrollment, event_type: str) -> None:
    for exit_ in plan.exits[event_type]:
        holds = draft.scope.holds(exit_.when, enrollment)
        if holds is False:
            continue
        if isinstance(holds, Failed):
            # Nobody can say whether this exits. Promotion fails towards silence, the rest goes on.
            if plan.promotional:
                end(draft, enrollment, EndReason.STEP_FAILED, fenced=True, detail=holds.detail)
                return
            continue
        end(draft, enrollment, EndReason.EXIT, fenced=plan.promotional)
        # Who had already run to the end is not spoken to again, only no longer reached.
        if exit_.then is not None and enrollment.step is not None:
            send_farewell(draft, enrollment, exit_.then, kind=plan.journey.kind)
        return


def _remembered_matches(
    draft: Draft, plan: Plan, remembered: RememberedExit, would_be: Enrollment
) -> bool:
    exits = plan.exits[remembered.type]
    if any(one.when is None for one in exits):
        return True
    event = Event(
        source=remembered.cause.source,
        id=remembered.cause.id,
        type=remembered.type,
        subject=draft.customer.id,
        time_ms=remembered.time_ms,
        data=remembered.data,
        identity=bytes(IDENTITY_BYTES),
        body=bytes(BODY_BYTES),
    )
    scope = draft.scope_over(event)
    answers = (scope.holds(one.when, would_be) for one in exits)
    return any(plan.promotional if isinstance(holds, Failed) else holds for holds in answers)


def _remember(draft: Draft, event: Event, occurred_ms: int) -> None:
    """Keep the event for entries that are learned late; what the bound drops is counted."""
    oldest_ms = draft.now_ms - REMEMBERED_EXIT_MS
    if occurred_ms < oldest_ms:
        return
    remembered = RememberedExit(
        type=event.type,
        time_ms=occurred_ms,
        cause=Cause(event.source, event.id),
        data=draft.journeys.exit_fields.get(event.type, NO_FIELDS).pick(event.data),
    )
    kept = [held for held in draft.exits if held.time_ms >= oldest_ms]
    kept.append(remembered)
    while len(kept) > REMEMBERED_EXITS_MAX:
        kept.remove(min(kept, key=lambda held: held.time_ms))
        draft.exits_dropped += 1
    draft.exits = tuple(kept)
