"""A copy of what another worker owns: it is what the log says, and a takeover starts from it."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.broker import EmbeddedBroker
from orchestrator.runtime import recovery
from orchestrator.runtime.recovery import Copy
from tests.runtime.deployment import cart, purchase, wait_until

CUSTOMERS = [f"c{number}" for number in range(20)]
FINAL = ["cart_first", "review", "thank_you"]
RECORDS = st.lists(
    st.tuples(st.sampled_from([b"ana", b"ben", b"eva"]), st.none() | st.binary(max_size=3)),
    max_size=30,
)


def numbered(records):
    """Return records as the client gives them; markers of transactions leave gaps."""
    return [
        SimpleNamespace(key=key, value=value, offset=2 * number)
        for number, (key, value) in enumerate(records)
    ]


@given(RECORDS, st.lists(st.integers(0, 30)))
def test_a_copy_read_in_pieces_is_the_log_read_at_once(records, cuts):
    at_once, in_pieces = Copy(), Copy()
    messages = numbered(records)
    at_once.apply(messages)
    bounds = [0, *sorted(cuts), len(messages)]
    for start, end in itertools.pairwise(bounds):
        in_pieces.apply(messages[start:end])

    assert in_pieces.contents.states == at_once.contents.states
    assert in_pieces.offset == at_once.offset


def test_a_copy_that_nobody_has_kept_up_to_date_is_read_anew(monkeypatch):
    copy = Copy()
    copy.offset = 10

    assert recovery._holds(copy, 10)
    assert not recovery._holds(copy, 9), "the log is another one than that of the copy"
    later = time.monotonic() + recovery._COPY_SECONDS_MAX
    monkeypatch.setattr(recovery.time, "monotonic", lambda: later)
    assert not recovery._holds(copy, 10), "tombstones may be gone that it has not seen"


def standing(port):
    """Return the worker's gauges of copies by partition: records held, records behind."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx.HTTPError:
        return {}, {}
    held, lag = {}, {}
    for line in text.splitlines():
        for name, found in (("records", held), ("lag_records", lag)):
            if line.startswith(f'orchestrator_standby_{name}{{partition="'):
                found[int(line.split('"')[1])] = float(line.split()[-1])
    return held, lag


def recoveries(worker):
    """Return what the worker has said of each takeover: (states it kept, records it read)."""
    lines = map(orjson.loads, worker.log.read_bytes().splitlines())
    return [(one["kept"], one["records"]) for one in lines if one["event"] == "recovered"]


@pytest.fixture
def port():
    """Where the worker with the copies tells of them."""
    return EmbeddedBroker.free_port()


@pytest.fixture
def answered(deployment, port):
    """A worker with a standby, and a cart of everybody's that was answered."""
    worker = deployment.start("a", standby=True, metrics_port=port)
    deployment.produce(*map(cart, CUSTOMERS), partitioner="murmur2_random")
    wait_until(lambda: set(deployment.templates()) == set(CUSTOMERS), "carts answered")
    return worker


def everybody_buys(deployment):
    """Return whether everybody then has every message, and none twice."""
    deployment.produce(*map(purchase, CUSTOMERS), partitioner="murmur2_random")
    return lambda: deployment.templates() == dict.fromkeys(CUSTOMERS, FINAL)


def test_a_standby_takes_over_from_its_copy_and_loses_and_doubles_nothing(
    deployment, answered, port
):
    second = deployment.start("b", standby=True)

    def copied():
        held, lag = standing(port)
        return held and lag.keys() == held.keys() and not any(lag.values())

    wait_until(copied, "a copy of what the other owns")
    held = sum(standing(port)[0].values())
    second.kill()

    wait_until(everybody_buys(deployment), "all once")
    kept, read = recoveries(answered)[-1]
    assert kept == held
    assert read < kept
    assert standing(port) == ({}, {})


def test_what_is_given_away_is_copied_again(deployment, answered, port):
    """Partitions go from one worker to the other and back, and every purchase counts once."""
    guest = deployment.start("b", standby=True)
    wait_until(lambda: sum(standing(port)[0].values()) > 0, "a copy of what was given away")
    guest.terminate()
    wait_until(lambda: len(recoveries(answered)) > 1, "the takeover")

    wait_until(everybody_buys(deployment), "all once")
    assert recoveries(answered)[-1][0] > 0
