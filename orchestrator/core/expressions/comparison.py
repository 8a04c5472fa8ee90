"""Conditions that are nothing but simple comparisons, decided without CEL.

Most conditions of a shop are `profile.tier == "gold" && event.data.total > 50.0`, or ask whether
an item is one of the enrollment's: converting the values into a CEL context costs ten times what
comparing them does. `condition.Scope` asks here first. What is not of this form, or compares
values of unlike types, is left to CEL; where this gives an answer, CEL gives the same one, which
a property test holds it to.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

# Events carry money as decimal text, so that nothing is rounded; conditions compare numbers.
MONEY_FIELDS: Final = frozenset({"total", "price", "unit_price", "discount", "shipping", "tax"})
# Larger integers have neighbours that are one number as a float.
_EXACT_MAX: Final = 2**53
_KEY: Final = ("enrollment", "key")
_NUMBERS: Final = frozenset({int, float})

Path = tuple[str, ...]
LookUp = Callable[[Path], Any]
Compare = Callable[[Any, Any], Any]

# One name deep: below something that may not be an object, CEL has its own opinion.
_PATH: Final = r"(?:event\s*\.\s*data|trigger\s*\.\s*data|profile)\s*\.\s*[A-Za-z_]\w*"
_COMPARED: Final = r"""\s*(==|!=|<=|>=|<|>)\s*
    ("[^"\\\n]*" | '[^'\\\n]*' | -?\d+\.\d+ | -?\d+ | true\b | false\b)"""
