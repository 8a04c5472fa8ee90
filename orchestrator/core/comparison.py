"""Conditions that are nothing but comparisons, decided without CEL.

Most conditions of a shop are `profile.tier == "gold" && event.data.total > 50.0`: converting the
values into a CEL context costs ten times what comparing them does. `condition.Scope` asks here
first. What is not of this form, or compares values of unlike types, is left to CEL; where this
gives an answer, CEL gives the same one, which a property test holds it to.
"""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Events carry money as decimal text, so that nothing is rounded; conditions compare numbers.
MONEY_FIELDS: Final = frozenset({"total", "price", "unit_price", "discount", "shipping", "tax"})
# Larger integers have neighbours that are one number as a float.
_EXACT_MAX: Final = 2**53

# One name deep: below something that may not be an object, CEL has its own opinion.
_PATH: Final = r"(?:event\s*\.\s*data|trigger\s*\.\s*data|profile)\s*\.\s*[A-Za-z_]\w*"
_TERM: Final = re.compile(
    rf"\s*(?:(?P<not>!\s*)?has\s*\(\s*(?P<present>{_PATH})\s*\)"
    rf"|(?P<path>{_PATH})\s*(?P<operator>==|!=|<=|>=|<|>)\s*"
    r"""(?P<literal>"[^"\\\n]*"|'[^'\\\n]*'|-?\d+\.\d+|-?\d+|true\b|false\b))\s*(?P<more>&&|\Z)""",
    re.ASCII,
)
_OPERATORS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class _Missing:
    """The type of MISSING."""


MISSING: Final = _Missing()


class Term(NamedTuple):
    """One comparison of a value with a literal, or with None the question whether it is there."""

    path: tuple[str, ...]
    compare: Callable[[Any, Any], bool] | None
    literal: str | float | bool
    ordered: bool = False


def parse_terms(source: str) -> tuple[Term, ...] | None:
    """Return the terms of a conjunction of comparisons, or None when the source is more."""
    terms: list[Term] = []
    at = 0
    while match := _TERM.match(source, at):
        term = _term(match)
        if term is None:
            return None
        terms.append(term)
        if not match["more"]:
            return tuple(terms)
        at = match.end()
    return None


def path_of(source: str) -> tuple[str, ...]:
    """Split a path at its dots."""
    return tuple(part.strip() for part in source.split("."))


def all_hold(terms: tuple[Term, ...], look_up: Callable[[tuple[str, ...]], Any]) -> bool | None:
    """Whether all terms hold, or None when only CEL can tell.

    `look_up` returns a value or MISSING. As in CEL, one false term decides, whatever the others
    are; a comparison with what is not there does not hold.
    """
    missing = False
    for path, compare, literal, ordered in terms:
        value = look_up(path)
        if compare is None:
            if (value is not MISSING) is not literal:
                return False
        elif value is MISSING:
            missing = True
        else:
            value = _comparable(value, path[-1], literal, ordered=ordered)
            if value is MISSING:
                return None
            if not compare(value, literal):
                return False
    return not missing


def amount(text: str) -> float | str:
    """Return decimal text as a number, any other text as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _term(match: re.Match[str]) -> Term | None:
    if match["present"] is not None:
        return Term(path_of(match["present"]), None, literal=match["not"] is None)
    compare, literal = _OPERATORS[match["operator"]], _literal(match["literal"])
    ordered = match["operator"] not in {"==", "!="}
    if isinstance(literal, bool) and ordered:
        return None
    if not isinstance(literal, bool | str) and abs(literal) > _EXACT_MAX:
        return None
    return Term(path_of(match["path"]), compare, literal, ordered)


def _literal(text: str) -> str | float | bool:
    if text in {"true", "false"}:
        return text == "true"
    if text[0] in "\"'":
        return text[1:-1]
    return float(text) if "." in text else int(text)


def _comparable(value: Any, name: str, literal: object, *, ordered: bool) -> Any:
    """Return the value when it is of the literal's kind, else MISSING."""
    if isinstance(literal, str):
        return value if isinstance(value, str) and name not in MONEY_FIELDS else MISSING
    if isinstance(literal, bool) or isinstance(value, bool):
        return value if type(value) is type(literal) and not ordered else MISSING
    if isinstance(value, str) and name in MONEY_FIELDS:
        value = amount(value)
    if isinstance(value, float) or (isinstance(value, int) and abs(value) <= _EXACT_MAX):
        return value
    return MISSING
