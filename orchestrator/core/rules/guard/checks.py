"""May this go out? Asked right before a step reaches the customer, in one fixed order.

Paused, expired, suppressed, consent, owned, its offer, a person is talking, frequency caps, quiet
hours, spacing, and arbitration between promotions that are due at once; `reach` renders what
passes. What may not go is refused with a reason and the journey goes on; what may go later is held
at its step, and everything is asked again then. Transactional messages know neither consent nor
caps nor quiet hours, unless their journey says so.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.core.calendar import minute_of_day, next_time
from orchestrator.core.command import CommandClass
from orchestrator.core.contact import (
    address_changed_ms,
    bounced_at_ms,
    cap_concerns,
    cap_reached,
    consented,
    counted,
)
from orchestrator.core.customer import Sent
from orchestrator.core.decision import Held, Hold, Refusal, SendRefused
from orchestrator.core.language.scalars import duration_text
from orchestrator.core.offers.promises import Refused, may_promise
from orchestrator.core.profile import is_owned
from orchestrator.core.rules.guard.quiet import quiet_hours
from orchestrator.core.rules.waiting import zone_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.core.command import Command
    from orchestrator.core.customer import Contact, Enrollment
    from orchestrator.core.journeys import Plan
    from orchestrator.core.pauses import Pause
    from orchestrator.core.rules.advance import Walk
    from orchestrator.core.rules.draft import Draft

# A refusal and its detail.
Reason = tuple[Refusal, str | None]


class _Held(NamedTuple):
    """Why a step waits, and until when at the latest."""

    reason: Hold
    until_ms: int
    detail: str | None = None


# Where the profile says that nobody may write to this customer: a list of the shop's own.
SUPPRESSED_ATTRIBUTE: Final = "suppressed"


class Verdict(Enum):
    """What the guard says."""

    GO = "go"
    REFUSED = "refused"  # The refusal is logged; the journey goes on.
    HELD = "held"  # The enrollment stands at the step until everything is asked again.
    CONTENDS = "contends"  # It stands there until `arbitration` has heard all of this decision.


class Attempt(Struct, frozen=True, gc=False):
    """What a step wants to do. `kind` is that of an open command, or "webhook".

    `offer` is what a message tells.
    """

    step: str
    channel: str
    command_class: CommandClass
    expires_at_ms: int
    kind: str = "message"
    offer: str | None = None

    @property
    def promotional(self) -> bool:
        """Whether it advertises."""
        return self.command_class is CommandClass.PROMOTIONAL


def ask_guard(walk: Walk, attempt: Attempt, beside: Sequence[Attempt] = ()) -> Verdict:
    """Say whether the step may act now; what is refused or held is logged here.

    `beside` are the same message on other channels, which go out with this one and count for caps.
    """
    draft, enrollment = walk.draft, walk.enrollment
    held: _Held | None = None
    pause = _pause_on(draft, enrollment, attempt)
    refused = _refused(draft, enrollment, attempt, pause)
    if refused is None and pause is not None:
        # At the first instant at which it is too late it is asked again, and refused as expired.
        held = _Held(Hold.PAUSED, attempt.expires_at_ms + 1, pause.sentence())
    if refused is None and held is None and attempt.kind == "message":
        held = _talking(draft, attempt)
        if held is None:
            refused = _capped(draft, enrollment, attempt, beside)
        if refused is None and held is None:
            held = _quiet(draft, walk.plan, attempt) or _spacing(draft, attempt)
    if refused is not None:
        reason, detail = refused
        refuse(draft, enrollment, attempt.step, attempt.channel, reason=reason, detail=detail)
        return Verdict.REFUSED
    if held is not None:
        _hold(walk, attempt, held)
        return Verdict.HELD
    return _arbitrated(walk, attempt)


def may_say_farewell(draft: Draft, enrollment: Enrollment, attempt: Attempt) -> bool:
    """Whether the last message of an exit may go: it is part of what happened, and goes now.

    The enrollment is over, so that nothing can hold the message.
    """
    pause = _pause_on(draft, enrollment, attempt)
    if pause is not None:
        refused: Reason | None = (Refusal.PAUSED, pause.sentence())
    else:
        refused = unreachable(draft, attempt.channel, attempt.command_class)
    refused = refused or _unpromised(draft, enrollment, attempt)
    if refused is None:
        return True
    refuse(draft, enrollment, attempt.step, attempt.channel, reason=refused[0], detail=refused[1])
    return False


def may_say_instead(draft: Draft, enrollment: Enrollment, attempt: Attempt) -> bool:
    """Whether what is said in place of an offer may go now: like a farewell, but caps hold it too.

    It answers what the customer has just done, and nothing can hold it: its enrollment may stand
    elsewhere.
    """
    if not may_say_farewell(draft, enrollment, attempt):
        return False
    refused = _capped(draft, enrollment, attempt)
    if refused is None:
        return True
    refuse(draft, enrollment, attempt.step, attempt.channel, reason=refused[0], detail=refused[1])
    return False


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


def _hold(walk: Walk, attempt: Attempt, held: _Held) -> None:
    """Let the enrollment stand at the step until then, at the latest until it has expired."""
    before, step = walk.enrollment, attempt.step
    until_ms = min(held.until_ms, attempt.expires_at_ms + 1)
    walk.stand(step, wake_at_ms=until_ms, held=held.reason)
    if (before.held, before.step, before.wake_at_ms) == (held.reason, step, until_ms):
        return  # It was looked at again, and nothing has changed.
    name, channel = before.journey, attempt.channel
    walk.draft.log(Held(before.id, name, step, channel, held.reason, until_ms, held.detail))


def _pause_on(draft: Draft, enrollment: Enrollment, attempt: Attempt) -> Pause | None:
    """Return the pause that concerns such a command; the decision's log record will name it."""
    pause = draft.journeys.pauses.of(
        journey=enrollment.journey,
        channel=attempt.channel,
        command_class=attempt.command_class,
        offer=attempt.offer,
    )
    if pause is not None:
        draft.paused[pause.scope] = pause
    return pause


