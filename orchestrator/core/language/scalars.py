"""What single values of the language look like: durations, times of day, names, conditions.

`words`, `journey` and `shop` build their models from them. Durations are milliseconds inside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from orchestrator.core.expressions.condition import Expression

_DURATION_UNITS_MS: Final = {
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_ISO_DURATION = re.compile(
    r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.ASCII
)
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
DURATION_MS_MAX: Final = 10 * 366 * 86_400_000
NAME_PATTERN: Final = r"^[a-z][a-z0-9_]{0,63}$"


def parse_duration(value: object) -> int:
    """Turn `3d`, `1h30m` or `PT2H` into milliseconds. Raises ValueError with what is allowed."""
    match = None
    if isinstance(value, str):
        match = _DURATION.fullmatch(value) or _ISO_DURATION.fullmatch(value)
    if match is None or not any(match.groups()):
        raise ValueError(f"{value!r} is not a duration; write 30m, 12h, 3d, 2w, 1d12h or PT2H")
    milliseconds = sum(
        int(count or 0) * _DURATION_UNITS_MS[unit]
        for count, unit in zip(match.groups(), ("w", "d", "h", "m", "s"), strict=True)
    )
    if milliseconds > DURATION_MS_MAX:
        raise ValueError(f"{value!r} is longer than ten years")
    return milliseconds


_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def duration_text(milliseconds: int) -> str:
    """Return a duration as authors write it: `1d12h`, `90s`; exact to the millisecond."""
    if milliseconds < 0:
        return f"-{duration_text(-milliseconds)}"
    parts = []
    for unit, size in _UNITS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "examples": ["30m", "12h", "3d", "2w", "PT2H"]}),
]
Condition = Annotated[
    Expression,
    BeforeValidator(Expression.parse),
    PlainSerializer(lambda expression: expression.source),
    WithJsonSchema({"type": "string", "description": "A CEL expression."}),
]


def parse_time_of_day(value: object) -> int:
    """Turn `09:00` into the minute of the day. Raises ValueError with what is allowed."""
    match = _TIME_OF_DAY.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is not a time of day; write one like "09:00" or "17:30"')
    return int(match[1]) * 60 + int(match[2])


TimeOfDay = Annotated[
    int,
    BeforeValidator(parse_time_of_day),
    WithJsonSchema({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}),
]


def listed(value: object) -> object:
    """Let one word or mapping stand for a list of one."""
    return (value,) if isinstance(value, str | Mapping) else value


LOCALE_PATTERN: Final = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
EVENT_TYPE_PATTERN: Final = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$"
EventType = Annotated[str, StringConstraints(pattern=EVENT_TYPE_PATTERN, max_length=128)]
Locale = Annotated[str, StringConstraints(pattern=LOCALE_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Model(BaseModel):
    """A part of what authors write: frozen, without unknown words."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
    )
