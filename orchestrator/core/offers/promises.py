"""Promising offers to one customer: who may get one, who got one, and what became of it.

`reach` asks before a message tells an offer and grants when it goes out; `decide` comes here with
what pages, agents and checkouts say. There is one writer for each customer, so two channels at the
same instant are one after the other here, and the second is told what the first was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec.structs import replace

from orchestrator.core.calendar import day_text, instant_text
from orchestrator.core.command import CommandClass, CommandPromise
from orchestrator.core.customer import Promise
from orchestrator.core.decision import (
    OfferGranted,
    OfferRefused,
    PromiseConfirmed,
    Promised,
    PromiseEnd,
    PromiseEnded,
    Refusal,
)
from orchestrator.core.expressions.condition import Failed, Scope
from orchestrator.core.language.journey import After
from orchestrator.core.offers.ledger import (
    LATE_ORDER_MS,
    PROMISES_MAX,
    REDEMPTION_KEPT_MS,
    TELLING_MAX,
    became,
    ended_ms,
    is_open,
    pruned,
    telling,
    told_by,
)
from orchestrator.core.rules.ending import recall_offer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from orchestrator.core.customer import Attribute
    from orchestrator.core.event import Event
    from orchestrator.core.expressions.condition import Expression
    from orchestrator.core.offers.terms import Terms
    from orchestrator.core.rules.draft import Draft

_UNCOUNTED: Final = frozenset(
    {PromiseEnd.NOT_QUALIFIED, PromiseEnd.NEVER_TOLD, PromiseEnd.RECALLED}
)


class Refused(NamedTuple):
    """Why an offer is not promised."""

    reason: Refusal
    detail: str | None = None


class Withdrawn(NamedTuple):
    """A promise that turned out to be for others, and how it had been told."""

    terms: Terms
    promise: Promise


def may_promise(
    draft: Draft, name: str, *, channel: str | None, enrollment: str | None = None
) -> Promise | Refused:
    """Return the promise that a message or a page may tell now, or why it must not.

    Who holds it open already is told the same again, whatever channel says it.
    """
    terms = draft.journeys.offers.get(name)
    if terms is None:
        return Refused(Refusal.OFFER_NOT_VALID, f"there is no offer {name}")
    if channel is not None and terms.offer.channels and channel not in terms.offer.channels:
        return Refused(Refusal.OFFER_NOT_VALID, f"not by {channel}")
    now_ms, held = draft.now_ms, draft.promises.get(name)
    if held is not None and is_open(held, now_ms):
        return held
    if not terms.valid_at(now_ms):
        return Refused(Refusal.OFFER_NOT_VALID, _validity(terms, now_ms))
    provisional = terms.offer.acquisition and not is_known(draft, terms, draft.attributes)
    if not provisional and not qualifies(draft, terms, draft.attributes):
        return Refused(Refusal.OFFER_NOT_QUALIFIED)
    refused = _used_up(terms, held, now_ms) or contradicted(draft, name)
    if refused is not None:
        return refused
    return Promise(
        granted_ms=now_ms,
        expires_at_ms=terms.expires_at_ms(now_ms),
        enrollment=enrollment,
        channel=channel,
        provisional=provisional,
        redeemed_ms=None if held is None else held.redeemed_ms,
        order=None if held is None else held.order,
    )


def grant(draft: Draft, name: str, promise: Promise, *, command: str | None = None) -> None:
    """Make a promise that `may_promise` has allowed in this decision, told by this command."""
    if draft.promises.get(name) is promise:
        if promise.command is not None:  # It is told once more; by who has asked, for certain.
            more = () if command is None else (*telling(promise), command)
            again = told_by(promise, more if len(more) <= TELLING_MAX else ())
            draft.change_promises({**draft.promises, name: again})
        return
    keep(draft, name, replace(promise, command=command))
    _log_promised(draft, name, promise)


def _log_promised(draft: Draft, name: str, promise: Promise) -> None:
    draft.log(
        Promised(
            offer=name,
            channel=promise.channel,
            enrollment=promise.enrollment,
            expires_at_ms=promise.expires_at_ms,
            provisional=promise.provisional,
        )
    )


def answer(draft: Draft, event: Event) -> None:
    """Answer a page or an agent that asks whether it may show an offer."""
    name, channel = str(event.data.get("offer")), event.data.get("channel")
    channel = channel if isinstance(channel, str) else None
    may = paused_for_asking(draft, name, channel) or may_promise(draft, name, channel=channel)
    if isinstance(may, Refused):
        otherwise = None
        if may.reason is Refusal.OFFER_NOT_QUALIFIED:
            otherwise = greeting(draft.journeys.offers.get(name))
        draft.log(OfferRefused(name, channel, may.reason, may.detail, otherwise))
        return
    grant(draft, name, may)
    draft.log(OfferGranted(name, channel, may.expires_at_ms, may.provisional))


def paused_for_asking(draft: Draft, name: str, channel: str | None) -> Refused | None:
    """Refuse what somebody has paused: nobody waits in front of a page for a resume."""
    pause = draft.journeys.pauses.of(
        journey="", channel=channel or "", command_class=CommandClass.PROMOTIONAL, offer=name
    )
    if pause is None:
        return None
    draft.paused[pause.scope] = pause
    return Refused(Refusal.PAUSED, pause.sentence())


def confirm(draft: Draft) -> list[Withdrawn]:
    """Look at provisional promises again, now that more may be known of the customer.

    Return those that were taken back.
    """
    withdrawn = []
    for name, promise in draft.promises.items():
        terms = draft.journeys.offers.get(name)
        if not promise.provisional or terms is None or not is_open(promise, draft.now_ms):
            continue
        if not is_known(draft, terms, draft.attributes):
            continue
        if qualifies(draft, terms, draft.attributes):
            keep(draft, name, replace(promise, provisional=False))
            draft.log(PromiseConfirmed(name))
        else:
            close(draft, name, promise, PromiseEnd.NOT_QUALIFIED)
            withdrawn.append(Withdrawn(terms, promise))
    return withdrawn


def close(draft: Draft, name: str, promise: Promise, reason: PromiseEnd) -> None:
    """Take a promise back before its time, and recall what tells it and is still on its way."""
    keep(draft, name, replace(promise, closed_ms=draft.now_ms, closed=reason.value))
    otherwise = None
    if reason is PromiseEnd.NOT_QUALIFIED:
        otherwise = greeting(draft.journeys.offers.get(name))
    is_history = draft.event is not None and draft.event.backfill
    cancelled = () if is_history else recall_offer(draft, name)
    draft.log(PromiseEnded(name, reason, promise.channel, otherwise, cancelled))


def restore(draft: Draft, name: str, promise: Promise) -> bool:
    """Open a promise again that was recalled, because its message has arrived all the same.

    Return whether it is: where something else was promised meanwhile, that one stands.
    """
    if draft.journeys.offers.get(name) is not None and contradicted(draft, name) is not None:
        return False
    promise = replace(told_by(promise, ()), closed_ms=None, closed=None)
    draft.change_promises({**draft.promises, name: promise})
    _log_promised(draft, name, promise)
    return True


def is_greeted(draft: Draft, name: str) -> bool:
    """Whether who does not qualify has been told something else already."""
    held = draft.promises.get(name)
    return held is not None and became(held) == PromiseEnd.NOT_QUALIFIED


def note_greeted(draft: Draft, name: str) -> None:
    """Remember that who does not qualify has been told something else: once is enough."""
    held = draft.promises.get(name) or Promise(granted_ms=0, expires_at_ms=0)
    closed = PromiseEnd.NOT_QUALIFIED.value
    keep(draft, name, replace(held, closed_ms=draft.now_ms, closed=closed))


def greeting(terms: Terms | None) -> str | None:
    """Return the template that is shown in place of an offer."""
    otherwise = None if terms is None else terms.offer.otherwise
    return None if otherwise is None else otherwise.template


def keep(draft: Draft, name: str, promise: Promise) -> None:
    """Write a promise into the ledger; what is over and needed for nothing any more goes."""
    offers, now_ms = draft.journeys.offers, draft.now_ms

    def needed(other: str, over: Promise) -> bool:
        if now_ms < over.expires_at_ms + LATE_ORDER_MS:
            return True  # What was ordered before it ended is redeemed also when we hear it later.
        if over.redeemed_ms is not None and now_ms < over.redeemed_ms + REDEMPTION_KEPT_MS:
            return True  # Its order may come back.
        if became(over) == PromiseEnd.RECALLED and now_ms < over.expires_at_ms:
            return True  # The message may have arrived all the same.
        terms = offers.get(other)
        return terms is not None and (
            became(over) == PromiseEnd.NOT_QUALIFIED or _used_up(terms, over, now_ms) is not None
        )

    draft.change_promises(pruned({**draft.promises, name: promise}, now_ms, needed))


def qualifies(draft: Draft, terms: Terms, attributes: Mapping[str, Attribute]) -> bool:
    """Whether an offer is for somebody with this profile; what cannot be evaluated is a no."""
    condition = terms.offer.qualifies
    return condition is None or _holds(draft, condition, attributes) is True


def told(draft: Draft, name: str, promise: Promise) -> CommandPromise:
    """Return what a command says of a promise, in the customer's language."""
    terms = draft.journeys.offers.get(name)
    assert terms is not None, "what is not declared is not promised"
    return CommandPromise(
        text=terms.offer.text_in((draft.locale(), draft.journeys.shop.locale)),
        code=None if promise.provisional else terms.offer.code,
        valid_until_ms=promise.expires_at_ms,
        provisional=promise.provisional,
    )


