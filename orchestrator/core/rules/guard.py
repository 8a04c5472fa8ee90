"""May this go out now? What a pause holds back or drops, and how an enrollment is held.

`reach` asks before a step reaches anybody. A held enrollment stays at its step; when it is looked
at again the step is taken anew, so that everything is checked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.customer import PAUSED
from orchestrator.core.decision import Held, Refusal, SendRefused

if TYPE_CHECKING:
    from orchestrator.core.command import CommandClass
    from orchestrator.core.customer import Enrollment
    from orchestrator.core.pauses import Pause
    from orchestrator.core.rules.advance import Walk
    from orchestrator.core.rules.draft import Draft


def hold(
    walk: Walk, step_id: str, reason: str, until_ms: int, *, channel: str, detail: str | None = None
) -> None:
    """Let the enrollment stay at this step; at `until_ms` at the latest the step is taken again."""
    before = walk.enrollment
    walk.held = True
    walk.draft.put(walk.taken(step_id, until_ms, held=reason))
    if (before.held, before.step, before.wake_at_ms) == (reason, step_id, until_ms):
        return  # It was looked at again, and nothing has changed.
    walk.draft.log(Held(before.id, before.journey, step_id, channel, reason, until_ms, detail))


def is_stopped(
    walk: Walk, step_id: str, channel: str, command_class: CommandClass, expires_at_ms: int
) -> bool:
    """Whether a pause keeps the step from going out: it is held until it expires, or dropped."""
    pause = pause_on(walk.draft, walk.plan.name, channel, command_class)
    if pause is None:
        return False
    if pause.kill:
        reason, detail = Refusal.PAUSED, pause.sentence()
        refuse(walk.draft, walk.enrollment, step_id, channel, reason=reason, detail=detail)
        return True
    if walk.draft.now_ms > expires_at_ms:
        return False  # Nothing is left to hold; it is refused as expired.
    # The first instant at which it is too late: then the step is taken again, and refused.
    until_ms, detail = expires_at_ms + 1, pause.sentence()
    hold(walk, step_id, PAUSED, until_ms, channel=channel, detail=detail)
    return True


def pause_on(draft: Draft, journey: str, channel: str, command_class: CommandClass) -> Pause | None:
    """Return the pause that concerns such a command; the decision's log record will name it."""
    pauses = draft.journeys.pauses
    pause = pauses.of(journey=journey, channel=channel, command_class=command_class)
    if pause is not None:
        draft.paused[pause.scope] = pause
    return pause


def refuse(
    draft: Draft,
    enrollment: Enrollment,
    step: str,
    channel: str,
    *,
    reason: Refusal,
    detail: str | None = None,
) -> None:
    """Log that something was not sent, and why."""
    draft.log(
        SendRefused(
            enrollment=enrollment.id,
            journey=enrollment.journey,
            step=step,
            channel=channel,
            reason=reason,
            detail=detail,
        )
    )
