"""`docs/journeys.md`, the reference of the language: from the models, with examples from the shop.

`python -m orchestrator.catalog.reference` prints it. What a field means stands at the field, in
`core`; each word's example is quoted from a journey of the shop, whose scenarios play it.
"""
# ruff: noqa: E501 - Its sentences are wrapped as the page is.

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.catalog.rules.expressions import FUNCTIONS, MEMBERS
from orchestrator.catalog.schema import model_schema
from orchestrator.core.expressions.templates import FILTERS, TAGS
from orchestrator.core.language import attributes, journey, offers, shop, stages, words
from orchestrator.core.language.journey import STEP_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import BaseModel

ENTRY_WAYS: Final = ("on", "schedule", "date", "absence", "segment")
_MODELS: Final[dict[str, tuple[type[BaseModel], ...]]] = {
    "send": (words.Send, words.Variable),
    "wait": (words.Wait, words.Until, words.Heard),
    "branch": (words.Arm,),
    "split": (words.Share,),
    "holdout": (words.Holdout,),
    "set": (words.Setting,),
    "ask": (words.Ask,),
    "emit": (words.Emit,),
    "webhook": (words.Webhook,),
    "audience": (words.Audience,),
    "task": (words.Task,),
    "schedule": (journey.Schedule,),
    "date": (journey.OnDate,),
    "absence": (journey.Absence,),
}
_SHOWN_AS: Final = {
    "Variable": "expression, or `{value, default}`",
    "Setting": "expression, or `{value}` or `{to}`",
    "Wait": "duration, `best_time`, or a mapping",
    "Heard": "event type, or `{event, when}`",
    "Way": "event type, or `{event, when, times}`",
}


def reference(folder: Path) -> str:
    """Return the page, with examples from the journeys of a folder."""
    return "\n".join(_page(folder)).rstrip() + "\n"


def _page(folder: Path) -> Iterator[str]:
    yield _HEAD
    yield "## A journey\n"
    yield from _fields(journey.Journey)
    yield "## Entry\n"
    yield from _fields(journey.Entry)
    for way in ENTRY_WAYS:
        yield f"### Entry by `{way}`\n"
        for model in _MODELS.get(way, ()):
            yield from _fields(model)
        yield from _quoted(_entry_example(folder, way))
    yield "## Exits\n"
    yield from _fields(journey.Exit)
    yield "## Goal\n"
    yield from _fields(journey.Goal)
    yield "## Steps\n"
    yield from _fields(journey.Step)
    for word in STEP_WORDS:
        yield f"### `{word}`\n"
        for model in _MODELS.get(word, ()):
            if model is not _MODELS[word][0]:
                yield f"Each `{model.__name__.lower()}`:\n"
            yield from _fields(model)
        yield from _quoted(_step_example(folder, word))
    yield "## shop.yaml\n"
    yield from _fields(shop.Shop)
    for model in (shop.QuietHours, shop.Cap):
        yield f"Each `{model.__name__.lower()}`:\n"
        yield from _fields(model)
    for each, one in (("of `stages`", stages.CustomerStage), ("of its `on`", stages.Way)):
        yield f"Each {each}:\n"
        yield from _fields(one)
    yield "Each of `attributes` ([what becomes of them](profile.md)):\n"
    yield from _fields(attributes.DerivedAttribute)
    yield "Each of its `tiers`:\n"
    yield from _fields(attributes.Tier)
    yield "## channels.yaml\n"
    yield "A mapping from the name of each channel to:\n"
    yield from _fields(shop.Channel)
    yield "## offers.yaml\n"
    yield "A mapping from the name of each offer to what follows; [what becomes of them](offers.md).\n"
    for model in (offers.Offer, offers.Gives, offers.Otherwise):
        yield from _fields(model)
    yield _tail()


def _fields(model: type[BaseModel]) -> Iterator[str]:
    """Yield what a model is, and the table of its fields."""
    schema = model_schema(model)
    about = " ".join((model.__doc__ or "").split())
    yield f"{about}\n"
    properties: dict[str, Any] = schema["properties"]
    required = set(schema.get("required", ()))
    yield "| word | what may be written | default | meaning |"
    yield "|---|---|---|---|"
    for name, one in properties.items():
        default = "**required**" if name in required else _default(one)
        meaning = " ".join(str(one.get("description", "")).split()).replace("|", "\\|")
        yield f"| `{name}` | {_kind(one)} | {default} | {meaning} |"
    yield ""


def _default(one: dict[str, Any]) -> str:
    value = one.get("default")
    if value in (None, "", [], {}) or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value == "0s":
        return ""
    return f"`{value}`"


