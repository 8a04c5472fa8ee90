"""Waits: every one that the log announces comes due once, not early, or its enrollment ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.crash.judge.records import LogLine, Reading, show

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

AHEAD_MS_MAX: Final = 6_000
"""The clock of a partition follows record timestamps at most 5 s ahead of the worker's clock."""


def judge_waits(reading: Reading, lateness_ms_max: int, counts: Counter[str]) -> list[int]:
    """Every wait that the log announced came due once, not early, or its enrollment ended."""
    lateness = []
    for customer, lines in reading.by_customer.items():
        pending: dict[str, tuple[int, LogLine]] = {}
        for line in lines:
            if line.due_ms is not None:
                counts["waits fired"] += 1
                late_ms = line.record.timestamp_ms - line.due_ms
                lateness.append(late_ms)
                _judge_fired(reading, line, pending)
                if late_ms > lateness_ms_max:
                    reading.report(
                        "late", f"{customer}: {late_ms} ms after it was due", line.record.place
                    )
            for entry in line.entries:
                if entry["kind"] == "moved":
                    pending[entry["enrollment"]] = (entry["wake_at_ms"], line)
                elif entry["kind"] == "held":
                    pending[entry["enrollment"]] = (entry["until_ms"], line)
                elif entry["kind"] == "ended":
                    pending.pop(entry["enrollment"], None)
            if line.due_ms is not None:
                for enrollment, (wake_at_ms, since) in list(pending.items()):
                    if wake_at_ms <= line.now_ms:
                        reading.report(
                            "wait",
                            f"{enrollment} of {customer} slept on after "
                            f"{show([line.record.place])}",
                            since.record.place,
                        )
                        del pending[enrollment]
        for enrollment, (_, since) in pending.items():
            reading.report("wait", f"{enrollment} of {customer} never woke up", since.record.place)
    return lateness


def _judge_fired(
    reading: Reading, line: LogLine, pending: Mapping[str, tuple[int, LogLine]]
) -> None:
    assert line.due_ms is not None
    place = line.record.place
    if line.now_ms < line.due_ms:
        reading.report(
            "wait", f"fired {line.due_ms - line.now_ms} ms early by its own clock", place
        )
    elif line.record.timestamp_ms < line.due_ms - AHEAD_MS_MAX:
        reading.report("wait", "fired with a clock ahead of the worker's", place)
    dues = sorted(wake_at_ms for wake_at_ms, _ in pending.values())
    if line.due_ms not in dues:
        reading.report("wait", f"{line.customer} was woken for a wait that nobody stands in", place)
    elif line.due_ms != dues[0]:
        reading.report("wait", f"{line.customer} was woken out of turn", place)
