"""The shop's own journeys, played faster: an hour becomes a second, two weeks become ten.

Derived from the folder of the real journeys each time, so that the demo cannot drift from them:
only waits and the windows of caps are shortened, caps are wider, and there are neither quiet hours
nor best ones, because the demo does not know at what time of the day somebody looks at it.
`catalog` reads the copy like any other journeys folder and would find what is wrong with it.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Final

from orchestrator.core.language.scalars import parse_duration

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.core.language.journey import Journey

HOUR_MS: Final = 3_600_000
# Hours to the power of 0.4: waits of an hour, a day and a fortnight become 1, 4 and 10 seconds, so
# that all of them end within a demo and still end in their order.
COMPRESSION: Final = 0.4
# Replaced in the text: reading YAML and writing it again would turn the word `on` into a truth.
_WAIT = re.compile(
    r"^([^#\n]*\b(?:wait|per):\s*[\"']?)([0-9][0-9wdhms]*|P[0-9A-Z]+)\b", re.MULTILINE
)
_BEST_TIME = re.compile(r"^( +wait:) best_time$", re.MULTILINE)
# What waits for a sender does not expire faster, so that a cap counts messages of many days.
_CAP = re.compile(r"^(\s*- \{max: )([0-9]+)(?=, per: )", re.MULTILINE)
CAPS_FACTOR: Final = 2
_QUIET_HOURS = re.compile(r"^quiet_hours: \{.*\}\n", re.MULTILINE)


def quicker(duration: str) -> str:
    """Return a wait as it is played."""
    return f"{quicker_seconds(duration)}s"


def quicker_seconds(duration: str) -> int:
    """Return for how long a wait is played, in whole seconds, never nothing."""
    hours = parse_duration(duration) / HOUR_MS
    seconds: float = hours**COMPRESSION
    return max(1, round(seconds))


def write_quicker(source: Path, target: Path) -> None:
    """Copy a journeys folder to `target` with every wait shortened."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".yaml":
            shutil.copyfile(path, copy)
            continue
        copy.write_text(quicker_text(path.read_text(encoding="utf-8")), encoding="utf-8")


def quicker_text(text: str) -> str:
    """Return YAML with waits shortened, caps widened, and no hours of the day; else as written."""
    text = _BEST_TIME.sub(r"\1 1h", _QUIET_HOURS.sub("", text))
    text = _CAP.sub(lambda found: f"{found[1]}{int(found[2]) * CAPS_FACTOR}", text)
    return _WAIT.sub(lambda found: found[1] + quicker(found[2]), text)


def first_message(journey: Journey) -> str:
    """Return the step of a journey's first message: what a purchase must bring about."""
    return next(step.id for step in journey.steps if step.send is not None)
