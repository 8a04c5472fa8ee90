"""Logs: JSON for machines on stderr, and nobody's data in them."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from orchestrator import logs


@pytest.fixture(autouse=True)
def restored() -> object:
    """Leave logging as it was, for the tests after us."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    output = capsys.readouterr()
    assert output.out == ""
    return [json.loads(line) for line in output.err.splitlines()]


def test_without_a_terminal_a_line_is_json_on_stderr(capsys: pytest.CaptureFixture[str]):
    logs.configure()
    structlog.get_logger("worker").info("ready", partitions=8)

    (line,) = told(capsys)
    assert line["event"] == "ready"
    assert line["partitions"] == 8
    assert line["level"] == "info"
    assert str(line["time"]).endswith("Z")


def test_the_lines_of_libraries_take_the_same_road(capsys: pytest.CaptureFixture[str]):
    logs.configure()
    logging.getLogger("aiokafka.client").warning("lost %s", "node 1")
    logging.getLogger("aiokafka.client").info("chatter")

    (line,) = told(capsys)
    assert (line["event"], line["logger"]) == ("lost node 1", "aiokafka.client")


def test_a_library_says_the_same_words_once_a_second(capsys: pytest.CaptureFixture[str]):
    logs.configure()
    for _ in range(300):
        for node in (1, 2):
            logging.getLogger("aiokafka.client").error("cannot connect to node %s", node)
        structlog.get_logger("orchestrator.worker").warning("ours")

    said = [line["event"] for line in told(capsys)]
    assert said.count("cannot connect to node 1") == 1
    assert said.count("cannot connect to node 2") == 1
    assert said.count("ours") == 300


def test_what_a_library_says_again_a_second_later_is_told_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    logs.configure()
    for _ in range(4):
        logging.getLogger("aiokafka").error("lost")
        now[0] += 0.5

    assert len(told(capsys)) == 2


def test_a_customer_is_named_at_debug_only_and_payloads_never(capsys: pytest.CaptureFixture[str]):
    logs.configure(level="debug")
    for level in ("debug", "info", "error"):
        getattr(structlog.get_logger("x"), level)("applied", customer="ana", data={"a": 1}, n=1)

    assert [("customer" in line, "data" in line, line["n"]) for line in told(capsys)] == [
        (True, False, 1),
        (False, False, 1),
        (False, False, 1),
    ]


def test_what_a_client_library_would_write_down_of_records_is_not_even_there_at_debug(
    capsys: pytest.CaptureFixture[str],
):
    logs.configure(level="debug")
    for name in ("aiokafka.conn", "aiohttp.client", "aiosmtplib"):
        logging.getLogger(name).debug("Request: %s", b"ana@shop.example")

    assert told(capsys) == []


def test_an_exception_stays_one_line(capsys: pytest.CaptureFixture[str]):
    logs.configure()
    try:
        int("two\nlines")
    except ValueError:
        structlog.get_logger("x").exception("failed")

    (line,) = told(capsys)
    assert "ValueError" in json.dumps(line["exception"])


@pytest.mark.parametrize("style", ["json", "human"])
def test_a_traceback_does_not_tell_what_was_in_the_variables(
    style: str, capsys: pytest.CaptureFixture[str]
):
    logs.configure(style=style)

    def applied(mail: str) -> None:
        raise LookupError(f"{len(mail)} characters")

    try:
        applied("ana" + "@" + "shop.example")
    except LookupError:
        structlog.get_logger("x").exception("failed")
        logging.getLogger("library").exception("failed too")

    output = capsys.readouterr().err
    assert "LookupError" in output
    assert "shop.example" not in output.replace('"ana" + "@" + "shop.example"', "")


def test_people_get_no_json(capsys: pytest.CaptureFixture[str]):
    logs.configure(style="human")
    structlog.get_logger("x").info("ready", partitions=8)

    assert "ready" in capsys.readouterr().err


def test_a_line_goes_to_where_errors_go_by_now(monkeypatch, capsys: pytest.CaptureFixture[str]):
    """Whoever configured logs may have closed what they went to then."""
    former = io.StringIO()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("sys.stderr", former)
        logs.configure(style="json")
        structlog.get_logger("orchestrator.test").info("first")
    former.close()

    structlog.get_logger("orchestrator.test").info("second")

    assert "second" in capsys.readouterr().err