def _kind(one: dict[str, Any]) -> str:
    """Return in a few words what may be written."""
    if "anyOf" in one:
        kinds = [_kind(option) for option in one["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in one:
        name = one["$ref"].rpartition("/")[2]
        return _SHOWN_AS.get(name, _named(name))
    if "enum" in one:
        return ", ".join(f"`{value}`" for value in one["enum"])
    if "const" in one:
        return f"`{one['const']}`"
    match one.get("type"):
        case "array":
            return f"list of: {_kind(one['items'])}"
        case "object":
            inner = one.get("additionalProperties")
            return f"mapping to: {_kind(inner)}" if isinstance(inner, dict) else "mapping"
        case "string":
            return _text_kind(one)
        case "integer":
            return "a whole number"
        case "number":
            return "a number"
        case "boolean":
            return "`true` or `false`"
        case _:
            return "text"


def _text_kind(one: dict[str, Any]) -> str:
    if one.get("description", "").startswith("A CEL"):
        return "expression"
    if "PT2H" in one.get("examples", ()):
        return "duration"
    if "7.50 EUR" in one.get("examples", ()):
        return "price"
    if "2026-12-24" in one.get("examples", ()):
        return "day or instant"
    if "examples" in one:
        return "time table"
    if "[01]" in one.get("pattern", ""):
        return "time of day"
    if one.get("pattern", "").startswith("^(items"):
        return "field of the event's data"
    if one.get("pattern", "").startswith("^[A-Z]{3}"):
        return "currency"
    if one.get("pattern", "").startswith("^[a-z][a-z0-9_]*("):
        return "event type"
    return "name" if "pattern" in one else "text"


def _named(name: str) -> str:
    known = {
        "CommandClass": "`transactional`, `service`, `promotional`",
        "Stage": "`awareness`, `consideration`, `purchase`, `service`, `advocacy`",
        "Weekday": "`monday` … `sunday`",
        "After": "`{after: 7d}`",
    }
    return known.get(name, f"mapping, see {name.lower()}")


def _step_example(folder: Path, word: str) -> tuple[str, str] | None:
    """Return the first step of the shop that says a word, and its journey."""
    for path in sorted(folder.glob("*.yaml")):
        _, _, steps = path.read_text("utf-8").partition("\nsteps:\n")
        for block in re.split(r"\n(?=  - id: )", steps):
            if re.search(rf"^    {word}:", block, re.MULTILINE):
                step = block[block.index("  - id: ") :] if "  - id: " in block else block
                kept = [line for line in step.split("\n") if not line.startswith("  #")]
                return path.stem, "\n".join(line[2:] for line in kept).rstrip()
    return None


def _entry_example(folder: Path, way: str) -> tuple[str, str] | None:
    for path in sorted(folder.glob("*.yaml")):
        found = re.search(r"^entry:\n((?:  .*\n|\n)+)", path.read_text("utf-8"), re.MULTILINE)
        if found is not None and re.search(rf"^  {way}:", found[1], re.MULTILINE):
            return path.stem, f"entry:\n{found[1].rstrip()}"
    return None


def _quoted(example: tuple[str, str] | None) -> Iterable[str]:
    if example is None:
        return
    name, text = example
    yield f"From `journeys/{name}.yaml`, played in `tests/scenarios/{name}/`:\n"
    yield f"```yaml\n{text}\n```\n"


_HEAD: Final = """\
# The language of journeys

Written by `python -m orchestrator.catalog.reference` from the models that read journeys; a test holds this page to them.
One journey is one YAML file in the journeys folder, beside `shop.yaml`, `channels.yaml` and `templates/`.
`orchestrator check` finds what is wrong in all of them at once, with line and the nearest right word.
[`schemas/journey.schema.json`](../schemas/journey.schema.json) lets editors complete and underline; a first line does it:

```yaml
# yaml-language-server: $schema=../schemas/journey.schema.json
```

How things are written:

- **duration**: `90s`, `30m`, `12h`, `3d`, `2w`, `1d12h`, or ISO 8601 (`PT2H`); at most ten years.
- **time of day**: `"09:00"`, in quotes, in the customer's zone: their `profile.zone`, else the journey's, else the shop's.
  A time that the clocks skip in spring means the first instant after it, one that they show twice the first.
- **day or instant** (in offers): `2026-12-24`, a day in the shop's zone, or `2026-12-24T10:00:00+01:00`.
- **price**: `"7.50 EUR"`.
- **date** (in profiles): `2026-12-24`, or with a time, `2026-12-24T10:00:00+01:00`.
- **expression**: [CEL](https://cel.dev). A condition over something that is not there is false.
- **name**: small letters, digits and `_`, beginning with a letter.
"""


def _tail() -> str:
    members = "; ".join(
        f"`{root}` has {', '.join(f'`{name}`' for name in sorted(names))}"
        for root, names in sorted(MEMBERS.items())
    )
    functions = ", ".join(f"`{name}`" for name in sorted(FUNCTIONS))
    tags = ", ".join(f"`{name}`" for name in sorted(TAGS - {"content", "output", "illegal", "#"}))
    filters = ", ".join(f"`{name}`" for name in sorted(FILTERS))
    return f"""\
## What expressions see

An entry sees `event` and `profile` (the profile after the event was applied to it); an exit, a goal and an event that a wait
listens for see `event`, `profile`, `trigger` and `enrollment`; steps see `profile`, `trigger` and `enrollment`; a segment and a
date see `profile`. All of them see `segments`, the names of the shop's segments that the customer is in (`"big_spenders" in segments`);
only a segment of `shop.yaml`, a stage and a derived attribute do not. All but a segment, a date and the conditions of waits without
an event also see `offers`, the names of the promises that the customer holds (`"welcome10" in offers`). `now_ms` is the decision's time in epoch milliseconds. {members}. `trigger` is the event that entered;
money is a number there. Functions: {functions}, and the macros `has`, `all`, `exists`, `exists_one`, `map`, `filter`.

## Templates

`templates/<channel>/<template>.yaml` maps language, then part (`subject`, `text`, `html`, `title`, …) to
[Liquid](https://shopify.github.io/liquid/). A customer's `profile.locale` chooses the language: `es-MX` is answered by `es`,
and who names none gets the shop's. Every variable must be one that the step gives; a missing value uses its default, or the
message is refused with a reason. `html` is escaped. `{{{{ snippets.… }}}}` are the brand's words of `shop.yaml`. Nothing in a
template reads a clock or a file. `{{{{ total | money: "EUR" }}}}` writes an amount as the customer's locale does. Tags: {tags}. Filters: {filters}."""


if __name__ == "__main__":
    sys.stdout.write(reference(Path("journeys")))
