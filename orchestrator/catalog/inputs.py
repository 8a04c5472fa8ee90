"""`journeys/inputs.yaml` → inputs by name, and what is wrong with them.

`folder.py` reads it last. Whether events are whole, and whether examples hold, takes the decoder:
that is the matter of `protocol/inputs/trial`.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.catalog.draft import read_model
from orchestrator.catalog.findings import Finding, instead, quoted, shortened
from orchestrator.catalog.rules.expressions import FUNCTIONS, LOOPS_MAX
from orchestrator.catalog.tree import Node
from orchestrator.core.expressions.comparison import MONEY_FIELDS
from orchestrator.core.expressions.formula import (
    DECIMAL,
    ELEMENT,
    FORMULA_ROOTS,
    RECORD,
    RECORD_MEMBERS,
    STRING,
    Formula,
)
from orchestrator.core.language.inputs import Input
from orchestrator.core.language.scalars import NAME_PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.catalog.vocabulary import Vocabulary
    from orchestrator.core.language.inputs import Rule

INPUTS_MAX: Final = 100
INPUT_FUNCTIONS: Final = FUNCTIONS | {DECIMAL}
# The library that reads each format; both come with the extra.
READERS: Final = {"avro": "fastavro", "protobuf": "google.protobuf"}
EXTRA: Final = "pip install 'journey-orchestrator[registry]'"

_MEMBER: Final = re.compile(rf"(?<![\w.]){RECORD}\s*\.\s*([A-Za-z_]\w*)")
# What makes a float of a number: a fraction that is typed, or asked for.
_FLOAT: Final = re.compile(r"(?<![\w.])(?:double\s*\(|\d+\.\d)")

Place = tuple[str | int, ...]


class _Use(NamedTuple):
    """One expression of a rule, where it stands, and what it sees besides the record."""

    formula: Formula
    place: Place
    sees: frozenset[str]


class InputFile:
    """`inputs.yaml` as far as it could be read: its sound inputs, and where each word stands."""

    def __init__(self, path: str, tree: Node) -> None:
        self.path: Final = path
        self.tree: Final = tree
        self.inputs: dict[str, Input] = {}
        self.findings: list[Finding] = []
        if len(tree.value) > INPUTS_MAX:
            self.findings.append(
                self.finding(f"holds {len(tree.value)} inputs; at most {INPUTS_MAX}")
            )
            return
        for name, node in tree.value.items():
            if re.match(NAME_PATTERN, name) is None:
                message = "is not a name; write a-z, 0-9 and _, beginning with a letter"
                self.findings.append(self.finding(f"{quoted(name)} {message}", name))
                continue
            line = tree.key_lines[name]
            one, findings = read_model(path, Node(node.value, line, node.key_lines), Input)
            shown = shortened(name)
            self.findings += [
                found._replace(message=f"{shown}: {found.message}") for found in findings
            ]
            if one is not None:
                self.inputs[name] = one

    def finding(self, message: str, *place: str | int) -> Finding:
        """Return a finding at a place of the file."""
        return Finding(self.path, self.tree.line_of(*place), message)


def input_findings(file: InputFile, vocabulary: Vocabulary | None) -> Iterator[Finding]:
    """Yield what is wrong with inputs although each of their words is allowed."""
    topics: dict[str, str] = {}
    for name, one in file.inputs.items():
        if (first := topics.setdefault(one.topic, name)) != name:
            message = f"{name}: topic: {first} reads {quoted(one.topic)} already; add its rules"
            yield file.finding(message, name, "topic")
        for word in ("format", "key"):
            fault = _unread(getattr(one, word))
            if fault:
                yield file.finding(f"{name}: {word}: {fault}", name, word)
        always = None
        for number, rule in enumerate(one.rules):
            place = (name, "rules", number)
            if always is not None:
                message = f"is never reached: rule {always} takes every record"
                yield file.finding(f"{name}: rule {number + 1}: {message}", *place)
            if rule.when is None and always is None:
                always = number + 1
            for message, at in _rule_faults(rule, vocabulary):
                words = ".".join(str(part) for part in at)
                said = f"{name}: rule {number + 1}: {words}: {message}"
                yield file.finding(said, *place, *at)


def _unread(form: str) -> str | None:
    reader = READERS.get(form)
    if reader is None:
        return None
    try:
        found = find_spec(reader)
    except ModuleNotFoundError:  # The package around it is missing too.
        found = None
    return None if found else f"{form} is read by an extra that is not installed; {EXTRA}"


def _rule_faults(rule: Rule, vocabulary: Vocabulary | None) -> Iterator[tuple[str, Place]]:
    if vocabulary is not None and rule.type not in vocabulary.types:
        hint = instead(rule.type, vocabulary.types)
        if "did you mean" not in hint:
            hint = "; an event of your own is declared in shop.yaml under events"
        yield f"there is no event {quoted(rule.type)}{hint}", ("type",)
    for use in _uses(rule):
        for message in _formula_faults(use):
            yield message, use.place
    for word, formula in (("subject", rule.subject), ("id", rule.id)):
        if formula is not None and not formula.roots and not formula.unknown:
            yield "names nothing of the record, so it would be the same for all", (word,)
    if rule.each is not None and rule.id is not None and not rule.id.roots & ELEMENT:
        message = "is the same for every item; make it differ by item or index"
        yield message, ("id",)
    for field, taken in rule.data.items():
        source = STRING.sub('""', taken.value.source)
        if field in MONEY_FIELDS and _FLOAT.search(source):
            message = (
                "money is not calculated in floating point; take it as it is, or write "
                "decimal(cents, 2)"
            )
            yield message, ("data", field)
        if field in MONEY_FIELDS and isinstance(taken.default, bool):
            yield "money is text or a whole number", ("data", field)


def _uses(rule: Rule) -> Iterator[_Use]:
    whole = frozenset({RECORD})
    sees = whole | ELEMENT if rule.each is not None else whole
    for word, formula, seen in (
        ("when", rule.when, whole),
        ("each", rule.each, whole),
        ("subject", rule.subject, sees),
        ("id", rule.id, sees),
        ("backfill", rule.backfill, sees),
    ):
        if formula is not None:
            yield _Use(formula, (word,), seen)
    if rule.time is not None:
        yield _Use(rule.time.value, ("time",), sees)
    for field, taken in rule.data.items():
        yield _Use(taken.value, ("data", field), sees)


def _formula_faults(use: _Use) -> Iterator[str]:
    formula = use.formula
    for name in sorted(formula.unknown):
        yield f"{quoted(name)} is not known here{instead(name, use.sees)}"
    for name in sorted(formula.roots - use.sees):
        yield f"{quoted(name)} is there in a rule with `each` only{_seen(use, name)}"
    source = STRING.sub('""', formula.source)
    for name in dict.fromkeys(_MEMBER.findall(source)):
        if name not in RECORD_MEMBERS:
            yield f"{RECORD} has no {quoted(name)}{instead(name, RECORD_MEMBERS)}"
    for name in formula.functions:
        if name not in INPUT_FUNCTIONS:
            yield f"there is no function {quoted(name)}{instead(name, INPUT_FUNCTIONS)}"
    if formula.loops > LOOPS_MAX:
        yield f"goes over lists {formula.loops} times; at most {LOOPS_MAX}"


def _seen(use: _Use, name: str) -> str:
    where = f"; {use.place[0]} sees {', '.join(sorted(use.sees))}"
    return where if name in FORMULA_ROOTS else ""
