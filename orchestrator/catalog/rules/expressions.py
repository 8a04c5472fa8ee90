"""What can be wrong with a CEL expression that compiles.

`journeys.py` calls `expression_findings` for every journey. Names are looked up in the vocabulary;
conditions, keys and `about` are also evaluated once on an example of the event, which shows text
compared with numbers and results of the wrong kind. Only what is wrong for every event of the type
counts: a missing field or an unlucky example proves nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import cel

from orchestrator.catalog.draft import Draft, where
from orchestrator.catalog.findings import Finding, instead, nearest, quoted
from orchestrator.catalog.rules.uses import Use, uses
from orchestrator.catalog.vocabulary import Vocabulary, known
from orchestrator.core.expressions.condition import calculable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.language.journey import Entry

# What `core/expressions/condition.py` puts under each root.
MEMBERS: Final = {
    "event": frozenset({"data", "type", "source", "id", "time_ms"}),
    "trigger": frozenset({"data"}),
    "enrollment": frozenset({"id", "key", "skus", "families"}),
}
FUNCTIONS: Final = frozenset(
    {
        *("size", "contains", "startsWith", "endsWith", "matches"),
        *("int", "uint", "double", "string", "bytes", "type", "dyn", "timestamp", "duration"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    }
)
# Each one may multiply the work by the length of a list that a producer chooses.
LOOPS_MAX: Final = 4

_STRING: Final = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'')
_MEMBER: Final = re.compile(r"(?<![\w.])(event|trigger|enrollment)\s*\.\s*([A-Za-z_]\w*)")
_FIELD: Final = re.compile(r"(?<![\w.])(event|trigger)\s*\.\s*data\s*\.\s*([A-Za-z_]\w*)")
_LOOP: Final = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(")
_ITEM_LOOP: Final = re.compile(
    r"(?<![\w.])(event|trigger)\s*\.\s*data\s*\.\s*items\s*\.\s*"
    r"(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,"
)
_FIRST_ITEM: Final = re.compile(
    r"(?<![\w.])(event|trigger)\s*\.\s*data\s*\.\s*items\s*\[\s*\d+\s*\]\s*\.\s*([A-Za-z_]\w*)"
)


def expression_findings(draft: Draft, vocabulary: Vocabulary) -> Iterator[Finding]:
    """Yield what is wrong with the expressions of a journey."""
    for use in uses(draft):
        if use.place[0] != "entry" and "entry" in draft.damaged:
            continue  # What the enrollment knows of its entry cannot be told.
        for message in expression_faults(use, draft.journey.entry, vocabulary):
            yield draft.finding(where(draft.tree, use.place) + message, *use.place)


def expression_faults(use: Use, entry: Entry, vocabulary: Vocabulary) -> list[str]:
    """Return what is wrong with an expression in a journey with such an entry."""
    messages = [*_scope_faults(use, entry)]
    if messages:
        return messages
    examples = {
        "event": _example(vocabulary, use.event_type),
        "trigger": _example(vocabulary, entry.on),
    }
    faults = [*_name_faults(use, entry, examples)]
    return faults or [*_value_faults(use, entry, examples, vocabulary)]


def _example(vocabulary: Vocabulary, event_type: str | None) -> dict[str, Any] | None:
    """Return example data; where nothing has happened there is none, which is known too."""
    return {} if event_type is None else vocabulary.example(event_type)


def _scope_faults(use: Use, entry: Entry) -> Iterator[str]:
    """Yield what the expression names and cannot see from where it stands."""
    for root in sorted(use.expression.roots - use.sees):
        yield f"{quoted(root)} is not known here; {_who(use)} sees {', '.join(sorted(use.sees))}"
    if use.place[0] == "entry":
        if use.gives in {"key", "products"} and "event" not in use.expression.roots:
            yield "names nothing of the event, so it would be the same for every entry"
        return
    members = {name for root, name in _members(use) if root == "enrollment"}
    for name in sorted(members & {"skus", "families"}):
        if entry.about is None:
            yield f"enrollment.{name} is always empty; entry.about says which products it is about"
    if "key" in members and entry.key is None:
        yield "enrollment.key is always empty; give the entry a key"


def _who(use: Use) -> str:
    named = {
        "entry": "an entry",
        "stages": "a stage",
        "segments": "a segment",
        "attributes": "a derived attribute",
    }
    if (who := named.get(str(use.place[0]))) is not None:
        return who
    return "an exit" if use.place[-1] == "when" and use.place[0] == "exits" else "a step"


def _members(use: Use) -> list[tuple[str, str]]:
    return _MEMBER.findall(_STRING.sub('""', use.expression.source))


def _name_faults(use: Use, entry: Entry, examples: dict[str, Any]) -> Iterator[str]:
    """Yield members, fields and functions that do not exist."""
    source = _STRING.sub('""', use.expression.source)
    for root, name in _MEMBER.findall(source):
        if name not in MEMBERS[root]:
            yield f"{root} has no {quoted(name)}{instead(name, MEMBERS[root])}"
    for root, name, fields in _fields_named(source, examples):
        event_type = use.event_type if root == "event" else entry.on
        if event_type is None:
            yield "trigger is always empty; nothing happens when a time of the calendar comes"
            continue
        yield f"{event_type} has no field {quoted(name)}{_field_hint(name, fields)}"
    functions = use.expression.program.references()["functions"]
    for name in functions:
        if name[0].isalpha() and name not in FUNCTIONS:
            yield f"there is no function {quoted(name)}{instead(name, FUNCTIONS)}"
    if (loops := len(_LOOP.findall(source))) > LOOPS_MAX:
        yield f"goes over lists {loops} times; at most {LOOPS_MAX}"


def _field_hint(name: str, fields: set[str]) -> str:
    if (meant := nearest(name, fields)) is not None:
        return f'; did you mean "{meant}"?'
    listed = f"; known: {', '.join(sorted(fields))}" if fields else ""
    return f"{listed}; further ones are declared in shop.yaml under events"


def _fields_named(source: str, examples: dict[str, Any]) -> Iterator[tuple[str, str, set[str]]]:
    """Yield (root, field, fields that there are) for each unknown field of an event's data."""
    for root, name in dict.fromkeys(_FIELD.findall(source)):
        example = examples[root]
        if example is not None and name not in example:
            yield root, name, set(example)
    named = [(root, name) for root, name in _FIRST_ITEM.findall(source)]
    for root, bound in _ITEM_LOOP.findall(source):
        fields = re.findall(rf"(?<![\w.]){bound}\s*\.\s*([A-Za-z_]\w*)", source)
        named.extend((root, name) for name in fields)
    for root, name in dict.fromkeys(named):
        items = (examples[root] or {}).get("items")
        if isinstance(items, list) and name not in items[0]:
            yield root, f"items.{name}", {f"items.{field}" for field in items[0]}