def count(draft: Draft, command: Command) -> None:
    """Remember a message for caps and spacing, where there are any."""
    shop = draft.journeys.shop
    command_class = command.command_class.value
    about = (command.channel, command_class, command.journey)
    if any(cap_concerns(cap, *about) for cap in shop.caps):
        channel, _, journey = about
        sent = Sent(
            command.id, draft.now_ms, channel, command_class, journey, command.expires_at_ms
        )
        draft.contact = counted(draft.contact, sent, draft.journeys.caps_ms_max, draft.now_ms)
    if shop.spacing and command.command_class is CommandClass.PROMOTIONAL:
        draft.contact = replace(draft.contact, promoted_ms=draft.now_ms)


def _refused(
    draft: Draft, enrollment: Enrollment, attempt: Attempt, pause: Pause | None
) -> Reason | None:
    """Return why it may not go at all, whatever the hour."""
    if pause is not None and pause.kill:
        return Refusal.PAUSED, pause.sentence()
    if draft.now_ms > attempt.expires_at_ms:
        return Refusal.EXPIRED, None
    if attempt.kind in ("message", "audience"):
        cut = unreachable(draft, attempt.channel, attempt.command_class)
        if cut is not None:
            return cut
    products = enrollment.products
    if attempt.promotional and products:
        owned_for = draft.journeys.shop.owned_for
        if all(is_owned(one, draft.orders, owned_for, draft.now_ms) for one in products):
            return Refusal.ALREADY_OWNED, ", ".join(product.sku for product in products)
    return _unpromised(draft, enrollment, attempt)


def _unpromised(draft: Draft, enrollment: Enrollment, attempt: Attempt) -> Reason | None:
    """Return why the offer that a message tells may not be promised now."""
    if attempt.offer is None:
        return None
    name, channel = attempt.offer, attempt.channel
    may = may_promise(draft, name, channel=channel, enrollment=enrollment.id)
    return (may.reason, may.detail) if isinstance(may, Refused) else None


