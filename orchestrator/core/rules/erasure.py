"""The customer is forgotten: everything ends, is recalled and removed; a marker stays.

`decide` comes here with `customer.erased`, and asks here first about everything that arrives after
it. The marker says up to when nothing counts. It keeps what has no person in it: the sequence of
commands, the last ordinal of an enrollment, the removals from audiences that nobody has
acknowledged yet, and one fence for everything that senders may still have before them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from orchestrator.core.command import SOURCE
from orchestrator.core.contact import removed
from orchestrator.core.customer import Contact, Erased, FenceEntry, wake_at_ms
from orchestrator.core.decision import CustomerErased, Decision, Ended, EndReason, Outcome
from orchestrator.core.rules.ending import leave_audiences, recall

if TYPE_CHECKING:
    from orchestrator.core.customer import Customer, Enrollment
    from orchestrator.core.event import Event
    from orchestrator.core.rules.draft import Draft

CUSTOMER_ERASED: Final = "customer.erased"
# The fence of all enrollments of a customer; no journey can have this name.
EVERY_ENROLLMENT: Final = "*"
# A sender's clock may be behind; its fences stay so much longer.
FENCE_GRACE_MS: Final = 300_000
# What others report on things that are gone, and a merge: no one comes back by these.
_REPORTS: Final = ("message.", "task.", "audience.")
_NO_BEGINNINGS: Final = frozenset({"enrollment.exit_requested", "profile.identified"})


def is_forgotten(customer: Customer) -> bool:
    """Whether only the marker of an erasure is there: nothing has begun anew since."""
    return customer.erased is not None and not customer.seen


def after_erasure(customer: Customer, event: Event, now_ms: int) -> Decision | None:
    """Return what becomes of an event that finds a marker; None when it is decided as any other."""
    erased = customer.erased
    if erased is None:
        return None
    outcome, after = Outcome.IGNORED, customer
    if min(event.time_ms, now_ms) > erased.at_ms:
        if not is_forgotten(customer) or not _is_about_the_past(event):
            return None
        contact = removed(customer.contact, event.data.get("command_id"))
        if event.type == "audience.applied" and contact is not customer.contact:
            outcome, after = Outcome.APPLIED, replace(customer, now_ms=now_ms, contact=contact)
    return Decision(outcome=outcome, customer=after, now_ms=now_ms, wake_at_ms=wake_at_ms(after))


def erase(draft: Draft, occurred_ms: int) -> Decision:
    """Return the decision that forgets the customer as of the time at which that was asked for."""
    before = draft.customer
    listed = [
        held
        for held in draft.fence
        if held.expires_at_ms >= draft.now_ms and held.enrollment != EVERY_ENROLLMENT
    ]
    number = len(draft.enrollments)
    draft.promises = {}  # No word about each of them: they are gone with the rest.
    for enrollment in draft.enrollments:
        plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
        if plan is None or plan.promotional:
            listed.append(_fence(draft, enrollment))
        _end(draft, enrollment)
    at_ms = occurred_ms if before.erased is None else max(occurred_ms, before.erased.at_ms)
    draft.log(CustomerErased(until_ms=at_ms, enrollments=number))
    expires_at_ms = max((held.expires_at_ms for held in (*listed, *draft.fence)), default=0)
    fenced = expires_at_ms >= draft.now_ms
    everything = FenceEntry(EVERY_ENROLLMENT, draft.now_ms, before.sequence, expires_at_ms)
    draft.erased = Erased(
        at_ms=at_ms,
        entries=_last_ordinal(before),
        fenced_until_ms=expires_at_ms + FENCE_GRACE_MS if fenced else None,
    )
    sealed = draft.seal()
    # Senders are told the enrollments by name, once; what is kept here says none.
    told = (*listed, everything) if fenced else ()
    return replace(
        sealed,
        customer=_marker(sealed.customer, (everything,) if fenced else ()),
        fence=told if told or before.fence else None,
        wake_at_ms=draft.erased.fenced_until_ms,
    )


def lift_fence(draft: Draft) -> None:
    """Take back the fence of an erasure when no sender can meet anything behind it any more."""
    erased = draft.erased
    if erased is None or erased.fenced_until_ms is None or erased.fenced_until_ms > draft.now_ms:
        return
    draft.erased = replace(erased, fenced_until_ms=None)
    kept = tuple(held for held in draft.fence if held.expires_at_ms >= draft.now_ms)
    if len(kept) < len(draft.fence):
        draft.fence = kept


def _is_about_the_past(event: Event) -> bool:
    return event.source == SOURCE or event.type.startswith(_REPORTS) or event.type in _NO_BEGINNINGS


def _end(draft: Draft, enrollment: Enrollment) -> None:
    """End an enrollment under a name that does not hold its key, which the shop has given it."""
    nameless = replace(enrollment, id=_without_key(enrollment), key=None)
    recalled = tuple(one for one in enrollment.open_commands if one.kind != "audience")
    draft.log(
        Ended(
            enrollment=nameless.id,
            journey=enrollment.journey,
            version=enrollment.version,
            reason=EndReason.ERASED,
            step=enrollment.step,
            cancelled=tuple(one.id for one in recalled),
        )
    )
    draft.drop(enrollment)
    recall(draft, nameless, recalled)
    leave_audiences(draft, nameless, step=enrollment.step)


def _without_key(enrollment: Enrollment) -> str:
    """Return the id as it would be without an instance key; the ordinal tells it apart."""
    return f"{enrollment.journey}#{enrollment.id.rpartition('#')[2]}"


def _fence(draft: Draft, enrollment: Enrollment) -> FenceEntry:
    return FenceEntry(
        enrollment=enrollment.id,
        ended_at_ms=draft.now_ms,
        sequence=draft.customer.sequence,
        expires_at_ms=max(enrollment.longest_expires_at_ms, draft.now_ms),
    )


def _last_ordinal(customer: Customer) -> int:
    before = 0 if customer.erased is None else customer.erased.entries
    return max((memory.entries for memory in customer.memories.values()), default=before)


def _marker(customer: Customer, fence: tuple[FenceEntry, ...]) -> Customer:
    """Return what stays of a customer. Whatever a later release adds is gone by default."""
    return type(customer)(
        id=customer.id,
        sequence=customer.sequence,
        now_ms=customer.now_ms,
        fence=fence,
        contact=Contact(removals=customer.contact.removals),
        erased=customer.erased,
    )
