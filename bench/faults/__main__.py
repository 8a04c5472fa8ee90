"""`python -m bench.faults`: play the rows of the fault matrix one after the other, and write them.

Prints what happens while it happens, then a line for each row; keeps results in JSON, row by row,
and writes docs/faults.md from all that are kept; exits 1 when a row that was played is red.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.faults import clocks, crashes, disks, doors, feeds, models, networks, refusals, versions
from bench.faults.case import Case, NotHere, as_json
from bench.faults.report import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.faults.case import Row

KINDS: Final = (crashes, networks, disks, models, clocks, feeds, versions, refusals, doors)
ROWS: Final[tuple[Row, ...]] = tuple(
    sorted((row for kind in KINDS for row in kind.ROWS), key=lambda row: row.number)
)


def main() -> None:
    """Play the rows that the command line names."""
    options = _options()
    rows = [row for row in ROWS if not options.rows or row.number in options.rows]
    if options.list:
        for row in rows:
            print(f"{row.number:>2}  {row.fault}{'' if row.play else ' (not here)'}")
        return
    report = Report(Path(options.report), ROWS, Path(options.rivals))
    if options.write:
        report.write_page(Path(options.page))
        return
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-faults-"))
    red = [row.number for row in rows if not play(row, folder, report, options.patience)]
    report.write_page(Path(options.page))
    if red:
        print(f"red: {', '.join(map(str, red))}; logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(1 if red else 0)


def play(row: Row, folder: Path, report: Report, patience: float = 1.0) -> bool:
    """Play a row and keep its result; return whether it is green, or cannot be played here."""
    if row.play is None:
        report.keep(row, {"result": "not here", "seen": [row.impossible]})
        return True
    print(f"row {row.number}: {row.fault}", flush=True)
    place = folder / f"row-{row.number}"
    place.mkdir()
    case = Case(row, place, patience=patience)
    try:
        row.play(case)
    except NotHere as error:
        report.keep(row, {"result": "not here", "seen": [str(error)]})
        return True
    except Exception as error:  # noqa: BLE001 - Whatever it is, the row was not played to its end.
        case.found(f"{type(error).__name__}: {error}")
        (place / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    kept: dict[str, Any] = as_json(case, time.monotonic() - case.started)
    report.keep(row, kept)
    print(f"row {row.number}: {kept['result']} after {kept['seconds']} s", flush=True)
    return not case.findings


def _numbers(text: str) -> Sequence[int]:
    return [int(part) for part in text.split(",") if part]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--rows", type=_numbers, help="only these, as 1,2,5; default all")
    parser.add_argument("--list", action="store_true", help="name the rows, play none")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="how many times longer anything may take"
    )
    parser.add_argument("--report", default="bench/results/faults.json", help="where results go")
    parser.add_argument(
        "--rivals",
        default="bench/results/rivals/faults",
        help="runs of others, for the page",
    )
    parser.add_argument("--write", action="store_true", help="only write the page, play none")
    parser.add_argument("--page", default="docs/faults.md", help="where the table goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
