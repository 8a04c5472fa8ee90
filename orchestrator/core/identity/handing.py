"""The end of an id: everything that is known of it leaves for the id that it turned out to be.

`decide` comes here with `MergeAsked` at the home of the absorbed id. What only this owner may do is
done here, under this id and its `sequence`: promotional messages on their way are cancelled, their
enrollments fenced, audiences left. Transactional and service messages stay on their way; they
travel as open commands, so that what their senders report still closes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from orchestrator.core.command import CommandClass
from orchestrator.core.customer import NO_KIN, Customer, FenceEntry, Habits, Kin, wake_at_ms
from orchestrator.core.decision import Decision, HandedOver, MergedInto, Outcome
from orchestrator.core.identity.addresses import release
from orchestrator.core.identity.ids import moved_enrollment
from orchestrator.core.identity.notices import StateMoved
from orchestrator.core.rules.ending import leave_audiences, recall
from orchestrator.core.rules.erasure import FENCE_GRACE_MS

if TYPE_CHECKING:
    from orchestrator.core.customer import Enrollment, OpenCommand
    from orchestrator.core.identity.notices import MergeAsked
    from orchestrator.core.rules.draft import Draft


def hand_over(draft: Draft, asked: MergeAsked) -> Decision:
    """Return the decision that leaves nothing here but a pointer to the survivor."""
    draft.forget_expired()
    moved = [_hand_over(draft, enrollment) for enrollment in draft.enrollments]
    release(draft)
    draft.log(MergedInto(asked.survivor))
    state = _leaving(draft, tuple(one for one in moved if one is not None))
    draft.notices.append(StateMoved(asked.survivor, state, asked.cause))
    fenced = max((held.expires_at_ms + FENCE_GRACE_MS for held in draft.fence), default=None)
    pointer = Customer(
        id=draft.customer.id,
        sequence=draft.sequence,
        now_ms=draft.now_ms,
        # What is older than an erasure of this id must not reach the survivor either.
        erased=None if draft.erased is None else replace(draft.erased, fenced_until_ms=None),
        kin=Kin(merged_into=asked.survivor, fenced_until_ms=fenced),
    )
    return replace(draft.seal(), customer=pointer, wake_at_ms=fenced)


def take_back_fences(pointer: Customer, now_ms: int) -> Decision:
    """Return the decision that takes back the fences of an absorbed id when their time has come.

    They name its enrollments. Nobody else would: its customer has another id, and is forgotten
    under that one.
    """
    kin, fence = pointer.kin or NO_KIN, None
    if kin.fenced_until_ms is not None and kin.fenced_until_ms <= now_ms:
        pointer = replace(pointer, now_ms=now_ms, kin=replace(kin, fenced_until_ms=None))
        fence = ()
    return Decision(
        outcome=Outcome.APPLIED,
        customer=pointer,
        now_ms=now_ms,
        fence=fence,
        wake_at_ms=wake_at_ms(pointer),
    )


def _hand_over(draft: Draft, enrollment: Enrollment) -> Enrollment | None:
    """Recall what advertises; return the enrollment as it goes on, None when nothing is left."""
    recalled = tuple(one for one in enrollment.open_commands if _is_recalled(one))
    draft.drop(enrollment)
    plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
    if plan is None or plan.promotional:
        fence = FenceEntry(
            enrollment=enrollment.id,
            ended_at_ms=draft.now_ms,
            sequence=draft.customer.sequence,
            expires_at_ms=max(enrollment.longest_expires_at_ms, draft.now_ms),
        )
        draft.fence_off(fence)
    recall(draft, enrollment, recalled)
    leave_audiences(draft, enrollment, step=enrollment.step)
    # Its numbers are of this id; beside those of the survivor they would say nothing.
    still_open = tuple(
        replace(one, sequence=0, customer=one.customer or draft.customer.id)
        for one in enrollment.open_commands
        if one.kind != "audience" and not _is_recalled(one)
    )
    goes_on = enrollment.step is not None or bool(still_open)
    becomes = moved_enrollment(enrollment.id, draft.customer.id) if goes_on else None
    cancelled = tuple(one.id for one in recalled)
    draft.log(HandedOver(enrollment.id, enrollment.journey, becomes, cancelled))
    if becomes is None:
        return None
    return replace(enrollment, id=becomes, open_commands=still_open)


def _is_recalled(command: OpenCommand) -> bool:
    return command.kind != "audience" and command.command_class == CommandClass.PROMOTIONAL


def _leaving(draft: Draft, enrollments: tuple[Enrollment, ...]) -> Customer:
    """Return what the survivor has to know, as this id would tell it of itself."""
    customer, contact = draft.customer, draft.contact
    kin = draft.kin or NO_KIN
    habits = kin.habits
    if draft.hours is not None or contact.responses:
        own = Habits(draft.now_ms, draft.hours, contact.responses)
        habits = {**habits, customer.id: own}
    promises = {
        name: promise
        if promise.enrollment is None
        else replace(promise, enrollment=moved_enrollment(promise.enrollment, customer.id))
        for name, promise in draft.promises.items()
    }
    return replace(
        customer,
        sequence=0,
        now_ms=draft.now_ms,
        enrollments=enrollments,
        fence=(),
        hours=None,
        contact=replace(contact, responses={}),
        promises=promises,
        erased=None,
        kin=Kin(
            absorbed={**kin.absorbed, customer.id: draft.now_ms}, habits=habits, asked=kin.asked
        ),
    )
