"""When a customer responds: learned from their answers, and asked by `wait: best_time`.

`decide` hands over every report that somebody has opened, clicked or replied; `waiting` asks for
the best hour that comes. Counts are whole numbers, so that they are the same on every machine. They
halve from one period of four weeks to the next in which the customer answers: who is silent keeps
their habits. Any order of arrival gives the same counts over ten periods; what is older weighs less
than a thousandth of an answer.
"""

from __future__ import annotations

import re
from itertools import groupby
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.core.calendar import DAY_MS, first_zone, minute_of_day, next_time
from orchestrator.core.contact import WEIGHTS
from orchestrator.core.customer import AnsweredHours

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from orchestrator.core.customer import Attribute
    from orchestrator.core.language.shop import QuietHours
    from orchestrator.core.rules.draft import Draft

HOURS: Final = 24
HALF_LIFE_MS: Final = 28 * DAY_MS
COUNT_MAX: Final = 2**16 - 1
PREFERRED: Final = "preferred_hour"
# Why an hour was chosen, as the journey log says it before the hour.
NAMED: Final = "named"  # By the customer.
LEARNED: Final = "learned"  # From their answers.
CURVE: Final = "best_hours"  # They have not answered at that hour; the shop's customers do.
NO_HOUR: Final = "none comes in time"
# An opening; a power of two, so that it can be halved ten times and nothing is rounded.
OPENED: Final = 1024
# What the best hour of the shop's curve weighs: two openings at another hour are not believed yet.
PRIOR: Final = 5 * OPENED // 2
_COUNTS: Final = Struct(f">{HOURS}H")
_MINUTE_MS: Final = 60_000
_HOUR_TEXT: Final = re.compile(r"([01]?\d|2[0-3])(?::[0-5]\d)?", re.ASCII)


def learn_hour(draft: Draft, event_type: str, at_ms: int) -> None:
    """Count an answer in the hour of the day that it was where the customer is."""
    zone = first_zone((_value(draft.attributes, "zone"), draft.journeys.shop.zone))
    hour = minute_of_day(at_ms, zone) // 60
    weight = WEIGHTS[event_type] * OPENED // WEIGHTS["message.opened"]
    draft.hours = counted(draft.hours, hour, at_ms, weight)


def counted(held: AnsweredHours | None, hour: int, at_ms: int, weight: int) -> AnsweredHours:
    """Return the counts with one more answer, which may be older than others."""
    period = at_ms // HALF_LIFE_MS
    newest = period if held is None else max(held.period, period)
    age = 0 if held is None else newest - held.period
    counts = [count >> age for count in counts_in(held)]
    counts[hour] = min(COUNT_MAX, counts[hour] + (weight >> newest - period))
    return AnsweredHours(newest, _COUNTS.pack(*counts))


def counts_in(held: AnsweredHours | None) -> tuple[int, ...]:
    """Return what the answers weigh, by hour."""
    return (0,) * HOURS if held is None else _COUNTS.unpack(held.counts)


def counts_of_all(draft: Draft) -> tuple[int, ...]:
    """Return what the answers weigh under every id that the customer has had, by hour."""
    others = () if draft.kin is None else draft.kin.habits.values()
    learned = [one for one in (draft.hours, *(o.hours for o in others)) if one is not None]
    newest = max((one.period for one in learned), default=0)
    aged = [[count >> newest - one.period for count in counts_in(one)] for one in learned]
    return tuple(map(sum, zip(*aged, strict=True))) if aged else counts_in(None)


class BestTime(NamedTuple):
    """When the best hour comes, in epoch milliseconds, and why it is this one, for the log."""

    at_ms: int
    why: str


def best_time(
    draft: Draft, zone: ZoneInfo, quiet: Sequence[QuietHours], *, after_ms: int, within_ms: int
) -> BestTime:
    """Return when the best hour begins that comes after an instant; of equals the first.

    Within less than a day only some hours come. The hour that it is by then counts as coming at
    once; now, with the next minute. Where every hour is quiet on one channel or another, none is.
    """
    soon_ms = after_ms
    if after_ms <= draft.now_ms:
        soon_ms = (draft.now_ms // _MINUTE_MS + 1) * _MINUTE_MS
    minute = minute_of_day(soon_ms, zone)
    for kept in (quiet, ()):
        for why, group in _ranked(draft, kept, minute):
            times = (
                (soon_ms if hour == minute // 60 else next_time(after_ms, hour * 60, zone), hour)
                for hour in group
            )
            latest_ms = after_ms + within_ms
            coming = [one for one in times if within_ms >= DAY_MS or one[0] <= latest_ms]
            if coming:
                at_ms, hour = min(coming)
                return BestTime(at_ms, f"{why or _why(draft, hour)}: {hour:02}:00")
    return BestTime(soon_ms, NO_HOUR)


def preferred_hour(attributes: Mapping[str, Attribute]) -> int | None:
    """Return the hour that the customer has named; None when it is none."""
    value = _value(attributes, PREFERRED)
    if isinstance(value, str) and (match := _HOUR_TEXT.fullmatch(value)) is not None:
        return int(match[1])
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < HOURS:
        return value
    return None


def _why(draft: Draft, hour: int) -> str:
    """Say whether the customer's answers or the shop's curve speak for an hour."""
    return LEARNED if counts_of_all(draft)[hour] else CURVE


def _ranked(
    draft: Draft, quiet: Sequence[QuietHours], minute: int
) -> Iterator[tuple[str | None, list[int]]]:
    """Yield the hours, best first; those that are equally good together, and why if all know it.

    What the customer has named comes first, in quiet hours too: the guard has the last word there.
    """
    named = preferred_hour(draft.attributes)
    if named is not None:
        yield NAMED, [named]
    curve = draft.journeys.shop.best_hours
    highest = max(curve.values())
    scores = [
        (curve.get(hour, 0) * PRIOR // highest + count, hour)
        for hour, count in enumerate(counts_of_all(draft))
    ]
    now = minute // 60
    scores = [
        (score, hour)
        for score, hour in scores
        if not any(one.holds(minute if hour == now else hour * 60) for one in quiet)
    ]
    for _, equals in groupby(sorted(scores, reverse=True), key=lambda one: one[0]):
        yield None, [hour for _, hour in equals]


def _value(attributes: Mapping[str, Attribute], name: str) -> object:
    attribute = attributes.get(name)
    return None if attribute is None else attribute.value
