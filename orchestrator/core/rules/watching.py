"""Dates and absences: when a customer will enter a journey of their own accord.

`decide` comes here when the profile has changed, when what may be missed has come, and when the
time is there. What is to come stands in the customer's state as a `Watch`, so that it costs nothing
until then and survives everything that the state survives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.calendar import date_instant, next_anniversary
from orchestrator.core.customer import Watch
from orchestrator.core.expressions.condition import Failed
from orchestrator.core.rules.enroll import enter_at
from orchestrator.core.rules.waiting import zone_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.event import Event
    from orchestrator.core.journeys import Plan
    from orchestrator.core.language.journey import OnDate
    from orchestrator.core.rules.draft import Draft


def watch_dates(draft: Draft) -> None:
    """Work out dates again, after the profile has changed in this decision."""
    for plan in draft.journeys.dated:
        _watch_date(draft, plan)


def watch_absence(draft: Draft, event: Event, occurred_ms: int) -> None:
    """Count anew from what has come. History says since when, and lets nobody enter at once."""
    for plan in draft.journeys.missing.get(event.type, ()):
        absence = plan.entry.absence
        if absence is None or draft.scope.holds(absence.when) is not True:
            continue
        held = draft.watches.get(plan.name)
        since_ms = occurred_ms
        if held is not None and held.since_ms is not None:
            since_ms = max(since_ms, held.since_ms)
        _put(draft, plan, _absent_from(draft, plan, since_ms))


def introduce(draft: Draft, plan: Plan) -> None:
    """Work out what a journey that is new here has to wait for, with a customer who is not."""
    if plan.entry.date is not None:
        _watch_date(draft, plan)
    absence, held = plan.entry.absence, draft.watches.get(plan.name)
    if absence is None:
        return
    if held is not None:
        if held.version != plan.version:
            _put(draft, plan, _worked_out(draft, plan, held))
        return
    # Of other events the state keeps no time: they count from the next one on.
    if absence.of == "purchase" and absence.when is None and draft.orders:
        _put(draft, plan, _absent_from(draft, plan, max(one.time_ms for one in draft.orders)))


def come_due(draft: Draft) -> None:
    """Let the customer enter what has come due, the longest overdue first."""
    due = sorted(
        (watch.due_ms, name)
        for name, watch in draft.watches.items()
        if watch.due_ms is not None and watch.due_ms <= draft.now_ms
    )
    for due_ms, name in due:
        plan = draft.journeys.watching.get(name)
        if plan is None:
            draft.watches = {held: one for held, one in draft.watches.items() if held != name}
        else:
            _enter_watched(draft, plan, draft.watches[name], due_ms)


def _enter_watched(draft: Draft, plan: Plan, watch: Watch, due_ms: int) -> None:
    if watch.version != plan.version:
        watch = _worked_out(draft, plan, watch)
        if watch.due_ms is None or watch.due_ms > draft.now_ms:
            _put(draft, plan, watch)
            return
        due_ms = watch.due_ms
    enter_at(draft, plan, due_ms)
    following = None if plan.entry.date is None else _due_ms(draft, plan, plan.entry.date)
    _put(draft, plan, Watch(plan.version, following, watch.since_ms))


def _worked_out(draft: Draft, plan: Plan, held: Watch) -> Watch:
    """Return the watch of a new version for what an older one watched."""
    if plan.entry.date is not None:
        return Watch(plan.version, _due_ms(draft, plan, plan.entry.date))
    if held.since_ms is None:
        return Watch(plan.version)
    return _absent_from(draft, plan, held.since_ms)


def _watch_date(draft: Draft, plan: Plan) -> None:
    date = plan.entry.date
    if date is None:
        return
    held = draft.watches.get(plan.name)
    if held is not None and held.version == plan.version and _unchanged(draft, plan, date):
        return  # Also one that is overdue.
    due_ms = _due_ms(draft, plan, date)
    if due_ms is not None or held is not None:
        _put(draft, plan, Watch(plan.version, due_ms))


def _unchanged(draft: Draft, plan: Plan, date: OnDate) -> bool:
    """Whether the date and the zone are what they were before this decision."""
    before = draft.scope_before
    same_date = before.value(date.of) == draft.scope.value(date.of)
    return same_date and zone_of(draft.customer.attributes, draft, plan) == zone_of(
        draft.attributes, draft, plan
    )


def _due_ms(draft: Draft, plan: Plan, date: OnDate) -> int | None:
    """Return the next time of a date; None when it has passed, is missing or is no date."""
    value = draft.scope.value(date.of)
    if isinstance(value, Failed):
        return None
    zone = zone_of(draft.attributes, draft, plan)
    shift_ms = date.after - date.before
    if date.yearly:
        after_ms = draft.now_ms
        return next_anniversary(value, date.time, zone, after_ms=after_ms, shift_ms=shift_ms)
    due_ms = date_instant(value, date.time, zone, shift_ms=shift_ms)
    return due_ms if due_ms is not None and due_ms > draft.now_ms else None


def _absent_from(draft: Draft, plan: Plan, since_ms: int) -> Watch:
    """Return until when it may still come; one that is long over lets nobody enter any more."""
    assert plan.entry.absence is not None
    due_ms = since_ms + plan.entry.absence.for_
    history = draft.event is not None and draft.event.backfill
    too_late = due_ms + (0 if history else plan.entry.max_age) <= draft.now_ms
    return Watch(plan.version, None if too_late else due_ms, since_ms)


def _put(draft: Draft, plan: Plan, watch: Watch) -> None:
    watches: Mapping[str, Watch] = draft.watches
    if watches.get(plan.name) != watch:
        draft.watches = {**watches, plan.name: watch}
