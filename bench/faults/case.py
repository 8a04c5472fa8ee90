"""What one row of the matrix is, what it saw, and what it found.

A row is red when it demanded something that did not hold, when the judge found a violation, or when
it could not be played to its end; a reason stands beside each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.crash.judge.history import Place

ROW_SECONDS_MAX: Final = 120.0
"""From the beginning of its load."""
START_SECONDS_MAX: Final = 150.0
"""For brokers and workers to come up before it; with one row after the other mostly twenty."""
_POLL_SECONDS: Final = 0.1
_TOLD_SECONDS: Final = 10.0


class OutOfTime(Exception):
    """A row waited for something that did not come within its bound."""


class NotHere(Exception):
    """A row needs what the machine has not; says what."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fault: its number in the matrix, how it is injected here, what must hold."""

    number: int
    fault: str
    injected: str
    must_hold: str
    play: Callable[[Case], None] | None = None
    """Plays the row; None when this machine does not allow it."""
    impossible: str = ""
    """Why there is nothing to play."""
    seconds_max: float = ROW_SECONDS_MAX


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be, and where on the topics it can be looked at."""

    what: str
    place: Place | None = None

    def __str__(self) -> str:
        where = "" if self.place is None else " {}[{}]@{}".format(*self.place)
        return f"{self.what}{where}"


@dataclass(slots=True)
class Case:
    """One row while it is played. `folder` is its own; times are monotonic seconds."""

    row: Row
    folder: Path
    findings: list[Finding] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    loading: float | None = None
    """When its load began."""
    patience: float = 1.0
    """By how much everything may take longer, on a machine that others keep busy."""

    @property
    def deadline(self) -> float:
        """Until when anything may be waited for."""
        if self.loading is None:
            return self.started + START_SECONDS_MAX * self.patience
        return self.loading + self.row.seconds_max * self.patience

    def tell(self, text: str) -> None:
        """Show what goes on."""
        at = time.monotonic() - self.started
        print(f"  row {self.row.number:>2} {at:6.1f} s  {text}", flush=True)

    def saw(self, text: str) -> None:
        """Keep a sentence for the table."""
        self.seen.append(text)
        self.tell(text)

    def demand(self, what: str, *, holds: object) -> None:
        """Note a finding unless it holds."""
        if not holds:
            self.found(f"not so: {what}")

    def found(self, what: str, place: Place | None = None) -> None:
        """Note a finding."""
        finding = Finding(what, place)
        self.findings.append(finding)
        if len(self.findings) <= 20:
            self.tell(f"RED {finding}")

    def wait(
        self, what: str, condition: Callable[[], object], seconds: float | None = None
    ) -> float:
        """Wait until it is so, and return how long that took; raise OutOfTime when it is not."""
        started = told = time.monotonic()
        given = None if seconds is None else started + seconds * self.patience
        until = self.deadline if given is None else min(self.deadline, given)
        while not condition():
            now = time.monotonic()
            if now > until:
                raise OutOfTime(f"{what}: not within {now - started:.0f} s")
            if now - told > _TOLD_SECONDS:
                told = now
                self.tell(f"... waiting for {what}")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - started

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        left = min(seconds, self.deadline - time.monotonic())
        time.sleep(max(0.0, left))


def as_json(case: Case, seconds: float) -> dict[str, Any]:
    """Return what the report keeps of a row that was played."""
    return {
        "result": "red" if case.findings else "green",
        "seconds": round(seconds),
        "seen": list(case.seen),
        "figures": dict(case.figures),
        "findings": [str(finding) for finding in case.findings[:50]],
        "findings_count": len(case.findings),
    }


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]
