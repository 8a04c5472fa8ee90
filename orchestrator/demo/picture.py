"""The live picture of the day, and the plain lines where there is no terminal.

`demo/day` hands in a `View` a few times a second: a frozen copy, so that drawing in its own thread
never meets a half-changed state, and never holds up the readers that measure.
"""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console, Group
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from orchestrator.demo.ana import PANELS, Entry, Sight
from orchestrator.demo.supervisor import WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FRAMES_PER_SECOND: Final = 4
# The drawing thread gives way to the readers after this long, so that it adds less than a
# millisecond to what they measure (Python's default is 5 ms).
SWITCH_SECONDS: Final = 0.0005
BARS: Final = "▁▂▃▄▅▆▇█"
# The sparkline's scale is logarithmic: from one millisecond to ten seconds.
BAR_MS_MIN: Final = 1.0
BAR_MS_MAX: Final = 10_000.0
# A panel's borders and padding.
_FRAME: Final = 4
STATE_STYLE: Final = {
    WorkerState.STARTING: "yellow",
    WorkerState.READY: "green",
    WorkerState.DIED: "bold red",
    WorkerState.STOPPED: "dim",
}


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One worker as the picture shows it."""

    slot: str
    state: WorkerState
    pid: int | None
    restarts: int
    partitions: int


@dataclass(frozen=True, slots=True)
class View:
    """One frame: everything that is shown, copied."""

    elapsed: float
    seconds: float
    entries: tuple[Entry, ...]
    workers: tuple[WorkerLine, ...]
    counters: Mapping[str, int]
    commands: Mapping[str, int]
    refusals: Mapping[str, int]
    latencies_ms: Sequence[float]
    p50_ms: float | None
    p99_ms: float | None
    waiting: int
    lost: int
    doubled: int
    story: Sequence[tuple[float, str]]


class Show(Protocol):
    """Where the day is shown."""

    def step(self, text: str) -> None:
        """Say what is being prepared."""

    def tell(self, at: float, text: str) -> None:
        """Tell something that has happened."""

    def draw(self, view: View) -> None:
        """Show the present state."""


class PlainShow:
    """Lines of text: for a pipe, a log, or a terminal that cannot draw."""

    # Often enough to see that it lives, seldom enough to read.
    COUNTERS_SECONDS: Final = 5.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_counters = self.COUNTERS_SECONDS

    def step(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def tell(self, at: float, text: str) -> None:
        """Print one line with its time."""
        self._console.print(f"{at:6.1f} s  {text}", highlight=False, soft_wrap=True)

    def draw(self, view: View) -> None:
        """Print the counters every few seconds."""
        if view.elapsed < self._next_counters:
            return
        self._next_counters = view.elapsed + self.COUNTERS_SECONDS
        counters = ", ".join(f"{name} {count}" for name, count in view.counters.items())
        self.tell(
            view.elapsed,
            f"· {counters}; p50 {_ms(view.p50_ms)}, p99 {_ms(view.p99_ms)}; "
            f"on the way {view.waiting}, lost {view.lost}, doubled {view.doubled}",
        )


class LiveShow:
    """A picture of the whole shop that redraws itself, while a `with` block runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view: View | None = None
        self._live = Live(
            console=console,
            screen=True,
            refresh_per_second=FRAMES_PER_SECOND,
            get_renderable=self._render,
        )

    def step(self, text: str) -> None:
        """Print one line; the picture comes up with the first frame."""
        if self._view is None:
            self._console.print(text, highlight=False)

    def tell(self, at: float, text: str) -> None:
        """Told in the picture: the view carries the last lines."""

    def draw(self, view: View) -> None:
        """Hand over the next frame."""
        first = self._view is None
        self._view = view
        if first:
            sys.setswitchinterval(SWITCH_SECONDS)
            self._live.start()

    def stop(self) -> None:
        """Give the terminal back."""
        if self._live.is_started:
            self._live.stop()

    def _render(self) -> Layout | Text:
        if self._view is None:
            return Text("")
        return render(self._view, self._console.width)


@contextmanager
def show_on(console: Console, *, plain: bool = False) -> Iterator[Show]:
    """Choose how to show the day, and give the terminal back at the end, whatever happens."""
    if plain or not console.is_terminal or console.is_dumb_terminal:
        yield PlainShow(console)
        return
    live = LiveShow(console)
    try:
        yield live
    finally:
        live.stop()


