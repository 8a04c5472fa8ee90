"""The comparison as a table: for the terminal at the end of the day, and for the report."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from orchestrator.demo.ana import PANELS, SAYS
from orchestrator.demo.judge.evidence import Kind
from orchestrator.demo.judge.two_worlds import ROWS
from orchestrator.timeline.sentences import channel_noun, duration

if TYPE_CHECKING:
    from orchestrator.demo.judge.evidence import Delivery
    from orchestrator.demo.judge.two_worlds import Comparison

TITLE: Final = "The same day twice"


def side_by_side(comparison: Comparison) -> Table:
    """Return the table for a terminal."""
    table = Table(title=TITLE, title_justify="left", box=None)
    table.add_column("delivered to the same customers")
    table.add_column("in silos", justify="right")
    table.add_column("ours", justify="right")
    for row in ROWS:
        ours = row.value(comparison.ours)
        tone = "" if not row.promised else "bold red" if ours else "bold green"
        table.add_row(
            row.text,
            Text(row.shown(comparison.silos)),
            Text(row.shown(comparison.ours), style=tone),
        )
    return table


def broken_promises(comparison: Comparison) -> list[str]:
    """Return a line for each number that had to be 0 in our world and is not."""
    return [f"{row.text}: {row.shown(comparison.ours)}, promised: 0" for row in comparison.broken]


def html_table(comparison: Comparison) -> str:
    """Return the rows of the table for the report, each with a bar for each world."""
    rows = []
    for row in ROWS:
        silos, ours = row.value(comparison.silos), row.value(comparison.ours)
        most = max(silos, ours) or 1
        tone = "" if not row.promised else " bad" if ours else " good"
        rows.append(
            f"<tr><td>{escape(row.text)}</td>"
            f"{_cell(row.shown(comparison.silos), silos / most, 'silos')}"
            f"{_cell(row.shown(comparison.ours), ours / most, f'ours{tone}')}</tr>"
        )
    return "".join(rows)


def _cell(text: str, share: float, tone: str) -> str:
    return (
        f'<td class="world {tone}"><b>{escape(text)}</b>'
        f'<div class="bar" style="width:{100 * share:.0f}%"></div></td>'
    )


def html_day_in_silos(comparison: Comparison, *, purchase_at: float) -> str:
    """Return the lines of what Ana got from the silos, those after her purchase marked."""
    lines = [
        _line(delivery, purchase_at)
        for delivery in sorted(comparison.anas, key=lambda d: d.ended_at)
    ]
    return "".join(lines) or "<li>nothing</li>"


def _line(delivery: Delivery, purchase_at: float) -> str:
    since = delivery.ended_at - purchase_at
    stamp = f"{delivery.ended_at:.1f} s" if since < 0 else f"+{duration(round(since * 1000))}"
    where = PANELS.get(delivery.channel, channel_noun(delivery.channel))
    said = escape(SAYS.get(delivery.name, delivery.name.replace("_", " ")))
    if delivery.kind is Kind.REMOVED:
        said = f'<span class="taken">{said}</span> <span class="mark way">gone</span>'
    elif since >= 0:
        said += ' <span class="mark bad">after her purchase</span>'
    return f'<li><span class="stamp">{stamp}</span>{escape(where)}: {said}</li>'
