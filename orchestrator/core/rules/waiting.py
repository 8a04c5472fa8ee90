"""Until when somebody waits: a time, a time of day, their best one, a weekday, a date of theirs.

`advance` asks when it comes to a wait. Local time is that of the profile's zone, else of the
journey's, else of the shop's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.core.calendar import date_instant, first_zone, next_anniversary, next_time
from orchestrator.core.expressions.condition import Failed
from orchestrator.core.language.scalars import DURATION_MS_MAX
from orchestrator.core.rules.guard.quiet import quiet_after
from orchestrator.core.rules.learning.hours import best_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from orchestrator.core.customer import Attribute, Enrollment
    from orchestrator.core.journeys import Plan
    from orchestrator.core.language.words import Wait
    from orchestrator.core.rules.draft import Draft


class Over(NamedTuple):
    """When a wait is over, in epoch milliseconds, and why then, where that was a choice."""

    at_ms: int
    why: str | None = None


def over_at(draft: Draft, plan: Plan, enrollment: Enrollment, wait: Wait) -> Over | Failed:
    """Return when the wait is over, maybe in the past, or why nobody can say."""
    earliest_ms = draft.now_ms + wait.for_
    if wait.date is not None:
        at_ms = _date_ms(draft, plan, enrollment, wait)
        return at_ms if isinstance(at_ms, Failed) else Over(at_ms)
    if wait.best_time:
        zone, quiet = zone_of(draft.attributes, draft, plan), quiet_after(draft, plan, wait)
        return Over(*best_time(draft, zone, quiet, after_ms=earliest_ms, within_ms=wait.within))
    if wait.time is None and not wait.weekday:
        return Over(earliest_ms)
    zone = zone_of(draft.attributes, draft, plan)
    return Over(next_time(earliest_ms, wait.time or 0, zone, wait.weekdays))


def _date_ms(draft: Draft, plan: Plan, enrollment: Enrollment, wait: Wait) -> int | Failed:
    assert wait.date is not None
    value = draft.scope.value(wait.date, enrollment)
    if isinstance(value, Failed):
        return value
    zone, shift_ms = zone_of(draft.attributes, draft, plan), wait.after - wait.before
    if wait.yearly:
        after_ms = draft.now_ms
        at_ms = next_anniversary(value, wait.time, zone, after_ms=after_ms, shift_ms=shift_ms)
    else:
        at_ms = date_instant(value, wait.time, zone, shift_ms=shift_ms)
    if at_ms is None:
        return Failed(f"{wait.date.source}: {value!r:.40} is no date")
    if at_ms > draft.now_ms + DURATION_MS_MAX:
        return Failed(f"{wait.date.source}: {value!r:.40} is more than ten years away")
    return at_ms


def zone_of(attributes: Mapping[str, Attribute], draft: Draft, plan: Plan) -> ZoneInfo:
    """Return the zone of somebody with this profile: their own, the journey's or the shop's."""
    attribute = attributes.get("zone")
    own = None if attribute is None else attribute.value
    return first_zone((own, plan.journey.zone, draft.journeys.shop.zone))