def shown(said: CommandPromise, zone: ZoneInfo) -> dict[str, Any]:
    """Return what templates see as `offer`; `until` is its last day where the customer lives."""
    values = {"text": said.text, "until": day_text(said.valid_until_ms - 1, zone)}
    known = {} if said.code is None else {"code": said.code}
    return values | known | {"provisional": said.provisional}


def is_known(draft: Draft, terms: Terms, attributes: Mapping[str, Attribute]) -> bool:
    """Whether we know who somebody with this profile is."""
    return _holds(draft, terms.offer.known, attributes) is True


def _holds(
    draft: Draft, condition: Expression, attributes: Mapping[str, Attribute]
) -> bool | Failed:
    journeys = draft.journeys
    reads, lens = journeys.offers.reads, journeys.lens
    scope = Scope(attributes, draft.now_ms, event=None, reads=reads, lens=lens)
    return scope.holds(condition)


def _validity(terms: Terms, now_ms: int) -> str:
    if terms.from_ms is not None and now_ms < terms.from_ms:
        return f"not before {instant_text(terms.from_ms)}"
    return f"ended {instant_text(terms.until_ms or 0)}"


def _used_up(terms: Terms, held: Promise | None, now_ms: int) -> Refused | None:
    """Refuse what was promised as often as it may be. What was taken back by us does not count."""
    if held is None or became(held) in _UNCOUNTED:
        return None
    again, over_ms = terms.offer.again, ended_ms(held)
    if again == "once":
        return Refused(Refusal.OFFER_USED, "once")
    if isinstance(again, After):
        over_ms = max(held.granted_ms, over_ms) + again.after
    if now_ms <= over_ms:
        return Refused(Refusal.OFFER_USED, f"not before {instant_text(over_ms)}")
    return None


def contradicted(draft: Draft, name: str) -> Refused | None:
    """Return why an offer must not stand beside what the customer holds, or None."""
    offers, now_ms = draft.journeys.offers, draft.now_ms
    opened = 0
    for held, promise in draft.promises.items():
        if held == name or not is_open(promise, now_ms):
            continue
        opened += 1
        if offers.clash(held, name):
            until = instant_text(promise.expires_at_ms)
            return Refused(Refusal.OFFER_CONTRADICTED, f"{held} until {until}")
    if opened >= PROMISES_MAX:
        return Refused(Refusal.OFFER_CONTRADICTED, f"holds {opened} promises")
    return None