_TERM: Final = re.compile(
    rf"""\s*(?:
      (?P<not>!\s*)? has\s*\(\s* (?P<present>{_PATH}) \s*\)
    | size\s*\(\s* (?P<sized>{_PATH}) \s*\) {_COMPARED}
    | (?P<tied>{_PATH}) \s*==\s* enrollment\s*\.\s*key\b
    | (?P<path>{_PATH}) {_COMPARED}
    | (?P<list>{_PATH}) \s*\.\s* exists\s*\(\s* (?P<each>[a-z]\w*) \s*,\s*
      (?P=each)\s*\.\s*(?P<field>[A-Za-z_]\w*)
      (?: \s+ in \s+ enrollment\s*\.\s*(?P<among>skus|families)\b | {_COMPARED} ) \s*\)
    | (?P<outside>!\s*\(\s*)? (?P<segment>"[a-z]\w*"|'[a-z]\w*') \s* in \s+ segments\b
      (?(outside)\s*\))
    )\s*(?P<more>&&|\Z)""",
    re.ASCII | re.VERBOSE,
)
_HAS: Final = rf"\s*has\s*\(\s*({_PATH})\s*\)\s*"
_ANY_PRESENT: Final = re.compile(rf"{_HAS}(?:\|\|{_HAS})+", re.ASCII)
_ONE_PRESENT: Final = re.compile(_HAS, re.ASCII)
_OPERATORS: Final[Mapping[str, Compare]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Missing(Enum):
    """The type of MISSING."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
# What a term says: true, false, that what it compares is not there, or that only CEL can tell.
Answer = bool | Missing | None


class Presence(NamedTuple):
    """`has(path)`, or with `expected` False `!has(path)`."""

    path: Path
    expected: bool

    def answer(self, look_up: LookUp) -> Answer:
        """Whether the value is there, as expected."""
        return (look_up(self.path) is not MISSING) is self.expected


class AnyPresent(NamedTuple):
    """`has(path) || has(path)`, and no more than that."""

    paths: tuple[Path, ...]

    def answer(self, look_up: LookUp) -> Answer:
        """Whether one of the values is there."""
        return any(look_up(path) is not MISSING for path in self.paths)


class Size(NamedTuple):
    """`size(path) > 1`."""

    path: Path
    compare: Compare
    literal: int

    def answer(self, look_up: LookUp) -> Answer:
        """Compare the number of items of a list."""
        value: object = look_up(self.path)
        if value is MISSING:
            return MISSING
        return bool(self.compare(len(value), self.literal)) if isinstance(value, list) else None


class Comparison(NamedTuple):
    """`path > literal`."""

    path: Path
    compare: Compare
    literal: str | float | bool

    def answer(self, look_up: LookUp) -> Answer:
        """Compare the value when it is of the literal's kind."""
        return _compared(look_up(self.path), self.path[-1], self.compare, self.literal)


class KeyTie(NamedTuple):
    """`path == enrollment.key`."""

    path: Path

    def answer(self, look_up: LookUp) -> Answer:
        """Compare the value with the instance key when both are text."""
        value: object = look_up(self.path)
        if value is MISSING:
            return MISSING
        key: object = look_up(_KEY)
        return value == key if isinstance(value, str) and isinstance(key, str) else None


class AnyItem(NamedTuple):
    """`path.exists(i, i.field == literal)`, or `i.field in enrollment.skus`."""

    path: Path
    field: str
    compare: Compare | None
    literal: str | float | bool
    among: Path

    def answer(self, look_up: LookUp) -> Answer:
        """Ask the items one by one; as in this CEL, the first that does not say no decides."""
        items = look_up(self.path)
        if items is MISSING or not isinstance(items, list):
            return MISSING if items is MISSING else None
        among = look_up(self.among) if self.compare is None else ()
        if among is MISSING:
            return None
        answers = (self._answer_for(item, among) for item in items)
        return next((answer for answer in answers if answer is not False), False)

    def _answer_for(self, item: object, among: Any) -> Answer:
        if not isinstance(item, dict):
            return None
        value: object = item.get(self.field, MISSING)
        if self.compare is not None:
            return _compared(value, self.field, self.compare, self.literal)
        if value is MISSING:
            return MISSING
        return bool(value in among) if isinstance(value, str) else None


class Membership(NamedTuple):
    """`"name" in segments`, or with `expected` False `!("name" in segments)`."""

    path: Path
    expected: bool

    def answer(self, look_up: LookUp) -> Answer:
        """Whether the customer is in the segment, as expected."""
        value: object = look_up(self.path)
        return None if value is MISSING else value is self.expected


Term = Presence | AnyPresent | Size | Comparison | KeyTie | AnyItem | Membership


def parse_terms(source: str) -> tuple[Term, ...] | None:
    """Return the terms of a conjunction of comparisons, or None when the source is more.

    Of disjunctions, only `has(…) || has(…)` is known here: it can go wrong in no term.
    """
    if _ANY_PRESENT.fullmatch(source):
        return (AnyPresent(tuple(path_of(one) for one in _ONE_PRESENT.findall(source))),)
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


def path_of(source: str) -> Path:
    """Split a path at its dots."""
    return tuple(part.strip() for part in source.split("."))


def all_hold(terms: tuple[Term, ...], look_up: LookUp) -> bool | None:
    """Whether all terms hold, or None when only CEL can tell.

    `look_up` returns a value or MISSING. As in CEL, one false term decides, whatever the others
    are; a comparison with what is not there does not hold.
    """
    holds = True
    for term in terms:
        answer = term.answer(look_up)
        if answer is False or answer is None:
            return answer
        if answer is MISSING:
            holds = False
    return holds


def amount(text: str) -> float | str:
    """Return decimal text as a number, any other text as it is."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _term(match: re.Match[str]) -> Term | None:
    if match["present"] is not None:
        return Presence(path_of(match["present"]), expected=match["not"] is None)
    if match["segment"] is not None:
        return Membership(("segments", match["segment"][1:-1]), expected=match["outside"] is None)
    if match["among"] is not None:
        path, among = path_of(match["list"]), ("enrollment", match["among"])
        return _unless_money(match["field"], AnyItem(path, match["field"], None, "", among))
    if match["tied"] is not None:
        path = path_of(match["tied"])
        return _unless_money(path[-1], KeyTie(path))
    # Only the alternative that matched has an operator and a literal.
    sign, text = (one for one in match.group(4, 5, 8, 9, 14, 15) if one is not None)
    compare, literal = _OPERATORS[sign], _literal(text)
    if isinstance(literal, bool) and sign not in {"==", "!="}:
        return None
    if not isinstance(literal, bool | str) and abs(literal) > _EXACT_MAX:
        return None
    if match["sized"] is not None:
        path = path_of(match["sized"])
        return Size(path, compare, literal) if type(literal) is int else None
    if match["list"] is not None:
        return AnyItem(path_of(match["list"]), match["field"], compare, literal, ())
    return Comparison(path_of(match["path"]), compare, literal)


def _unless_money(name: str, term: Term) -> Term | None:
    """Leave money to CEL: as a number it equals no text."""
    return None if name in MONEY_FIELDS else term


def _literal(text: str) -> str | float | bool:
    if text in {"true", "false"}:
        return text == "true"
    if text[0] in "\"'":
        return text[1:-1]
    return float(text) if "." in text else int(text)


def _compared(value: object, name: str, compare: Compare, literal: str | float | bool) -> Answer:  # noqa: FBT001
    """Compare two values of one kind; what is of another kind is left to CEL."""
    if value is MISSING:
        return MISSING
    if type(value) is str and name in MONEY_FIELDS:
        value = amount(value)
        if type(value) is str:  # No amount; whatever CEL makes of that.
            return None
    kind = type(value)
    if kind is int and abs(value) > _EXACT_MAX:  # type: ignore[arg-type]  # An int, as just asked.
        return None
    if kind is not type(literal) and not (kind in _NUMBERS and type(literal) in _NUMBERS):
        return None
    return bool(compare(value, literal))
