"""Law of the core: what happens to a customer is decided here, from the four arguments alone.

The journeys, the customer, what happened, and now: no clock, no randomness, no I/O, no logging, no
Kafka type. The same arguments give the same decision for ever. It never raises: a bad event or an
impossible state is a decision with a reason.

The descent: event → erased → dedupe → apply → derived attributes → stages → promises → goals →
exits → waits → entries → steps → arbitration. A wait that has come due (`TimerFired`), a journey
that looks for customers (`Visit`) and the end of a pause (`Resumed`) go through the same function
and take only the last part of the way; so does what the owners of other ids tell (`core/identity`).
The rules stand in `core/rules`, `core/derived` and `core/offers`; they write into one `Draft`,
which is sealed at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from orchestrator.core.contact import (
    REACHED,
    WEIGHTS,
    channel_of,
    contact_after,
    handed_over,
    removed,
    responded,
    uncounted,
)
from orchestrator.core.customer import PAUSED, Customer, wake_at_ms
from orchestrator.core.decision import Decision, Hold, MessageFinal, Outcome, Rejection
from orchestrator.core.derived.follow import derive_again, follow
from orchestrator.core.event import Event, Input, Resumed, TimerFired, Visit
from orchestrator.core.identity.addresses import claim, note_shared
from orchestrator.core.identity.asking import ask_to_merge
from orchestrator.core.identity.handing import hand_over, take_back_fences
from orchestrator.core.identity.joining import is_forbidden, is_known, take_over
from orchestrator.core.identity.notices import AddressShared, MergeAsked, StateMoved
from orchestrator.core.offers import outcomes
from orchestrator.core.offers.promises import confirm
from orchestrator.core.people.recent import fated
from orchestrator.core.people.tasks import take_task
from orchestrator.core.profile import attributes_after, orders_after, with_attributes
from orchestrator.core.rules.advance import go_on, release, say_otherwise
from orchestrator.core.rules.dedupe import (
    Seen,
    business_key,
    business_known,
    remember,
    remember_business,
    remember_time,
    seen_before,
)
from orchestrator.core.rules.draft import Draft
from orchestrator.core.rules.enroll import enter_at, enter_by_event, enter_segments
from orchestrator.core.rules.erasure import (
    CUSTOMER_ERASED,
    after_erasure,
    erase,
    is_forgotten,
    lift_fence,
)
from orchestrator.core.rules.exits import end_by_event, reach_goals
from orchestrator.core.rules.guard.arbitration import arbitrate
from orchestrator.core.rules.hearing import hear, hear_profile, hear_report
from orchestrator.core.rules.learning.hours import learn_hour
from orchestrator.core.rules.learning.stages import follow_stages, look_again
from orchestrator.core.rules.watching import come_due, introduce, watch_absence, watch_dates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.core.customer import Attribute, Enrollment
    from orchestrator.core.journeys import Journeys
    from orchestrator.core.offers.promises import Withdrawn

# Six bytes of milliseconds reach beyond the year 10000; a business key's time is written in them.
NOW_MS_MAX: Final = 2**48 - 1
# How often in one decision steps may change the profile with effect on other journeys.
PROFILE_ROUNDS_MAX: Final = 4
# What a sender's report says became of a command. Who opened a message has received it.
FINAL_OUTCOMES: Final = {
    "message.delivered": "delivered",
    "message.opened": "delivered",
    "message.clicked": "delivered",
    "message.replied": "delivered",
    "message.bounced": "bounced",
    "message.failed": "failed",
    "message.dropped": "dropped",
}


def decide(journeys: Journeys, customer: Customer, event: Input, now_ms: int) -> Decision:
    """Return the whole effect of one input on one customer."""
    # A customer's time never goes back, also when a partition's clock starts over elsewhere.
    now_ms = max(customer.now_ms, min(now_ms, NOW_MS_MAX))
    if customer.merged_into is not None:
        return _decide_absorbed(customer, event, now_ms)
    match event:
        case Event():
            return _decide_event(journeys, customer, event, now_ms)
        case TimerFired():
            return _decide_timer(journeys, customer, now_ms)
        case Visit():
            return _decide_visit(journeys, customer, event, now_ms)
        case Resumed():
            return _decide_resumed(journeys, customer, now_ms)
        case MergeAsked():
            if is_forgotten(customer):  # Nobody comes back by a merge.
                return _nothing(Outcome.IGNORED, customer, now_ms)
            return hand_over(Draft(journeys, customer, now_ms, None, event.cause), event)
        case StateMoved():
            return _decide_moved(journeys, customer, event, now_ms)
        case AddressShared():
            return _decide_shared(journeys, customer, event, now_ms)
        case _:
            assert_never(event)


def _decide_event(journeys: Journeys, customer: Customer, event: Event, now_ms: int) -> Decision:
    if customer.erased is not None:
        decided = after_erasure(customer, event, now_ms)
        if decided is not None:
            return decided
    match seen_before(customer.seen, event):
        case Seen.NEW:
            pass
        case Seen.REPEATED:
            return _nothing(Outcome.DUPLICATE, customer, now_ms)
        case Seen.REUSED:
            detail = f"{event.source} {event.id} came before with another type, subject or data"
            rejection = Rejection(reason="id_reused", detail=detail)
            return _nothing(Outcome.REJECTED, customer, now_ms, rejection)
    key = business_key(event)
    if key is not None and business_known(customer.business, key, now_ms):
        return _nothing(Outcome.DUPLICATE, customer, now_ms)

    draft = Draft(journeys, customer, now_ms, event)
    draft.seen = remember(customer.seen, event)
    draft.seen_times = remember_time(customer.seen_times, now_ms)
    if key is not None:
        draft.business = remember_business(customer.business, key, now_ms)
    draft.forget_expired()
    return _applied(draft, event)


def _applied(draft: Draft, event: Event) -> Decision:
    """Return the decision on an event that is new, with everything that follows from it."""
    journeys, customer, now_ms = draft.journeys, draft.customer, draft.now_ms
    # A producer's clock may run ahead. What has reached us has happened, so it is not later than
    # now: otherwise a purchase of a minute ago would not exit an entry of "in five minutes".
    occurred_ms = min(event.time_ms, now_ms)
    if event.type == CUSTOMER_ERASED:
        return erase(draft, occurred_ms)
    _apply(draft, event, occurred_ms)
    if journeys.derivations is not None:
        follow(draft, journeys.derivations, event, occurred_ms)
    if journeys.stages is not None:
        follow_stages(draft, journeys.stages, event)
    event_type = event.type
    withdrawn: Iterable[Withdrawn] = ()
    if draft.promises or event_type in outcomes.ASKED:
        withdrawn = outcomes.follow(draft, event, occurred_ms)
    if event_type in journeys.missing:
        watch_absence(draft, event, occurred_ms)
    if not event.backfill:
        known = customer.attributes
        if event_type in journeys.goal_types:
            reach_goals(draft, event, occurred_ms)
        end_by_event(draft, event, occurred_ms)
        for one in withdrawn:
            say_otherwise(draft, one)
        if event_type in journeys.heard:
            known = draft.attributes
            hear(draft, event, occurred_ms)
        if event_type in FINAL_OUTCOMES:
            hear_report(draft, event)
        if event_type == "handoff.ended":
            release(draft, Hold.HANDOFF)
        if event_type in journeys.entering:
            enter_by_event(draft, event, occurred_ms)
        arbitrate(draft)
        if draft.attributes is not customer.attributes:
            _settle(draft, known)
    if draft.attributes is not customer.attributes:
        _follow_profile(draft)
    return draft.seal()


def _follow_profile(draft: Draft) -> None:
    """Work out again what the profile alone says: its dates, and who else has its addresses."""
    watch_dates(draft)
    claim(draft)


def _settle(draft: Draft, heard: Mapping[str, Attribute]) -> None:
    """Let the changed profile have its effect: on waits for it, and on segments.

    `heard` is the profile that waits have been asked about. Steps may write attributes again;
    what is left after some rounds is looked at with the next event.
    """
    before = draft.customer.attributes
    stages = draft.journeys.stages
    for _ in range(PROFILE_ROUNDS_MAX):
        if stages is not None:
            look_again(draft, stages)
        after = draft.attributes
        if after is before:
            return
        for one in confirm(draft) if draft.promises else ():
            say_otherwise(draft, one)
        if after is not heard:
            hear_profile(draft)
        enter_segments(draft, before, after)
        arbitrate(draft)
        before = heard = after


def _decide_timer(journeys: Journeys, customer: Customer, now_ms: int) -> Decision:
    """Let every enrollment whose wait is over go on, the longest overdue first."""
    due = (
        (enrollment.wake_at_ms, enrollment)
        for enrollment in customer.enrollments
        if enrollment.wake_at_ms is not None and enrollment.wake_at_ms <= now_ms
    )
    if (wake_at_ms(customer) or now_ms + 1) > now_ms:
        return _nothing(Outcome.APPLIED, customer, now_ms)
    draft = Draft(journeys, customer, now_ms, None)
    draft.forget_expired()
    if (customer.derived.due_ms or now_ms + 1) <= now_ms:
        derive_again(draft)
    _go_on(draft, due)
    if draft.watches:
        come_due(draft)
    lift_fence(draft)
    arbitrate(draft)
    if draft.attributes is not customer.attributes:
        _settle(draft, customer.attributes)
        _follow_profile(draft)
    return draft.seal()


def _decide_resumed(journeys: Journeys, customer: Customer, now_ms: int) -> Decision:
    """Take the steps again that a pause holds; the same customer when none may go on."""
    draft = Draft(journeys, customer, now_ms, None)
    draft.forget_expired()
    _go_on_where_paused(draft)
    if draft.attributes is not customer.attributes:
        _settle(draft, customer.attributes)
        _follow_profile(draft)
    return draft.seal() if draft.entries else _nothing(Outcome.APPLIED, customer, now_ms)


def _go_on_where_paused(draft: Draft) -> None:
    """Take the steps again that a pause holds, or has held."""
    _go_on(draft, ((one.due_ms or 0, one) for one in draft.enrollments if one.held == PAUSED))
    arbitrate(draft)


def _go_on(draft: Draft, due: Iterable[tuple[int, Enrollment]]) -> None:
    """Let enrollments go on that were due then, the longest overdue first."""
    for _, enrollment_id in sorted((due_ms, one.id) for due_ms, one in due):
        for enrollment in draft.enrollments:
            if enrollment.id == enrollment_id:
                go_on(draft, enrollment)


def _decide_visit(journeys: Journeys, customer: Customer, visit: Visit, now_ms: int) -> Decision:
    """Let a journey look at somebody who is there already; the same customer when nothing comes."""
    plan = journeys.visiting.get(visit.journey)
    if plan is None or plan.version != visit.version or is_forgotten(customer):
        return _nothing(Outcome.APPLIED, customer, now_ms)
    draft = Draft(journeys, customer, now_ms, None)
    if visit.occurrence_ms is None:
        introduce(draft, plan)
    else:
        enter_at(draft, plan, visit.occurrence_ms)
        arbitrate(draft)
        if draft.attributes is not customer.attributes:
            _settle(draft, customer.attributes)
            _follow_profile(draft)
    if not draft.entries and draft.watches is customer.watches:
        return _nothing(Outcome.APPLIED, customer, now_ms)
    return draft.seal()


def _decide_moved(
    journeys: Journeys, customer: Customer, moved: StateMoved, now_ms: int
) -> Decision:
    """Take over what was known of an id that this customer turned out to be."""
    if is_known(customer, moved):
        return _nothing(Outcome.DUPLICATE, customer, now_ms)
    if is_forbidden(customer, moved):
        return _nothing(Outcome.IGNORED, customer, now_ms)
    # Their clocks are those of two partitions; the customer's time does not go back.
    now_ms = max(now_ms, moved.state.now_ms)
    draft = Draft(journeys, customer, now_ms, None, moved.cause)
    take_over(draft, moved)
    draft.forget_expired()
    # A pause may have been resumed while they were on their way, and nobody is told of that twice.
    _go_on_where_paused(draft)
    _settle(draft, customer.attributes)
    if draft.attributes is not customer.attributes:
        _follow_profile(draft)
    return draft.seal()


def _decide_shared(
    journeys: Journeys, customer: Customer, shared: AddressShared, now_ms: int
) -> Decision:
    """Hear that other customers have the same address."""
    draft = Draft(journeys, customer, now_ms, None)
    note_shared(draft, shared)
    return draft.seal() if draft.entries else _nothing(Outcome.APPLIED, customer, now_ms)


def _decide_absorbed(customer: Customer, event: Input, now_ms: int) -> Decision:
    """Say that this is for somebody else to decide; to be absorbed once more changes nothing.

    What is not younger than an erasure of the id goes nowhere.
    """
    if isinstance(event, TimerFired):
        return take_back_fences(customer, now_ms)
    forgotten_ms = -1 if customer.erased is None else customer.erased.at_ms
    if isinstance(event, Event) and min(event.time_ms, now_ms) <= forgotten_ms:
        return _nothing(Outcome.IGNORED, customer, now_ms)
    asked_again = isinstance(event, MergeAsked) and event.survivor == customer.merged_into
    return _nothing(Outcome.DUPLICATE if asked_again else Outcome.MOVED, customer, now_ms)


def _apply(draft: Draft, event: Event, occurred_ms: int) -> None:
    """Take the event into what is known of the customer. Unknown types say nothing to that."""
    match event.type:
        case "profile.updated":
            draft.attributes = attributes_after(draft.attributes, event)
        case "profile.identified":
            draft.attributes = attributes_after(draft.attributes, event)
            ask_to_merge(draft, event)
        case "purchase" | "order.cancelled" | "order.returned":
            kept_from_ms = draft.now_ms - draft.journeys.owned_for_ms_max
            draft.orders = orders_after(
                draft.orders, event, occurred_ms=occurred_ms, kept_from_ms=kept_from_ms
            )
        case "task.claimed":
            take_task(draft, event)
        case "task.closed":
            said = event.data.get("outcome")
            outcome = said if isinstance(said, str) else None
            _close(draft, event.data.get("task_id"), "closed", detail=outcome)
        case "consent.updated" | "message.unsubscribed" | "handoff.started" | "handoff.ended":
            _learn_of_contact(draft, event)
        case _ if event.type in FINAL_OUTCOMES:
            _take_answer(draft, event)
            _take_report(draft, event, occurred_ms)
            _close(draft, event.data.get("command_id"), FINAL_OUTCOMES[event.type])
        case "audience.applied":
            # What was added stays open, so that an exit ends it.
            draft.contact = removed(draft.contact, event.data.get("command_id"))
        case _:
            pass


def _learn_of_contact(draft: Draft, event: Event) -> None:
    """Take in what says whether and how the customer may be reached."""
    channel = _channel_told(draft, event) if event.type.startswith("message.") else None
    draft.contact = contact_after(
        draft.contact,
        event,
        channel,
        now_ms=draft.now_ms,
        timeout_ms=draft.journeys.shop.handoff_timeout,
    )


def _channel_told(draft: Draft, event: Event) -> str | None:
    """Return the channel of the message that a sender reports on."""
    held = (one for enrollment in draft.enrollments for one in enrollment.open_commands)
    return channel_of(event, held, draft.contact)


def _take_report(draft: Draft, event: Event, occurred_ms: int) -> None:
    """Let a sender's report count for caps, for the address, the best hour and the best channel."""
    if draft.contact.recent:
        about, fate = (event.data.get("command_id"),), event.type.removeprefix("message.")
        draft.contact = fated(draft.contact, about, fate, occurred_ms)
    if event.type in WEIGHTS and draft.journeys.learns_hours:
        learn_hour(draft, event.type, occurred_ms)
    if event.type in WEIGHTS and draft.journeys.chooses_channels:
        channel = _channel_told(draft, event)
        if channel in draft.journeys.channels:
            draft.contact = responded(draft.contact, channel, event.type, occurred_ms)
    if event.type == "message.bounced":
        _learn_of_contact(draft, event)
    elif draft.contact.sends:
        command_id = event.data.get("command_id")
        if event.type == "message.dropped":
            draft.contact = uncounted(draft.contact, (str(command_id),))
        elif event.type in REACHED:
            draft.contact = handed_over(draft.contact, command_id, occurred_ms)


def _take_answer(draft: Draft, event: Event) -> None:
    """Write the answer to a question into the profile."""
    answer = event.data.get("answer")
    if event.type != "message.replied" or answer is None or not draft.asked:
        return
    command_id = event.data.get("command_id")
    again = () if draft.kin is None else draft.kin.asked
    for attribute, asked in (*draft.asked.items(), *again):
        if asked == command_id:
            draft.attributes = with_attributes(draft.attributes, event, {attribute: answer})
            return


def _close(draft: Draft, command_id: object, outcome: str, *, detail: str | None = None) -> None:
    """Let go of a message or task that is final: no exit has to recall it."""
    for enrollment in draft.enrollments:
        for command in enrollment.open_commands:
            if command.id == command_id and command.kind != "audience":
                draft.log(MessageFinal(command.id, enrollment.id, outcome, detail))
                still_open = tuple(c for c in enrollment.open_commands if c is not command)
                draft.put_open(enrollment, still_open)
                return


def _nothing(
    outcome: Outcome, customer: Customer, now_ms: int, rejection: Rejection | None = None
) -> Decision:
    return Decision(
        outcome=outcome,
        customer=customer,
        now_ms=now_ms,
        wake_at_ms=wake_at_ms(customer),
        rejection=rejection,
    )