def unreachable(draft: Draft, channel: str, command_class: CommandClass) -> Reason | None:
    """Return why the customer may not be reached on a channel with this class of messages."""
    if command_class is CommandClass.TRANSACTIONAL:
        return None
    declared = draft.journeys.channels.get(channel)
    listed = draft.attributes.get(SUPPRESSED_ATTRIBUTE)
    if listed is not None and listed.value is True:
        return Refusal.SUPPRESSED, f"profile.{SUPPRESSED_ATTRIBUTE}"
    contact = draft.contact
    if contact.bounced:
        address_ref = None if declared is None else declared.address_ref
        changed_ms = address_changed_ms(address_ref, draft.attributes)
        if bounced_at_ms(contact, channel, changed_ms) is not None:
            return Refusal.SUPPRESSED, f"{channel} bounced"
    if declared is not None and not declared.needs_consent:
        return None
    granted = consented(contact, channel, command_class.value)
    if granted or (granted is None and command_class is CommandClass.SERVICE):
        return None
    word = "none is recorded" if granted is None else "it was withdrawn"
    return Refusal.NO_CONSENT, f"{channel}, {command_class.value}: {word}"


def _talking(draft: Draft, attempt: Attempt) -> _Held | None:
    until_ms = draft.contact.talking_until_ms
    if attempt.promotional and until_ms > draft.now_ms:
        return _Held(Hold.HANDOFF, until_ms)
    return None


def _capped(
    draft: Draft, enrollment: Enrollment, attempt: Attempt, beside: Sequence[Attempt] = ()
) -> Reason | None:
    contact = draft.contact
    for one in beside:
        words = (one.channel, one.command_class.value, enrollment.journey)
        sent = Sent("", draft.now_ms, *words, one.expires_at_ms)
        contact = counted(contact, sent, draft.journeys.caps_ms_max, draft.now_ms)
    about = (attempt.channel, attempt.command_class.value, enrollment.journey)
    return cap_that_holds(draft, about, contact)


def cap_that_holds(
    draft: Draft, about: tuple[str, str, str], contact: Contact | None = None
) -> Reason | None:
    """Return the cap that is reached, as its author wrote it.

    `about` is channel, class and journey of one more message; `contact` what counts, else what the
    draft knows.
    """
    contact = draft.contact if contact is None else contact
    for cap in draft.journeys.shop.caps:
        if cap_reached(contact, cap, about, draft.now_ms):
            only = [word for word in (cap.channel, cap.journey) if word is not None]
            detail = ", ".join((f"{cap.max} in {duration_text(cap.per)}", *only))
            return Refusal.FREQUENCY_CAP, detail
    return None


def _quiet(draft: Draft, plan: Plan, attempt: Attempt) -> _Held | None:
    quiet = quiet_hours(draft, plan, attempt.channel, attempt.command_class)
    if quiet is None:
        return None
    zone = zone_of(draft.attributes, draft, plan)
    if not quiet.holds(minute_of_day(draft.now_ms, zone)):
        return None
    return _Held(Hold.QUIET_HOURS, next_time(draft.now_ms, quiet.to, zone))


def _spacing(draft: Draft, attempt: Attempt) -> _Held | None:
    spacing_ms = draft.journeys.shop.spacing
    if not spacing_ms or not attempt.promotional or draft.promoted is not None:
        return None  # Who comes behind a promotion of this decision has lost to it.
    until_ms = draft.contact.promoted_ms + spacing_ms
    return _Held(Hold.SPACING, until_ms) if until_ms > draft.now_ms else None


def _arbitrated(walk: Walk, attempt: Attempt) -> Verdict:
    """Let one promotion of this decision go; which one is known when all have been heard."""
    draft, enrollment = walk.draft, walk.enrollment
    if not attempt.promotional or attempt.kind != "message" or draft.promoted == enrollment.id:
        return Verdict.GO
    if draft.promoted is not None:
        reason = Refusal.ARBITRATION
        step, channel = attempt.step, attempt.channel
        refuse(draft, enrollment, step, channel, reason=reason, detail=draft.promoted)
        return Verdict.REFUSED
    if walk.chosen:
        return Verdict.GO
    walk.stand(attempt.step)
    draft.contenders.append((walk, attempt))
    return Verdict.CONTENDS
