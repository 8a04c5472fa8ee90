"""A tree → a model, with a finding for each thing that the model refuses.

Called by `folder.py` for every file. A file with findings is not given up: what is broken is cut
out and the rest becomes a model too, so that `rules/` can look at it and an author sees
everything at once. `Draft.damaged` names the parts that were cut; rules about wholes skip those.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, TypeVar, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from orchestrator.catalog.findings import (
    AND_MORE,
    FINDINGS_MAX,
    Finding,
    instead,
    quoted,
    shortened,
)
from orchestrator.core.expressions.condition import ROOTS
from orchestrator.core.language.journey import Journey

if typing.TYPE_CHECKING:
    from orchestrator.catalog.tree import Node

Model = TypeVar("Model")
Place = tuple[str | int, ...]

_KINDS: Final = {
    "string": "text", "int": "a whole number", "bool": "true or false", "float": "a number",
    "tuple": "a list (lines that begin with -)", "mapping": "a mapping (lines of `name: value`)",
    "dict": "a mapping (lines of `name: value`)", "model": "a mapping (lines of `name: value`)",
}  # fmt: skip
_CEL_ERROR: Final = re.compile(r"ERROR: <input>:\d+:(\d+): ([^\n]*)")
_UNKNOWN_NAME: Final = re.compile(r"unknown name '(\w+)'")
# Several alternatives are refused together; one sentence says what all of them want.
_UNIONS: Final = {
    **dict.fromkeys(("reentry", "again"), "`once`, `always` or {after: 7d}"),
    "default": "text or a number",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A journey as far as it could be read.

    `damaged` names the parts (`entry`, `steps`, `kind`, …) of which something was cut out;
    `exits_at` and `steps_at` say where in the file the remaining exits and steps stand.
    """

    path: str
    tree: Node
    journey: Journey
    damaged: frozenset[str]
    exits_at: tuple[int, ...]
    steps_at: tuple[int, ...]

    def finding(self, message: str, *place: str | int) -> Finding:
        """Return a finding at a place of the file."""
        return Finding(self.path, self.tree.line_of(*place), message)


def read_model(path: str, tree: Node, kind: Any) -> tuple[Any, list[Finding]]:
    """Validate a whole tree; the model is None when there is a finding."""
    try:
        return TypeAdapter(kind).validate_python(tree.plain()), []
    except ValidationError as error:
        return None, _findings(path, tree, error, kind)


def read_journey(path: str, tree: Node) -> tuple[Draft | None, list[Finding]]:
    """Validate a journey, and keep what is sound of one that is not."""
    plain = tree.plain()
    try:
        return _draft(path, tree, Journey.model_validate(plain), []), []
    except ValidationError as error:
        findings = _findings(path, tree, error, Journey)
        places = [tuple(found["loc"]) for found in error.errors(include_url=False)]
    try:
        journey = Journey.model_validate(_pruned(plain, places, PurePath(path).name))
    except ValidationError:
        return None, findings
    return _draft(path, tree, journey, places), findings


def _draft(path: str, tree: Node, journey: Journey, places: list[Place]) -> Draft:
    damaged = frozenset(str(place[0]) for place in places if place)
    exits_at, steps_at = _kept(tree, places, "exits"), _kept(tree, places, "steps")
    return Draft(path, tree, journey, damaged, exits_at, steps_at)


def _kept(tree: Node, places: list[Place], part: str) -> tuple[int, ...]:
    """Return the positions in the file of the items of a list that `_pruned` keeps."""
    items = tree.get(part)
    if (part,) in places or not isinstance(items, list):
        return ()
    broken = _broken(places, part)
    return tuple(index for index in range(len(items)) if index not in broken)


def _broken(places: list[Place], part: str) -> set[str | int]:
    """Return the positions of the items of a list that hold something refused."""
    return {place[1] for place in places if place[0] == part and len(place) > 1}


def _pruned(plain: dict[str, Any], places: list[Place], file: str) -> dict[str, Any]:
    """Cut out what was refused; what a journey cannot do without is replaced by a stand-in."""
    sound = {key: value for key, value in plain.items() if key in Journey.model_fields}
    for part in ("exits", "steps"):
        broken = _broken(places, part)
        if isinstance(items := sound.get(part), list):
            sound[part] = [item for index, item in enumerate(items) if index not in broken]
    whole = {str(place[0]) for place in places if place and place[0] not in ("exits", "steps")}
    whole |= {str(place[0]) for place in places if len(place) == 1}
    for part in whole:
        sound.pop(part, None)
    entry = plain.get("entry")
    event = entry.get("on") if isinstance(entry, Mapping) else None
    stand_ins = {
        "name": re.sub(r"[^a-z0-9_]", "_", file.partition(".")[0].lower())[:64],
        "version": 1,
        "owner": "-",
        "kind": "service",
        "stage": "service",
        "entry": {"on": event if isinstance(event, str) else "purchase"},
    }
    return {**stand_ins, **sound}


