"""What systems do at their start, in a rebalance and under faults, as tables from the raw runs.

`table` puts them on the page of a run; `bench.faults.report` takes the short one.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.rivals.faults import FAULTS
from bench.rivals.lineup import CONTESTANTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.rivals.runs import Runs

    Rows = list[dict[str, Any]]

KILLED: Final = 1
KILL: Final = "`kill -9` of the only process under load, and a restart at once"
# What is missing because a system stands still is not lost: it would come if it went on.
OF_WHO_STANDS_STILL: Final = frozenset({"lost events", "lost commands"})
SKIPPING: Final = "-skipping"
JOINED: Final = 0
"""Has no number in the matrix."""
JOINS: Final = ("join", "leave")
PHASES: Final = ("alone", *JOINS)


def startup(runs: Runs) -> list[str]:
    """Return seconds from process start to an answer on every partition."""
    body = []
    for name, one in CONTESTANTS.items():
        seconds = sorted(row["seconds"] for row in runs.rows("startup", 0, name))
        if seconds:
            body.append(
                f"| {name} | {one.guarantee} | **{median(seconds):.1f}** "
                f"| {seconds[0]:.1f} to {seconds[-1]:.1f} | {len(seconds)} |"
            )
    return table("| system | guarantee | median s | least and most | starts |", body)


def rebalance(runs: Runs) -> list[str]:
    """Return how long purchases waited while a second process joined, and when it left."""
    head = (
        "| system | guarantee | session s | p50 ms alone | longest wait s: alone | a second joins "
        "| it leaves | longest silence s: joins | leaves | unanswered | oracle |"
    )
    body = []
    for variant in variants(runs, "rebalance"):
        for name, one in CONTESTANTS.items():
            for row in runs.rows("rebalance", variant, name):
                waits = [f"{row[phase]['longest_wait_ms'] / 1_000:.2f}" for phase in PHASES]
                silences = [f"{row[phase]['longest_silence_ms'] / 1_000:.2f}" for phase in JOINS]
                cells = [
                    *(name, one.guarantee, f"{one.session_seconds:g}"),
                    f"{row['alone']['median_wait_ms']:.0f}",
                    *waits,
                    *silences,
                    str(row["unanswered"]),
                    harm(row),
                ]
                body.append(f"| {' | '.join(cells)} |")
    return table(head, body)


def faults(runs: Runs) -> list[str]:
    """Return every row of every system."""
    head = (
        "| # | fault | system | guarantee | lost, doubled, out of order | goes on | bad records "
        "| exits of processes | events |"
    )
    body = []
    for number, name, guarantee, row in _played(runs):
        codes = ", ".join(f"{code}: {n}" for code, n in row["exits"].items()) or "none"
        cells = [
            *(str(number), FAULTS[number].name, name, guarantee),
            *(harm(row), _goes_on(row), _bad_records(row) or "-", codes),
            f"{row['verdict']['events']:,}",
        ]
        body.append(f"| {' | '.join(cells)} |")
    told = table(head, body)
    if told:
        told += ["", *(f"- {one.number}: {one.how}" for one in FAULTS.values())]
    return told


def short(runs: Runs) -> list[str]:
    """Return a line for each row and a column for each system; several runs with a stroke."""
    cells = _cells(runs)
    rows = {KILLED: KILL} | {one.number: f"{one.name}: {one.how}" for one in FAULTS.values()}
    rows[JOINED] = "a second process joins under load, and leaves with SIGTERM"
    systems = [name for name in CONTESTANTS if any((number, name) in cells for number in rows)]

    def cell(number: int, name: str) -> str:
        told = " / ".join(cells.get((number, name), ["-"]))
        skipped = " / ".join(cells.get((number, f"{name}{SKIPPING}"), []))
        return f"{told}; `{SKIPPING}`: {skipped}" if skipped else told

    body = [
        f"| {number or '-'} | {words} | {' | '.join(cell(number, name) for name in systems)} |"
        for number, words in rows.items()
        if any((number, name) in cells for name in systems)
    ]
    return table(f"| # | fault | {' | '.join(systems)} |", body)


def _cells(runs: Runs) -> dict[tuple[int, str], list[str]]:
    cells: dict[tuple[int, str], list[str]] = defaultdict(list)
    for _, name, row in runs.of("kill"):
        if "verdict" in row:
            cells[KILLED, name].append(harm(row))
    for number, name, _, row in _played(runs):
        told = [_goes_on(row)] if row["owed"] else [harm(row), _bad_records(row)]
        cells[number, name].append(", ".join(filter(None, told)))
    for _, name, row in runs.of("rebalance"):
        if "verdict" in row:
            joins, leaves = (row[phase]["longest_wait_ms"] / 1_000 for phase in JOINS)
            words = f"{harm(row)}, waits of up to {joins:.1f} s and {leaves:.1f} s"
            cells[JOINED, name].append(words)
    return cells


def harm(row: dict[str, Any]) -> str:
    """Return what the oracle found, in words."""
    found = {
        kind: count
        for kind, count in row["verdict"]["findings"].items()
        if not (row.get("owed") and kind in OF_WHO_STANDS_STILL)
    }
    return ", ".join(f"**{kind} {count:,}**" for kind, count in found.items()) or "nothing"


def variants(runs: Runs, part: str) -> list[str]:
    """Return the variants of a part that were run, the smallest number first."""
    return sorted({variant for variant, _, _ in runs.of(part)}, key=int)


def table(head: str, body: list[str]) -> list[str]:
    """Return a table with its head, or nothing when there is no line for it."""
    return [head, "|---" * (head.count(" |")) + "|", *body] if body else []


def _names() -> Iterator[str]:
    for name in CONTESTANTS:
        yield name
        yield f"{name}{SKIPPING}"


def _played(runs: Runs) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    for number in variants(runs, "faults"):
        for name in _names():
            guarantee = CONTESTANTS[name.removesuffix(SKIPPING)].guarantee
            for row in runs.rows("faults", number, name):
                yield int(number), name, guarantee, row


def _goes_on(row: dict[str, Any]) -> str:
    if not row["owed"]:
        return "yes"
    ends = sum(row["exits"].values())
    how = f"ends again and again ({ends} times)" if ends > 1 else "stands still"
    return f"**no: {how}, {row['owed']:,} records undecided**"


def _bad_records(row: dict[str, Any]) -> str:
    """Return what became of poison, and of ids with another body."""
    bad, letters = row["bad_records"], row["dead_letters"]
    if not bad:
        return ""
    if letters:
        return f"{letters} dead letters of {bad}"
    return f"{bad} passed over, none kept" if not row["owed"] else "-"