def _value_faults(
    use: Use, entry: Entry, examples: dict[str, Any], vocabulary: Vocabulary
) -> Iterator[str]:
    """Evaluate on an example; yield a clash of types, or a value of the wrong kind."""
    if use.gives == "anything" or examples["event"] is None or examples["trigger"] is None:
        return
    try:
        value = use.expression.evaluate(_context(use, entry, examples, vocabulary))
    except TypeError as error:
        reason = str(error).partition(". ")[0].partition(":")[0]
        yield f"compares or calculates with unlike things, like text with a number ({reason})"
        return
    except Exception:  # noqa: BLE001 - The binding raises many types; see the head of the file.
        return
    shown = _kind(value)
    if use.gives == "condition" and not isinstance(value, bool):
        yield f"gives {shown}; a condition gives true or false"
    if use.gives == "key" and (isinstance(value, bool) or not isinstance(value, str | int)):
        yield f"gives {shown}; a key is text or a whole number, like event.data.order_id"
    if use.gives == "products":
        products = value if isinstance(value, list) else [value]
        if not all(isinstance(one, dict) and "sku" in one for one in products):
            yield f"gives {shown}; products have a sku, like event.data.items or event.data"


def _context(
    use: Use, entry: Entry, examples: dict[str, Any], vocabulary: Vocabulary
) -> cel.Context:
    data, trigger = known(examples["event"]), known(examples["trigger"])
    event = {"data": data, "type": use.event_type, "source": "/shop", "id": "1", "time_ms": 1}
    enrollment = {
        "id": "welcome#1",
        "key": _example_key(entry, trigger),
        "skus": ["tent-2"],
        "families": ["tent"],
    }
    roots = {
        "event": event,
        "trigger": {"data": trigger},
        "profile": vocabulary.profile,
        "enrollment": enrollment,
    }
    seen = {root: calculable(value) for root, value in roots.items() if root in use.sees}
    return cel.Context({**seen, "offers": ["an_offer"], "segments": ["a_segment"], "now_ms": 1})


def _example_key(entry: Entry, trigger: dict[str, Any]) -> Any:
    """Return the key that the example of the entering event would have."""
    key = entry.key
    try:
        return key and str(key.evaluate(cel.Context({"event": {"data": calculable(trigger)}})))
    except Exception:  # noqa: BLE001 - As above; a wrong key has its own finding.
        return "1001"


def _kind(value: object) -> str:
    match value:
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "nothing"
