"""Decimal amounts: read from what producers send, calculated exactly, written as text.

Money never becomes a binary fraction on its way into the state. Everything here names its context,
so that no thread's settings have a say.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Final

# A thousand million times the largest order of a shop, with more digits than currencies have.
_WHOLE_DIGITS_MAX: Final = 15
DECIMALS_MAX: Final = 6
# Sums of as many of these as there can be events stay exact.
_CONTEXT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
MONEY_DECIMALS: Final = 2
ZERO: Final = Decimal(0)


def parse_amount(value: object) -> Decimal | None:
    """Return decimal text or a number as an amount; None for anything else and for the absurd."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if isinstance(value, str) and len(value) > 2 * (_WHOLE_DIGITS_MAX + DECIMALS_MAX):
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    if not amount.is_finite() or (amount and amount.adjusted() >= _WHOLE_DIGITS_MAX):
        return None
    exponent = amount.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMALS_MAX:
        return _CONTEXT.quantize(amount, Decimal(1).scaleb(-DECIMALS_MAX))
    return _CONTEXT.plus(amount)


def added(one: Decimal, other: Decimal) -> Decimal:
    """Return the exact sum."""
    return _CONTEXT.add(one, other)


def part_of(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """Return the part of an amount, in as many decimals as it has, and in two at least."""
    if part == whole:
        return amount
    decimals = max(_decimals(amount), MONEY_DECIMALS)
    return _rounded(_CONTEXT.divide(_CONTEXT.multiply(amount, part), whole), decimals)


def mean(amount: Decimal, count: int) -> Decimal:
    """Return the mean, in as many decimals as the sum has, and in two at least."""
    decimals = max(_decimals(amount), MONEY_DECIMALS)
    return _rounded(_CONTEXT.divide(amount, Decimal(count)), decimals)


def times(amount: Decimal, count: int) -> Decimal:
    """Return the exact product."""
    return _CONTEXT.multiply(amount, Decimal(count))


def text_of(amount: Decimal, decimals_min: int = 0) -> str:
    """Return an amount as plain digits, with at least so many decimals."""
    if _decimals(amount) < decimals_min:
        amount = _rounded(amount, decimals_min)
    return f"{amount:f}"


def without_padding(amount: Decimal) -> Decimal:
    """Return the amount without decimals that say nothing."""
    whole = _rounded(amount, 0)
    return whole if whole == amount else _CONTEXT.normalize(amount)


def _rounded(amount: Decimal, decimals: int) -> Decimal:
    return _CONTEXT.quantize(amount, Decimal(1).scaleb(-decimals))


def _decimals(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
