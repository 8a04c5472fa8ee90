"""Waits: every one that the log announces comes due once, not early, or its enrollment ends.

With their enrollments waits go from one id to another, to the same time.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from bench.crash.judge.records import LogLine, Reading, show

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from bench.crash.judge.records import FenceLine

AHEAD_MS_MAX: Final = 6_000
"""The clock of a partition follows record timestamps at most 5 s ahead of the worker's clock."""
FENCE_GRACE_MS: Final = 300_000
"""So long after the last of their commands, fences are taken back of who is erased or merged."""
FENCE: Final = "*"
"""Who is erased or was merged into another id waits for this, and for nothing else."""
Pending = dict[str, tuple[int, LogLine]]


def judge_waits(reading: Reading, lateness_ms_max: int, counts: Counter[str]) -> list[int]:
    """Every wait that the log announced came due once, not early, or its enrollment ended."""
    lateness: list[int] = []
    left: dict[str, int] = {}
    lifted = {
        (fence.customer, fence.ended_at_ms): fence.expires_at_ms + FENCE_GRACE_MS
        for fence in reading.fences
        if fence.enrollment == FENCE
    }
    fences: defaultdict[str, list[FenceLine]] = defaultdict(list)
    for fence in reading.fences:
        fences[fence.customer].append(fence)
    for customer, lines in reading.people():
        pending: Pending = {}
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
                if entry["kind"] == "customer_erased":
                    pending = {}
                    if (customer, line.now_ms) in lifted:
                        pending[FENCE] = (lifted[customer, line.now_ms], line)
                else:
                    _follow(reading, line, entry, pending, left)
                if entry["kind"] == "merged_into":
                    held = [one for one in fences[customer] if one.ended_at_ms <= line.now_ms]
                    if held:
                        until_ms = max(one.expires_at_ms for one in held) + FENCE_GRACE_MS
                        pending[FENCE] = (until_ms, line)
            if line.due_ms is not None:
                for enrollment, (wake_at_ms, since) in list(pending.items()):
                    if wake_at_ms <= line.now_ms:
                        if enrollment != FENCE:
                            reading.report(
                                "wait",
                                f"{enrollment} of {customer} slept on after "
                                f"{show([line.record.place])}",
                                since.record.place,
                            )
                        del pending[enrollment]
        for enrollment, (_, since) in pending.items():
            if enrollment != FENCE:
                text = f"{enrollment} of {customer} never woke up"
                reading.report("wait", text, since.record.place)
    return lateness


def _follow(
    reading: Reading,
    line: LogLine,
    entry: Mapping[str, Any],
    pending: Pending,
    left: dict[str, int],
) -> None:
    """Note who waits and who does not any more; `left` are the waits that are on their way."""
    match entry["kind"]:
        case "moved":
            pending[entry["enrollment"]] = (entry["wake_at_ms"], line)
        case "held":
            pending[entry["enrollment"]] = (entry["until_ms"], line)
        case "ended":
            pending.pop(entry["enrollment"], None)
        case "handed_over":
            wait = pending.pop(entry["enrollment"], None)
            if wait is not None and entry["becomes"] is not None:
                left[entry["becomes"]] = wait[0]
        case "taken_over":
            wake_at_ms = left.pop(entry["enrollment"], None)
            if wake_at_ms != entry["wake_at_ms"]:
                text = f"was to wake at {wake_at_ms}, and came with {entry['wake_at_ms']}"
                reading.report("wait", f"{entry['enrollment']} {text}", line.record.place)
            if entry["wake_at_ms"] is not None:
                pending[entry["enrollment"]] = (entry["wake_at_ms"], line)
        case "merged_into":
            pending.clear()


def _judge_fired(reading: Reading, line: LogLine, pending: Pending) -> None:
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
