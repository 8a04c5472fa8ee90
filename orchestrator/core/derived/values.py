"""What was counted → the values of the attributes.

`follow` comes here when something was counted, undone, or has left a window.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.calendar import instant_text
from orchestrator.core.derived.amounts import (
    MONEY_DECIMALS,
    ZERO,
    mean,
    parse_amount,
    text_of,
    without_padding,
)
from orchestrator.core.derived.tally import (
    TIME,
    VALUES_MAX,
    Series,
    Total,
    effects_of,
    total_of,
)
from orchestrator.core.derived.terms import tier_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.core.derived.tally import Content, Effect
    from orchestrator.core.derived.terms import Derivations, DerivedTerms

# A window of a year moves on every nine hours, one of a week every ten minutes: what leaves it
# together, costs one decision.
_STEPS_OF_A_WINDOW: Final = 1_000
_NO_SERIES: Final = Series()


def values_of(derivations: Derivations, content: Content, now_ms: int) -> dict[str, Any]:
    """Return the attributes that have a value now, by name; what was never counted has none."""
    values: dict[str, Any] = {}
    sums = _Sums(content, now_ms)
    for one in derivations.attributes:
        if one.says.tiers is not None:
            value: Any = tier_of(one.says, _number(values.get(one.says.of or "")))
        else:
            value = _value(one, sums.of(one.series, one.says.within))
        if value is not None and value != _assumed(derivations, one.name):
            values[one.name] = value
    return values


class _Sums:
    """The totals of series and windows, each worked out once."""

    __slots__ = ("_content", "_effects", "_now_ms", "_totals")

    def __init__(self, content: Content, now_ms: int) -> None:
        self._content = content
        self._now_ms = now_ms
        self._effects: dict[str, list[Effect]] = {}
        self._totals: dict[tuple[str, int | None], Total] = {}

    def of(self, key: str, within: int | None) -> Total:
        series = self._content.get(key, _NO_SERIES)
        if key not in self._effects:
            self._effects[key] = effects_of(series.counted)
        effects = self._effects[key]
        if within is not None:
            effects = [one for one in effects if _leaves_ms(one.time_ms, within) > self._now_ms]
        # Of two windows the longer one holds all of the shorter, so as many are the same ones.
        everything = within is None and series.total.events > 0
        place = (key, None if everything else len(effects))
        if place not in self._totals:
            self._totals[place] = total_of(effects, series.total if everything else None)
        return self._totals[place]


def due_ms_of(derivations: Derivations, content: Content, now_ms: int) -> int | None:
    """Return when the next event leaves a window, or None."""
    due_ms: int | None = None
    for one in derivations.attributes:
        within = one.says.within
        if within is None:
            continue
        for counted in content.get(one.series, _NO_SERIES).counted.values():
            if counted.came and not counted.gone:
                leaves = _leaves_ms(counted.time_ms, within)
                if leaves > now_ms and (due_ms is None or leaves < due_ms):
                    due_ms = leaves
    return due_ms


def _assumed(derivations: Derivations, name: str) -> Any:
    held = derivations.assumed.get(name)
    return None if held is None else held.value


def _leaves_ms(time_ms: int, within: int) -> int:
    """Return when an event leaves a window."""
    step = max(within // _STEPS_OF_A_WINDOW, 1)
    return -(-(time_ms + within) // step) * step


def _value(one: DerivedTerms, total: Total) -> Any:
    field = one.field
    if not total.events:
        return None
    match one.make:
        case "count":
            return total.events if one.says.count == "events" else total.pieces
        case "sum" | "average" | "max" | "min":
            return _amount(one, total)
        case "newest":
            return _told(field, total.newest)
        case "oldest":
            return _told(field, total.oldest)
        case "most_frequent":
            return _most_frequent(total.weights.get(field, {}), total.seen.get(field, {}))
        case _:
            seen = total.seen.get(field, {})
            newest = sorted(seen, key=lambda value: (-seen[value], value))[:VALUES_MAX]
            return sorted(newest) or None


def _amount(one: DerivedTerms, total: Total) -> Any:
    numbers = total.numbers.get(one.number)
    if numbers is None:
        return None
    match one.make:
        case "sum":
            amount = Decimal(numbers.sum)
        case "average":
            amount = mean(Decimal(numbers.sum), numbers.count)
        case "max":
            amount = Decimal(numbers.max)
        case _:
            amount = Decimal(numbers.min)
    if one.is_money:
        return text_of(amount, MONEY_DECIMALS)
    return text_of(without_padding(amount))


def _told(field: str, told: Mapping[str, tuple[int, bytes, str]]) -> str | None:
    found = told.get(field)
    if found is None:
        return None
    return instant_text(found[0]) if field == TIME else found[2]


def _most_frequent(weights: Mapping[str, int], seen: Mapping[str, int]) -> str | None:
    ordered: Iterable[str] = sorted(
        weights, key=lambda value: (-weights[value], -seen.get(value, 0), value)
    )
    return next(iter(ordered), None)


def _number(value: Any) -> Decimal | None:
    amount = parse_amount(value)
    return ZERO if amount is None else amount
