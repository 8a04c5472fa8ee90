"""The picture shows what a view holds, in a large terminal, in a small one, and in none."""

import io

import pytest
from rich.console import Console

from orchestrator.demo.ana import Entry, Sight
from orchestrator.demo.picture import LiveShow, View, WorkerLine, render, show_on, sparkline
from orchestrator.demo.supervisor import WorkerState


def a_view(**changes):
    values = {
        "elapsed": 17.3,
        "seconds": 30.0,
        "entries": (
            Entry("email", "Your tent waits", Sight.RECALLED, 11.5, "c-1", "+7 ms"),
            Entry("push", "Order received", Sight.THERE, 11.5, "c-2", "+7 ms"),
            Entry("ads", "Winter sale", Sight.GONE, 11.5, "c-3", "+7 ms"),
            Entry("callcenter", "Call Ana", Sight.ON_ITS_WAY, 10.4, "c-4", "10.4 s"),
        ),
        "workers": (
            WorkerLine("0", WorkerState.READY, 11, 0, 8),
            WorkerLine("1", WorkerState.DIED, 12, 1, 0),
        ),
        "counters": {"events": 812, "purchases": 70},
        "commands": {"email": 300, "ads": 120},
        "refusals": {"already_owned": 12},
        "latencies_ms": [7.0, 9.0, 6_500.0],
        "p50_ms": 9.0,
        "p99_ms": 6_500.0,
        "waiting": 3,
        "lost": 0,
        "doubled": 0,
        "story": ((11.5, "[bold]Ana buys the tent[/]"), (15.0, "kill -9 12: worker 1 is gone")),
    }
    return View(**(values | changes))


def drawn(view, width, height):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    console.print(render(view, width), height=height)
    return console.file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 34), (200, 60)])
def test_the_picture_fits_the_terminal(width, height):
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(render(a_view(), width), height=height)

    lines = console.file.getvalue().rstrip("\n").split("\n")

    assert len(lines) == height
    assert max(len(line) for line in lines) <= width


@pytest.mark.parametrize(
    "shown",
    ["Your tent waits", "+7 ms", "worker 1", "died", "restarted 1x", "Ana buys the tent", "812"],
)
def test_the_picture_shows(shown):
    assert shown in drawn(a_view(), 160, 40)


def test_where_there_is_no_terminal_lines_are_told():
    console = Console(file=io.StringIO(), width=100)

    with show_on(console) as show:
        show.tell(11.5, "[bold]Ana buys the tent[/]")
        show.draw(a_view(elapsed=5.1))
        show.draw(a_view(elapsed=6.0))
        show.draw(a_view(elapsed=10.2))

    text = console.file.getvalue()
    assert "11.5 s  Ana buys the tent\n" in text
    # Counters come every five seconds, not with every frame.
    assert text.count("events 812") == 2
    assert "on the way 3, lost 0, doubled 0" in text


def test_in_a_terminal_the_picture_is_live_and_given_back():
    console = Console(file=io.StringIO(), width=100, height=30, force_terminal=True, _environ={})

    with show_on(console) as show:
        assert isinstance(show, LiveShow)
        show.draw(a_view())

    text = console.file.getvalue()
    assert "\x1b[?1049h" in text  # The alternate screen: opened,
    assert "\x1b[?1049l" in text  # and closed again.


def test_the_sparkline_shows_the_newest_purchases():
    many = a_view(latencies_ms=[5.0] * 200 + [9_000.0] * 20)

    assert drawn(many, 80, 24).count("█") == 20


def test_a_slow_purchase_stands_out_in_the_sparkline():
    text = sparkline([5.0, 5.0, 9_000.0])

    assert text.plain[0] == text.plain[1] != text.plain[2]
    assert [span.style for span in text.spans] == ["green", "green", "red"]
