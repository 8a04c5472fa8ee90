"""Fences: every promotional enrollment that is over has one, and nothing promotional follows it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from bench.crash.judge.kin import nameless

if TYPE_CHECKING:
    from bench.crash.judge.history import Place
    from bench.crash.judge.records import FenceLine, LogLine, Reading
    from bench.crash.judge.reference import Model

EVERYTHING: Final = "*"
"""The fence of all enrollments of a customer who was erased."""
REACHING: Final = frozenset({"message.send", "audience.add", "task.create"})
"""Commands that reach the customer; what takes back may and must follow an exit."""
Key = tuple[str, str]
Ends = dict[Key, tuple[int, "LogLine"]]


def judge_fences(reading: Reading, model: Model) -> None:
    """Hold what is fenced and what is over side by side."""
    fenced: dict[Key, FenceLine] = {}
    records: dict[str, set[Place]] = defaultdict(set)
    for fence in reading.fences:
        records[fence.customer].add(fence.record.place)
        first = fenced.setdefault((fence.customer, _name(fence)), fence)
        if first.sequence != fence.sequence:
            reading.report(
                "promotional",
                f"the fence of {fence.enrollment} moved from {first.sequence} to {fence.sequence}",
                fence.record.place,
            )
    ends, erased, turns = _fenced_ends(reading, model)
    for customer, enrollment in fenced:
        # In the journey log an erased enrollment has no key; senders know it by its whole name.
        end = erased.pop((customer, nameless(enrollment)), None)
        if end is not None:
            ends[customer, enrollment] = end
    for (customer, enrollment), (sequence, line) in {**ends, **erased}.items():
        found = fenced.get((customer, enrollment))
        if found is None and not enrollment.startswith(EVERYTHING):
            reading.report(
                "promotional",
                f"{enrollment} of {customer} is over, but not fenced",
                line.record.place,
            )
        elif found is not None and found.sequence != sequence:
            reading.report(
                "promotional",
                f"{enrollment} of {customer} is fenced at {found.sequence}, not at {sequence}",
                found.record.place,
            )
    for customer, places in records.items():
        if len(places) > turns[customer]:
            reading.report(
                "doubled",
                f"{len(places)} fence records of {customer}, {turns[customer]} decisions made one",
                max(places),
            )
    _judge_behind(reading, ends, fenced)


def _judge_behind(reading: Reading, ends: Ends, fenced: dict[Key, FenceLine]) -> None:
    """Find what reaches somebody although it is over, and what is fenced although it is not."""
    for command in reading.commands:
        key = (command.customer, str(command.data["enrollment"]))
        if not command.promotional or command.type not in REACHING:
            continue
        bounds = [ends[key][0]] if key in ends else []
        bounds += [fenced[key].sequence] if key in fenced else []
        if bounds and command.sequence > min(bounds):
            reading.report(
                "promotional",
                f"{command.id} of {key[1]} has sequence {command.sequence}, over at {min(bounds)}",
                command.record.place,
            )
    for key, fence in fenced.items():
        if key not in ends:
            reading.report(
                "promotional", f"{key[1]} of {key[0]} is fenced, but not over", fence.record.place
            )


def _name(fence: FenceLine) -> str:
    """Return what tells a fence apart: of those of everything, the erasure that made it."""
    if fence.enrollment == EVERYTHING:
        return _of_everything(fence.ended_at_ms, fence.sequence)
    return fence.enrollment


def _of_everything(ended_at_ms: int, sequence: int) -> str:
    """Return the name of an erasure's fence; a second one may follow in the same millisecond."""
    return f"{EVERYTHING} {ended_at_ms} {sequence}"


def _fenced_ends(reading: Reading, model: Model) -> tuple[Ends, Ends, Counter[str]]:
    """Return the sequence before each end that must be fenced, and how many decisions did that.

    Apart from them, the ends by an erasure, under the names of the journey log.
    """
    ends: Ends = {}
    erased: Ends = {}
    turns: Counter[str] = Counter()
    for customer, lines in reading.by_customer.items():
        sequence, marked = 0, False
        for line in lines:
            over = [
                entry
                for entry in (*line.of_kind("ended"), *line.of_kind("handed_over"))
                if model.ends_fenced(entry)
            ]
            forgets = bool(line.of_kind("customer_erased"))
            marked = marked or forgets
            # The fence of everything is taken back when it is of no use any more.
            turns[customer] += bool(over) or forgets or (marked and line.due_ms is not None)
            for entry in over:
                where = erased if entry.get("reason") == "erased" else ends
                where.setdefault((customer, entry["enrollment"]), (sequence, line))
            if forgets:
                ends[customer, _of_everything(line.now_ms, sequence)] = (sequence, line)
            emitted = [entry["sequence"] for entry in line.of_kind("emitted")]
            sequence = max([sequence, *emitted])
    return ends, erased, turns