def render(view: View, width: int) -> Layout:
    """Draw one frame for a terminal of so many columns."""
    layout = Layout()
    layout.split_column(
        Layout(_title(view), size=1),
        Layout(name="panels", ratio=5, minimum_size=8),
        Layout(name="middle", ratio=6, minimum_size=9),
        Layout(_latency(view, width - _FRAME), size=3),
    )
    layout["panels"].split_row(
        *(
            Layout(_panel(title, [e for e in view.entries if e.channel == channel]))
            for channel, title in PANELS.items()
        )
    )
    layout["middle"].split_row(
        Layout(_story(view), ratio=5),
        Layout(_machine(view), ratio=3),
        Layout(_counts(view), ratio=3),
    )
    return layout


def _title(view: View) -> Text:
    done = min(1.0, view.elapsed / view.seconds)
    width = 20
    bar = "━" * round(done * width)
    return Text.assemble(
        (" A day in the life of a small outdoor shop ", "bold reverse"),
        f"  {view.elapsed:5.1f} s  ",
        (bar, "green"),
        ("━" * (width - len(bar)), "dim"),
    )


def _panel(title: str, entries: Sequence[Entry]) -> Panel:
    lines = [_entry(entry) for entry in entries]
    # The newest stand on top: a panel that overflows loses its oldest.
    return Panel(Group(*reversed(lines)), title=title, title_align="left", border_style="cyan")


def _entry(entry: Entry) -> Text:
    match entry.sight:
        case Sight.ON_ITS_WAY:
            return Text.assemble((f"{entry.stamp} ", "dim"), (f"… {entry.text}", "yellow"))
        case Sight.THERE:
            style = "" if entry.promotional else "bold green"
            return Text.assemble((f"{entry.stamp} ", "dim"), (entry.text, style))
        case Sight.GONE:
            return Text.assemble(
                (f"{entry.stamp} ", "bold green"), (entry.text, "dim strike"), (" gone", "green")
            )
        case Sight.RECALLED:
            note = f" ({entry.note})" if entry.note else ""
            return Text.assemble(
                (f"{entry.stamp} ", "bold red"),
                (entry.text, "dim strike"),
                (f" not sent{note}", "red"),
            )


def _story(view: View) -> Panel:
    lines = [
        Text.assemble((f"{at:5.1f} s ", "dim"), Text.from_markup(text))
        for at, text in reversed(view.story)
    ]
    return Panel(Group(*lines), title="What happens", title_align="left")


def _machine(view: View) -> Panel:
    table = Table.grid(padding=(0, 1))
    for worker in view.workers:
        again = f", restarted {worker.restarts}x" if worker.restarts else ""
        share = f", {worker.partitions} partitions" if worker.partitions else ""
        table.add_row(
            Text("●", style=STATE_STYLE[worker.state]),
            Text(f"worker {worker.slot}: {worker.state}{share}{again}"),
        )
    held = "green" if view.lost == 0 and view.doubled == 0 else "bold red"
    table.add_row("", "")
    table.add_row("", Text(f"lost {view.lost}  doubled {view.doubled}", style=f"bold {held}"))
    table.add_row(
        "", Text(f"purchases on the way {view.waiting}", style="yellow" if view.waiting else "dim")
    )
    for name, count in view.counters.items():
        table.add_row("", Text.assemble((f"{count:>6} ", "bold"), name))
    return Panel(table, title="Workers and books", title_align="left")


def _counts(view: View) -> Panel:
    table = Table.grid(padding=(0, 1))
    for channel, count in sorted(view.commands.items(), key=lambda pair: -pair[1]):
        table.add_row(Text(f"{count:>6}", style="bold"), channel)
    table.add_row("", Text("refused", style="underline"))
    for reason, count in sorted(view.refusals.items(), key=lambda pair: -pair[1]):
        table.add_row(Text(f"{count:>6}", style="bold"), reason.replace("_", " "))
    return Panel(table, title="Commands", title_align="left")


def _latency(view: View, width: int) -> Panel:
    text = sparkline(view.latencies_ms[-width:])
    title = (
        f"Purchase → visible, each purchase a bar: p50 {_ms(view.p50_ms)}, p99 {_ms(view.p99_ms)}"
    )
    return Panel(text, title=title, title_align="left")


def sparkline(latencies_ms: Sequence[float]) -> Text:
    """Return one bar for each latency, on a logarithmic scale; seconds are red."""
    text = Text(no_wrap=True, overflow="crop")
    span = math.log(BAR_MS_MAX / BAR_MS_MIN)
    for latency in latencies_ms:
        share = math.log(max(latency, BAR_MS_MIN) / BAR_MS_MIN) / span
        bar = BARS[min(len(BARS) - 1, int(share * len(BARS)))]
        style = "green" if latency < 50 else "yellow" if latency < 1000 else "red"
        text.append(bar, style=style)
    return text


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.1f} ms"
