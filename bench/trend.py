"""Whether something is flat: the straight line over the second half of a run, and how far it rises.

`soak` asks it for each of its measures. The line is Theil and Sen's, the median of the slopes
between all pairs of points: a single hiccup of the machine does not bend it, a leak does. What
falls is flat enough; nobody runs out of less.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Point = tuple[float, float]
"""Seconds since the beginning, and a figure."""
# Of fewer nobody can say where they go.
POINTS_MIN: Final = 4


@dataclass(frozen=True, slots=True)
class Allowance:
    """How far a flat measure may rise over the second half: both together.

    `share` is of the middle figure, `amount` in the measure's unit.
    """

    share: float = 0.0
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """The second half of a run; figures in the measure's unit, the slope in that per hour."""

    middle: float
    slope_per_hour: float
    rise: float
    allowed: float
    flat: bool


def slope(points: Sequence[Point]) -> float:
    """Return the median slope between pairs of points, per second; 0 for fewer than two times."""
    slopes = [
        (later - earlier) / (second - first)
        for (first, earlier), (second, later) in combinations(sorted(points), 2)
        if second > first
    ]
    return median(slopes) if slopes else 0.0


def second_half(points: Sequence[Point], seconds: float) -> list[Point]:
    """Return the points of the second half of so many seconds."""
    return [point for point in points if seconds / 2 <= point[0] <= seconds]


def trend(points: Sequence[Point], seconds: float, allowance: Allowance) -> Trend:
    """Judge the second half of a run of so many seconds; too few points are not flat."""
    half = second_half(points, seconds)
    if len(half) < POINTS_MIN:
        return Trend(0.0, 0.0, 0.0, 0.0, flat=False)
    middle = median(figure for _, figure in half)
    each_second = slope(half)
    rise = each_second * (half[-1][0] - half[0][0])
    allowed = allowance.share * abs(middle) + allowance.amount
    return Trend(middle, each_second * 3_600, rise, allowed, rise <= allowed)
