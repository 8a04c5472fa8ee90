"""What may be offered to a customer now, best first, and why the rest may not: without promising.

A page or a person looks here before they ask (`offer.requested`), and asks before they show: what
is proposed may be gone a moment later, and only the owner of the customer grants. The guard's
questions are asked on the channel that would tell it. A person at the call centre needs no consent
of the customer to speak of an offer, and is not held back because somebody talks: they do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from orchestrator.core.calendar import instant_text
from orchestrator.core.command import CommandClass
from orchestrator.core.decision import Hold, Refusal
from orchestrator.core.offers.promises import (
    Refused,
    greeting,
    may_promise,
    paused_for_asking,
    told,
)
from orchestrator.core.rules.draft import Draft
from orchestrator.core.rules.erasure import is_forgotten
from orchestrator.core.rules.guard.checks import cap_that_holds, unreachable

if TYPE_CHECKING:
    from orchestrator.core.customer import Customer, Promise
    from orchestrator.core.journeys import Journeys
    from orchestrator.core.offers.terms import Terms

PROMOTIONAL: Final = CommandClass.PROMOTIONAL


class Because(StrEnum):
    """Why an offer is proposed; better reasons first. A closed list."""

    PROMISED = "promised"  # The customer holds it already and may be told it again.
    IN_JOURNEY = "in_journey"  # A journey that the customer is in tells it.
    QUALIFIES = "qualifies"  # It is for this customer, and contradicts nothing they hold.


_RANKS: Final = {because: rank for rank, because in enumerate(Because)}


class Proposal(Struct, frozen=True, gc=False):
    """An offer that may be shown. `code` stands there only for who holds it already."""

    offer: str
    because: Because
    text: str
    expires_at_ms: int
    provisional: bool
    code: str | None = None
    journey: str | None = None


class NotProposed(Struct, frozen=True, gc=False):
    """An offer that may not be shown now. `reason` is a `Refusal`, or `handoff`.

    `otherwise` names the template to show in its place.
    """

    offer: str
    reason: str
    detail: str | None = None
    otherwise: str | None = None


class NextBest(Struct, frozen=True, gc=False):
    """What may be offered on a channel now, best first, and what not."""

    channel: str | None
    proposed: tuple[Proposal, ...] = ()
    not_proposed: tuple[NotProposed, ...] = ()


def next_best(journeys: Journeys, customer: Customer, now_ms: int, channel: str | None) -> NextBest:
    """Return what may be shown to a customer now on a channel (None: nobody says which).

    Pure, and changes nothing: it promises nothing.
    """
    return propose(Draft(journeys, customer, max(now_ms, customer.now_ms), None), channel)


def propose(draft: Draft, channel: str | None) -> NextBest:
    """Return what may be offered in a decision, as things stand in it."""
    closed = _closed(draft, channel)
    running = _offers_of_running_journeys(draft)
    proposed: list[tuple[tuple[int, int, int, str], Proposal]] = []
    not_proposed: list[NotProposed] = []
    for terms in draft.journeys.offers:
        may = closed or paused_for_asking(draft, terms.name, channel)
        asked = may or may_promise(draft, terms.name, channel=channel)
        if isinstance(asked, Refused | NotProposed):
            not_proposed.append(_not_proposed(terms, asked))
        else:
            one = _proposal(draft, terms, asked, running.get(terms.name))
            proposed.append((_rank(one, running), one))
    proposed.sort(key=lambda ranked: ranked[0])
    return NextBest(channel, tuple(one for _, one in proposed), tuple(not_proposed))


def _closed(draft: Draft, channel: str | None) -> Refused | NotProposed | None:
    """Return why nothing at all may be offered on a channel."""
    if is_forgotten(draft.customer):
        return Refused(Refusal.ERASED)
    declared = None if channel is None else draft.journeys.channels.get(channel)
    if channel is None or (declared is not None and declared.kind == "task"):
        return None
    if draft.contact.talking_until_ms > draft.now_ms:
        until = instant_text(draft.contact.talking_until_ms)
        return NotProposed("", Hold.HANDOFF.value, f"until {until}")
    if declared is None:
        return None
    cut = unreachable(draft, channel, PROMOTIONAL)
    cut = cut or cap_that_holds(draft, (channel, PROMOTIONAL.value, ""))
    return None if cut is None else Refused(*cut)


def _offers_of_running_journeys(draft: Draft) -> dict[str, tuple[int, str]]:
    """Return, by offer, the priority and name of the foremost journey under way that tells it."""
    found: dict[str, tuple[int, str]] = {}
    for enrollment in draft.enrollments:
        plan = draft.journeys.plans.get((enrollment.journey, enrollment.version))
        if plan is None or enrollment.step is None:
            continue
        for step in plan.journey.steps:
            name = None if step.send is None else step.send.offer
            if name is not None:
                foremost = (-plan.journey.priority, plan.name)
                found[name] = min(found.get(name, foremost), foremost)
    return found


def _proposal(
    draft: Draft, terms: Terms, promise: Promise, running: tuple[int, str] | None
) -> Proposal:
    held = draft.promises.get(terms.name) is promise
    said = told(draft, terms.name, promise)
    because = Because.QUALIFIES if running is None else Because.IN_JOURNEY
    return Proposal(
        offer=terms.name,
        because=Because.PROMISED if held else because,
        text=said.text,
        expires_at_ms=promise.expires_at_ms,
        provisional=promise.provisional,
        code=said.code if held else None,
        journey=None if running is None else running[1],
    )


def _rank(one: Proposal, running: dict[str, tuple[int, str]]) -> tuple[int, int, int, str]:
    """Order proposals totally: why, the journey's priority, what ends soonest, the name."""
    because = _RANKS[one.because]
    priority = running[one.offer][0] if one.because is Because.IN_JOURNEY else 0
    return because, priority, one.expires_at_ms, one.offer


def _not_proposed(terms: Terms, why: Refused | NotProposed) -> NotProposed:
    if isinstance(why, NotProposed):
        return NotProposed(terms.name, why.reason, why.detail)
    otherwise = greeting(terms) if why.reason is Refusal.OFFER_NOT_QUALIFIED else None
    return NotProposed(terms.name, why.reason.value, why.detail, otherwise)