def _findings(path: str, tree: Node, error: ValidationError, kind: Any) -> list[Finding]:
    seen: set[Place] = set()
    findings: list[Finding] = []
    errors = error.errors(include_url=False)
    for found in errors:
        if found["type"] == "too_short" and _holds_another(found["loc"], errors):
            continue  # Only sound items are counted; what is wrong with the others is told.
        if len(findings) == FINDINGS_MAX:
            findings.append(Finding(path, 1, AND_MORE))
            break
        place = tuple(part for part in found["loc"] if part != "[key]")
        for index, part in enumerate(place):
            if part in _UNIONS and (index == 0 or place[index - 1] != "variables"):
                place = place[: index + 1]
        if place in seen:
            continue
        seen.add(place)
        message = _message(place, dict(found), kind)
        findings.append(Finding(path, tree.line_of(*place), where(tree, place) + message))
    return findings


def _holds_another(place: Place, errors: Sequence[Any]) -> bool:
    """Whether something inside a place was refused."""
    return any(len(one["loc"]) > len(place) and one["loc"][: len(place)] == place for one in errors)


def where(tree: Node, place: Place) -> str:
    """Return the place in words, to begin a message with: `step "thanks": send.channel: `."""
    prefix, rest = "", place
    if len(place) > 1 and place[0] == "steps":
        name = tree.get("steps", place[1], "id")
        prefix = f"step {quoted(name) if isinstance(name, str) else int(place[1]) + 1}: "
        rest = place[2:]
    dotted = ""
    for part in rest:
        word = f"[{part + 1}]" if isinstance(part, int) else shortened(part)
        dotted += word if isinstance(part, int) or not dotted else f".{word}"
    return f"{prefix}{dotted}: " if dotted else prefix


def _message(place: Place, found: Mapping[str, Any], kind: Any) -> str:
    """Say what is wrong and what is allowed, in the author's words rather than the library's."""
    given = found["input"]
    context = found.get("ctx", {})
    error = str(found["type"])
    if place and place[-1] in _UNIONS and not error.startswith("value_error"):
        return f"{quoted(given)} is not allowed; write {_UNIONS[str(place[-1])]}"
    if error == "missing":
        return "is missing"
    if error == "extra_forbidden":
        return "no such word here" + instead(str(place[-1]), _words_at(kind, place[:-1]))
    if error in {"enum", "literal_error"}:
        allowed = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return f"{quoted(given)} is not allowed" + instead(str(given), allowed)
    if error == "value_error":
        message = _in_words(str(context["error"]))
        return message + _quoting("text" if "as text" in message else "", given)
    if error == "string_pattern_mismatch":
        return f"{quoted(given)} is not a name; write a-z, 0-9 and _, beginning with a letter"
    if error in {"string_too_short", "too_short"}:
        least = context.get("min_length", 1)
        return "is empty" if least == 1 or not given else f"has too few; at least {least}"
    if error in {"string_too_long", "too_long"}:
        return f"is longer than {context.get('max_length')}"
    if error in {"greater_than", "less_than"}:
        bound = "more than" if error.startswith("greater") else "less than"
        return f"{given} is not allowed; {bound} {context.get('gt', context.get('lt')):g}"
    if error in {"greater_than_equal", "less_than_equal"}:
        bound = "at least" if error.startswith("greater") else "at most"
        return f"{given} is not allowed; {bound} {context.get('ge', context.get('le'))}"
    if (wanted := _KINDS.get(error.removesuffix("_type").removesuffix("_parsing"))) is not None:
        what = "nothing" if given is None else quoted(given)
        return f"should be {wanted}, not {what}" + _quoting(wanted, given)
    return str(found["msg"])


def _quoting(wanted: str, given: object) -> str:
    return (
        "; write it in quotes" if wanted == "text" and isinstance(given, bool | int | float) else ""
    )


def _in_words(message: str) -> str:
    """Shorten CEL's report of several lines to the sentence that helps."""
    if (name := _UNKNOWN_NAME.match(message)) is not None:
        return f"unknown name {quoted(name[1])}{instead(name[1], ROOTS)}"
    if (found := _CEL_ERROR.search(message)) is None:
        return " ".join(message.split())
    reason = found[2].partition(" expecting ")[0].replace("<EOF>", "the end")
    return f"not a CEL expression: {reason} (character {found[1]})"


def _words_at(kind: Any, place: Place) -> list[str]:
    """Return the words that the model allows at a place."""
    for part in place:
        kind = _child(kind, part)
    model = _model(kind)
    if model is None:
        return []
    return [info.alias or name for name, info in model.model_fields.items()]


def _child(kind: Any, part: str | int) -> Any:
    if (model := _model(kind)) is not None:
        for name, info in model.model_fields.items():
            if part in (name, info.alias):
                return info.annotation
        return kind  # The name of an alternative of a union, which is no step in the tree.
    for option in _options(kind):
        origin, arguments = get_origin(option), get_args(option)
        if origin is tuple or isinstance(part, int):
            return arguments[0] if arguments else Any
        if origin is not None and len(arguments) == 2 and issubclass(origin, Mapping):
            return arguments[1]
    return Any


def _options(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union, else the kind itself."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(option for option in get_args(kind) if option is not type(None))
    return (kind,)


def _model(kind: Any) -> type[BaseModel] | None:
    for option in _options(kind):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
