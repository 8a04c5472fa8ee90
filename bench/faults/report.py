"""Keeps the results of rows in JSON, and writes the page that people read from them.

A row that is played again replaces its result; the others stay, with the day they were seen.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Final

from bench.rivals import fault_table
from bench.rivals.runs import Runs
from orchestrator.broker.lock import KAFKA_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.faults.case import Row

_FINDINGS_SHOWN: Final = 5


class Report:
    """The results of all rows that were ever played; `rivals` has runs of other systems."""

    def __init__(self, path: Path, rows: Sequence[Row], rivals: Path | None = None) -> None:
        self._path = path
        self._rows = rows
        self._rivals = rivals
        self._kept: dict[str, Any] = {}
        if path.exists():
            self._kept = json.loads(path.read_text(encoding="utf-8"))

    def keep(self, row: Row, result: dict[str, Any]) -> None:
        """Keep the result of a row, and write the file."""
        day = time.strftime("%Y-%m-%d", time.gmtime())
        self._kept[str(row.number)] = {"fault": row.fault, "day": day, **result}
        ordered = dict(sorted(self._kept.items(), key=lambda item: int(item[0])))
        self._path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")

    def write_page(self, path: Path) -> None:
        """Write the table."""
        path.write_text(self.page(), encoding="utf-8")

    def page(self) -> str:
        """Return the page in Markdown."""
        lines = [_HEAD.format(kafka=KAFKA_VERSION, cores=os.cpu_count() or 0)]
        lines.append("| # | fault | how | what must hold | result | what was seen |")
        lines.append("|---|---|---|---|---|---|")
        lines += [self._line(row) for row in self._rows]
        lines.append("")
        lines.append(_FIGURES)
        lines.append(
            "| # | seconds | records | dead letters | commands | waits fired "
            "| event to decision p50 / p99 / max | exits of workers | violations |"
        )
        lines.append("|---|---|---|---|---|---|---|---|---|")
        lines += [self._figures(row) for row in self._rows if self._of(row).get("figures")]
        if self._rivals and (others := fault_table.short(Runs(self._rivals))):
            lines += ["", _OTHERS, *others]
        lines += ["", _FOUND]
        return "\n".join(lines)

    def _of(self, row: Row) -> dict[str, Any]:
        found: dict[str, Any] = self._kept.get(str(row.number), {})
        return found

    def _line(self, row: Row) -> str:
        kept = self._of(row)
        seen = list(kept.get("seen", ["not played yet"]))
        if kept.get("findings"):
            more = kept["findings_count"] - _FINDINGS_SHOWN
            seen += [f"**{finding}**" for finding in kept["findings"][:_FINDINGS_SHOWN]]
            seen += [f"and {more} more"] if more > 0 else []
        result = f"{kept['result']} ({kept['day']})" if kept else "open"
        cells = [str(row.number), row.fault, row.injected, row.must_hold, result, "; ".join(seen)]
        return (
            "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
        )

    def _figures(self, row: Row) -> str:
        kept = self._of(row)
        figures = kept["figures"]
        waited = figures.get("event_to_decision_ms") or {}
        late = " / ".join(_time(waited[name]) for name in ("p50", "p99", "max")) if waited else "-"
        codes = ", ".join(f"{code}: {n}" for code, n in figures.get("exit_codes", {}).items())
        numbers = [
            f"{figures[name]:,}" if name in figures else "-"
            for name in ("consumed", "dead_letters", "commands", "waits_fired")
        ]
        cells = [str(row.number), str(kept["seconds"]), *numbers, late, codes or "none"]
        cells.append(f"{kept.get('findings_count', 0)}")
        return "| " + " | ".join(cells) + " |"


def _time(milliseconds: float) -> str:
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"


_HEAD: Final = """\
# The fault matrix
`make faults` plays every fault that one machine allows against real workers and a real Kafka, one
row after the other, and exits 1 when a row is red; `python -m bench.faults --rows 2,7` plays some,
`--list` names them. It writes this page (`bench/faults/report.py`).

In each row a few workers run under a steady load: the story of the crash run (`crash.md`), 60
records a second for 45 to 60 seconds, with its repeats, late, stray and aborted records and poison,
and senders that report. When everything has come to rest, the judge of the crash run reads the
topics and looks for what was lost, doubled, out of order, early or late, wrong, or sent after an
exit; and each row asks for what its own fault demands. A finding names topic, partition and offset.
A row has two minutes from the beginning of its load; `--patience 3` gives more on a busy machine.

Kafka {kafka}, embedded; {cores} shared cores, on which others worked at the same time.
"""
_FIGURES: Final = """\
From the stamp of an event to the stamp of its decision in the journey log, over all events of the
row; the maximum is how long the fault made somebody wait. Exit code 70 is a worker that gave itself
up and was restarted; -9 is one that was killed.
"""
_OTHERS: Final = """\
## What others do in the same rows
`make bench-rivals ARGS="--name faults --parts startup,rebalance,kill,faults"` plays some rows with
the systems that one would use instead. They and ours do the smaller job of that comparison (see
`bench/README.md`) at 150 events a second, row 1 at 500, joining and leaving at 100; a supervisor
starts again whatever ends, and one oracle judges the topics of all: *nothing* is nothing lost,
doubled, invented or out of order. Each handles errors as it does by default; `-skipping` has the
documented option that lets it go on. That a repeat is known in row 13 is the work of the job, which
is the same for all rivals; the records that were not kept there are ids with another body. Each row
was played once, or twice where a cell has two results, which finds what happens often. Start-up,
the pause of a rebalance and exits: `bench/results/rivals/faults.md`.
"""
_FOUND: Final = """\
## What it has found
Bugs that a row was red for, each mended with a test:
- Row 11: the broker removes transaction markers from a compacted changelog, by default a day after
  they were written, and may leave an empty batch of one. aiokafka raised `Control batch did not
  contain any records` there, so that no worker could recover that partition any more.
- Row 5: one rebalance right behind another ended a worker with exit code 1
  (`NoOffsetForPartitionError`); nothing was lost.
- Row 19: a right to write that is taken away ended workers with `IllegalOperation`, a topic that is
  deleted with `TimeoutError()`; both are named now.
- Row 22: a worker that took partitions over went on with the partition counts that its client had
  seen up to five minutes before; it looks again at every takeover.
- Row 12, seen in the code when the row was written: a worker whose clock is an hour ahead stamped
  the records that it forwarded, which carries the clock of a partition along when its owner's clock
  is ahead as well. The broker stamps them now. (A producer's record that is stamped ahead is
  capped by the worker's clock; it is believed when that is ahead too, as a first run showed.)
- Row 5: without its brokers a worker wrote 250 lines a second, most of them the same.
"""
