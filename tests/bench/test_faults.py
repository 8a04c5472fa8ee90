"""The fault matrix without a broker: its proxy, its roles, and the page it writes."""

import contextlib
import json
import socket
import threading
import time

import pytest

from bench.faults.__main__ import ROWS, play
from bench.faults.case import Case, NotHere, OutOfTime, Row
from bench.faults.proxy import Proxy, Weather
from bench.faults.report import Report
from orchestrator.broker import EmbeddedBroker


@pytest.fixture
def echo():
    """A server that answers every byte with itself; gives its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection):
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65_536):
                connection.sendall(data)

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture
def proxy(echo):
    """A proxy before the echo."""
    with Proxy(EmbeddedBroker.free_port(), echo) as proxy:
        yield proxy


def connect(proxy):
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    connection.settimeout(5)
    return connection


def asked(connection, text=b"a question of some length"):
    connection.sendall(text)
    found = b""
    while len(found) < len(text) and (more := connection.recv(1_000)):
        found += more
    return found


def test_the_proxy_hands_everything_on_in_fair_weather(proxy):
    assert asked(connect(proxy), b"x" * 100_000) == b"x" * 100_000


@pytest.mark.parametrize("cut", ["cut", "deafen"])
def test_a_cut_holds_bytes_and_loses_none(proxy, cut):
    connection = connect(proxy)
    asked(connection)
    getattr(proxy, cut)()
    connection.sendall(b"held")
    connection.settimeout(0.3)
    with pytest.raises(TimeoutError):
        connection.recv(10)
    proxy.heal()
    connection.settimeout(5)

    assert connection.recv(10) == b"held"


def test_a_delay_is_as_long_as_it_was_asked_for(proxy):
    connection = connect(proxy)
    proxy.weather = Weather(delay_seconds=0.1)
    started = time.monotonic()
    asked(connection)

    assert time.monotonic() - started >= 0.2  # There, and back.


def test_a_reset_ends_a_connection_at_once(proxy):
    connection = connect(proxy)
    asked(connection)
    proxy.reset()

    with pytest.raises(ConnectionResetError):
        connection.recv(10)


def test_a_cut_answer_ends_in_its_middle(proxy):
    connection = connect(proxy)
    proxy.truncate()

    assert asked(connection, b"0123456789") == b"01234"
    assert proxy.truncated == 1


ROW = Row(99, "a fault", "by hand", "something", lambda case: case.saw("it held"))


def played(tmp_path, row):
    report = Report(tmp_path / "faults.json", [row])
    green = play(row, tmp_path, report)
    return green, json.loads((tmp_path / "faults.json").read_text())["99"], report.page()


def test_a_row_that_held_is_green_and_says_what_was_seen(tmp_path):
    green, kept, page = played(tmp_path, ROW)

    assert green
    assert kept["result"] == "green"
    assert f"| 99 | a fault | by hand | something | green ({kept['day']}) | it held |" in page


def test_a_demand_that_does_not_hold_makes_the_row_red_with_its_place(tmp_path):
    def fail(case):
        case.demand("one is two", holds=False)
        case.found("lost:\n a record", ("touchpoints", 3, 17))

    green, kept, page = played(tmp_path, Row(99, "f", "h", "m", fail))

    assert not green
    assert kept["findings_count"] == 2
    assert "**lost: a record touchpoints[3]@17**" in page


def test_a_row_that_breaks_down_is_red_with_the_reason(tmp_path):
    def fall(_):
        raise RuntimeError("the broker is gone")

    green, kept, _ = played(tmp_path, Row(99, "f", "h", "m", fall))

    assert not green
    assert kept["findings"] == ["RuntimeError: the broker is gone"]


def test_a_row_that_this_machine_does_not_allow_says_why(tmp_path):
    def lack(_):
        raise NotHere("needs wings")

    green, kept, page = played(tmp_path, Row(99, "f", "h", "m", lack))

    assert green
    assert kept["result"] == "not here"
    assert "needs wings" in page


def test_what_does_not_come_in_time_ends_the_wait(tmp_path):
    case = Case(ROW, tmp_path)

    with pytest.raises(OutOfTime, match="the sea to part"):
        case.wait("the sea to part", lambda: False, 0.2)


def test_every_row_of_the_matrix_is_there_once_and_plays_or_says_why_not():
    assert [row.number for row in ROWS] == list(range(1, 24))
    assert all(row.play or row.impossible for row in ROWS)
