"""The survivor takes over what was known of an id that is absorbed into it.

`decide` comes here with `StateMoved`. The order of things is that of an event: what is known is
united first, then exits of either history end enrollments of the other, then of two in one journey
the further one goes on. Waits that came along go on to their time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from orchestrator.core.customer import Cause, RememberedExit
from orchestrator.core.decision import Absorbed, EndReason, PromiseEnd, TakenOver
from orchestrator.core.derived.follow import derive_again
from orchestrator.core.identity.merge import began_at_ms, united
from orchestrator.core.offers.ledger import is_open
from orchestrator.core.offers.promises import close, confirm
from orchestrator.core.rules.advance import say_otherwise
from orchestrator.core.rules.ending import end
from orchestrator.core.rules.exits import exit_of
from orchestrator.core.rules.learning.stages import disregard_gone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.core.customer import (
        Customer,
        Enrollment,
        JourneyMemory,
        Order,
        OrderLine,
    )
    from orchestrator.core.identity.notices import StateMoved
    from orchestrator.core.journeys import Plan
    from orchestrator.core.rules.draft import Draft

PURCHASE: Final = "purchase"


def is_known(customer: Customer, moved: StateMoved) -> bool:
    """Whether this state was taken over before."""
    return customer.absorbed.get(moved.state.id, -1) >= moved.state.now_ms


def is_forbidden(customer: Customer, moved: StateMoved) -> bool:
    """Whether an erasure of the survivor is about this state too: it began before it.

    An id whose whole life is younger comes with the new life of its customer.
    """
    if customer.erased is None:
        return False
    began_ms = began_at_ms(moved.state)
    return began_ms is None or began_ms <= customer.erased.at_ms


def take_over(draft: Draft, moved: StateMoved) -> None:
    """Unite what is known, and let the enrollments of both ids be those of one customer."""
    own, state = draft.customer, moved.state
    _unite(draft, state)
    draft.log(Absorbed(state.id))
    held = {one.id for one in own.enrollments}
    taken = tuple(one for one in state.enrollments if one.id not in held)
    draft.enrollments = (*own.enrollments, *taken)
    for one in taken:
        draft.log(TakenOver(one.id, one.journey, one.version, one.step, one.wake_at_ms))
    derive_again(draft)
    _end_exited(draft, own.enrollments, (*state.exits, *_bought(state.orders, own.orders)))
    _end_exited(draft, taken, (*own.exits, *_bought(own.orders, state.orders)))
    for enrollment in taken:
        _end_the_nearer(draft, enrollment, own.enrollments)
    _end_finished(draft, taken, own.memories)
    _end_finished(draft, own.enrollments, state.memories)
    if draft.journeys.stages is not None:
        disregard_gone(draft)
    if draft.promises:
        _settle_promises(draft)


def _unite(draft: Draft, state: Customer) -> None:
    own = draft.customer
    whole = united(own, state)
    draft.seen, draft.seen_times, draft.business = whole.seen, whole.seen_times, whole.business
    if whole.attributes != own.attributes:
        draft.change_attributes(whole.attributes)
    draft.orders, draft.memories, draft.exits = whole.orders, whole.memories, whole.exits
    draft.watches, draft.asked, draft.contact = whole.watches, whole.asked, whole.contact
    draft.earned, draft.derived, draft.kin = whole.earned, whole.derived, whole.kin
    if own.erased is not None:
        # What was forgotten had numbers too; none of them is used twice.
        least = own.erased.entries
        draft.memories = {
            name: replace(memory, entries=max(memory.entries, least))
            for name, memory in whole.memories.items()
        }
    draft.change_promises(whole.promises)


def _bought(orders: Iterable[Order], known: Iterable[Order]) -> list[RememberedExit]:
    """Return the purchases that an order is left of, as exits that are remembered for longer.

    What the other id knows of itself has ended its own already.
    """
    both = {order.order_id for order in known}
    return [
        RememberedExit(
            type=PURCHASE,
            time_ms=order.time_ms,
            cause=Cause("", order.order_id),
            data={
                "order_id": order.order_id,
                "items": [_item(line) for line in order.lines if line.quantity],
            },
        )
        for order in orders
        if order.order_id not in both and any(line.quantity for line in order.lines)
    ]


def _item(line: OrderLine) -> dict[str, Any]:
    product = line.product
    said = {"sku": product.sku, "family": product.family, "category": product.category}
    known = {name: value for name, value in said.items() if value is not None}
    return {**known, "quantity": line.quantity}


def _end_exited(
    draft: Draft, enrollments: Iterable[Enrollment], exits: tuple[RememberedExit, ...]
) -> None:
    """End what an exit under the other id ends. Its last word is not said: the moment is over."""
    for enrollment in enrollments:
        plan = _plan(draft, enrollment)
        if plan is None:
            end(draft, enrollment, EndReason.VERSION_GONE, fenced=True)
            continue
        found = exit_of(draft, plan, exits, enrollment)
        if found is not None:
            detail = f"{found.type} {found.cause.source} {found.cause.id}"
            end(draft, enrollment, EndReason.EXIT, fenced=plan.promotional, detail=detail)


def _end_the_nearer(draft: Draft, taken: Enrollment, own: Iterable[Enrollment]) -> None:
    """Of two in the same journey and with the same key, let the further one go on."""
    plan = _plan(draft, taken)
    if plan is None or taken.step is None or not _stands(draft, taken):
        return
    for rival in own:
        if (rival.journey, rival.key) != (taken.journey, taken.key) or rival.step is None:
            continue
        other = _plan(draft, rival)
        if other is None or not _stands(draft, rival):
            continue
        # Of two that are as far, the survivor keeps its own.
        further = _place(plan, taken) > _place(other, rival)
        loser, winner = (rival, taken) if further else (taken, rival)
        fenced = other.promotional if further else plan.promotional
        memories = draft.memories
        end(draft, loser, EndReason.MERGED, fenced=fenced, detail=winner.id)
        draft.memories = memories  # The customer is still in it.
        if not further:
            return


def _end_finished(
    draft: Draft, enrollments: Iterable[Enrollment], memories: Mapping[str, JourneyMemory]
) -> None:
    """End what the other id has been through already, where nobody goes through it twice."""
    for enrollment in enrollments:
        plan, memory = _plan(draft, enrollment), memories.get(enrollment.journey)
        if plan is None or memory is None or enrollment.step is None:
            continue
        if not _stands(draft, enrollment):
            continue
        if enrollment.key is not None:
            over = any(key == enrollment.key for key, _ in memory.ended_keys)
        else:
            over = plan.entry.reentry == "once" and memory.last_end_ms is not None
        if over:
            end(draft, enrollment, EndReason.MERGED, fenced=plan.promotional, detail="once")


def _settle_promises(draft: Draft) -> None:
    """Confirm what was provisional, and take back what contradicts an older promise."""
    for one in confirm(draft):
        say_otherwise(draft, one)
    offers, now_ms = draft.journeys.offers, draft.now_ms
    standing: list[str] = []
    oldest_first = sorted(
        (promise.provisional, promise.granted_ms, name)
        for name, promise in draft.promises.items()
        if is_open(promise, now_ms)
    )
    for _, _, name in oldest_first:
        if offers.get(name) is not None and any(offers.clash(held, name) for held in standing):
            close(draft, name, draft.promises[name], PromiseEnd.CONTRADICTED)
        else:
            standing.append(name)


def _plan(draft: Draft, enrollment: Enrollment) -> Plan | None:
    return draft.journeys.plans.get((enrollment.journey, enrollment.version))


def _stands(draft: Draft, enrollment: Enrollment) -> bool:
    return any(one.id == enrollment.id for one in draft.enrollments)


def _place(plan: Plan, enrollment: Enrollment) -> tuple[int, int]:
    """Return how far somebody has come: the step, and how often it was taken."""
    step = enrollment.step or ""
    return plan.positions.get(step, -1), enrollment.visits.get(step, 0)
