"""The comparison is fair when everybody does the same job, and the oracle can tell when not."""

from __future__ import annotations

import random
import re
from types import SimpleNamespace

import orjson
import pytest

from bench.events import Workload, customer_id, event_bytes, population, touches
from bench.rivals.arena import QUICK, Arena, Extent
from bench.rivals.estimate import minutes
from bench.rivals.job import Job, Record
from bench.rivals.lineup import AT_LEAST_ONCE, CONTESTANTS, EXACTLY_ONCE, JOURNEYS
from bench.rivals.oracle import KINDS, Written, expectations, findings
from bench.rivals.parts import PARTS
from bench.rivals.parts.growth import slope
from bench.rivals.parts.kill import _gap_seconds
from bench.rivals.parts.rate import is_sustained
from bench.rivals.runs import Runs
from bench.rivals.table import ratios, render
from orchestrator import catalog
from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.outputs import (
    Position,
    command_headers,
    encode_command,
    encode_fence,
    encode_log,
    event_cause,
)

NOW_NS = 1_795_000_000_000_000_000
LIMIT = 1_000_000


def load(events: int = 400, customers: int = 12) -> list[tuple[bytes, bytes]]:
    """Return keys and values as the benchmark sends them, repeats included."""
    records = list(population(Workload(customers=customers)))
    # Journeys look at the order of event times, which the population takes from the clock.
    records = [
        (key, re.sub(rb'"time":"[^"]+"', b'"time":"2026-11-18T11:06:40.000Z"', value))
        for key, value in records
    ]
    chance = random.Random(1)
    kinds = ("product.viewed", "cart.updated", "cart.abandoned", "purchase")
    for number in range(events):
        customer = chance.randrange(customers)
        at_ns = NOW_NS + number * 1_000_000
        value = event_bytes(chance.choice(kinds), f"{at_ns:x}-{number}", customer, at_ns, chance)
        records += [(customer_id(customer).encode(), value)] * (1 + (number % 29 == 0))
    return records


def written_by_the_job(records: list[tuple[bytes, bytes]]) -> list[tuple[str, bytes, bytes]]:
    """Return topic, key and value of everything that the job writes."""
    job, states, written = Job("", "app"), {}, []
    for offset, (key, value) in enumerate(records):
        record = Record("touchpoints", 0, offset, NOW_NS // 1_000_000 + offset, key, value)
        states[key], outputs = job.of(record, states.get(key))
        written += [(output.topic, output.key, output.value) for output in outputs]
    return written


def as_written(outputs: list[tuple[str, bytes, bytes]]) -> Written:
    """Return them as the oracle reads them."""
    written = Written()
    for topic, key, value in outputs:
        record = orjson.loads(value)
        if topic == "journey-log":
            written.log.append(record)
        elif topic == "fences":
            written.fences.append((key.decode(), record["enrollments"]))
        else:
            written.commands.append(record)
    return written


def test_the_job_written_by_hand_writes_the_bytes_of_the_worker():
    journeys, job = catalog.load(JOURNEYS, "test"), Job("", "app")
    states: dict[bytes, Customer] = {}
    known: dict[bytes, bytes] = {}
    for offset, (key, value) in enumerate(load()):
        now_ms = NOW_NS // 1_000_000 + offset
        event = decode_event(key, value, (), event_bytes_max=LIMIT)
        decision = decide(journeys, states.get(key, Customer(id=key.decode())), event, now_ms)
        states[key] = decision.customer
        ours = [
            (f"commands.{one.channel}", encode_command(one), len(command_headers(one)))
            for one in decision.commands
        ]
        if decision.fence is not None:
            ours.append(("fences", encode_fence(decision.fence), 0))
        log = encode_log(
            customer=event.subject,
            now_ms=decision.now_ms,
            cause=event_cause(Position("touchpoints", 0, offset, now_ms), event),
            outcome=decision.outcome.value,
            definitions_hash=journeys.content_hash,
            entries=decision.entries,
        )
        ours.append(("journey-log", log, 0))
        record = Record("touchpoints", 0, offset, now_ms, key, value)
        known[key], outputs = job.of(record, known.get(key))
        theirs = [(one.topic, one.value, len(one.headers)) for one in outputs]

        assert sorted(map(without_ids, theirs)) == sorted(map(without_ids, ours))


def without_ids(output: tuple[str, bytes, int]) -> tuple[str, bytes, int]:
    """Blank what each system derives in its own way: command ids, and the hash of journeys."""
    topic, value, headers = output
    blank = re.sub(rb'"(id|command|definitions)":"[0-9a-f]{32,64}"', rb'"\1":"-"', value)
    return topic, blank, headers


def test_the_oracle_finds_nothing_in_what_the_job_writes():
    records = load()

    expected = expectations(value for _, value in records)

    assert findings(expected, as_written(written_by_the_job(records))).counts == {}
    assert any(len(one.ended) > 1 for one in expected.values())


def lose_event(written: Written) -> None:
    del written.log[40]


def double_event(written: Written) -> None:
    written.log.append(written.log[40])


def lose_transition(written: Written) -> None:
    entry = next(one for one in written.log if any(e["kind"] == "ended" for e in one["entries"]))
    entry["entries"] = [one for one in entry["entries"] if one["kind"] != "ended"]


def lose_command(written: Written) -> None:
    del written.commands[5]


def double_command(written: Written) -> None:
    written.commands.append(written.commands[5])


def invent_command(written: Written) -> None:
    written.commands[5]["data"]["caused_by"]["id"] = "nobody"


def reuse_id(written: Written) -> None:
    written.commands[5]["id"] = written.commands[6]["id"]


def skip_number(written: Written) -> None:
    written.commands[5]["data"]["sequence"] += 1


def swap_commands(written: Written) -> None:
    customer = next(one["subject"] for one in written.commands if one["data"]["sequence"] == 2)
    first, second, *_ = (
        number for number, one in enumerate(written.commands) if one["subject"] == customer
    )
    commands = written.commands
    commands[first], commands[second] = commands[second], commands[first]


def lose_fence(written: Written) -> None:
    del written.fences[3]


PLANTED = {
    "lost events": lose_event,
    "doubled events": double_event,
    "wrong transitions": lose_transition,
    "lost commands": lose_command,
    "doubled commands": double_command,
    "invented commands": invent_command,
    "reused ids": reuse_id,
    "broken sequences": skip_number,
    "commands out of order": swap_commands,
    "lost fences": lose_fence,
}


def test_every_kind_of_finding_is_planted_below():
    assert set(PLANTED) == set(KINDS)


@pytest.mark.parametrize("kind", PLANTED)
def test_the_oracle_names_what_went_wrong(kind: str):
    records = load()
    written = as_written(written_by_the_job(records))
    PLANTED[kind](written)

    found = findings(expectations(value for _, value in records), written)

    assert kind in found.counts
    assert any(example.startswith(kind) for example in found.examples)


def test_a_run_that_is_kept_is_not_made_again(tmp_path):
    runs = Runs(tmp_path / "runs")
    runs.add("latency/1000/ours/0", {"samples": 7})

    again = Runs(tmp_path / "runs")

    assert "latency/1000/ours/0" in again
    assert "latency/1000/ours/1" not in again
    assert again.rows("latency", 1000, "ours") == [{"key": "latency/1000/ours/0", "samples": 7}]


def test_what_failed_is_tried_again_by_the_next_run_and_not_by_this_one(tmp_path):
    runs = Runs(tmp_path / "runs")
    runs.add("latency/1000/ours/0", {"skipped": "not ready", "failed": True})
    runs.add("latency/2000/ours/0", {"skipped": "fell behind at 1,000 events/s"})

    again = Runs(tmp_path / "runs")

    assert "latency/1000/ours/0" in runs
    assert "latency/1000/ours/0" not in again
    assert "latency/2000/ours/0" in again


def test_systems_take_turns_forwards_and_backwards():
    contestants = tuple(CONTESTANTS.values())
    arena = Arena(SimpleNamespace(), SimpleNamespace(), Extent(), contestants, seed=3)

    turns = [one.name for _, one in arena.turns(2)]

    assert turns[: len(contestants)] == turns[: len(contestants) - 1 : -1]
    assert sorted(turns[: len(contestants)]) == sorted(CONTESTANTS)
    assert turns[: len(contestants)] != list(CONTESTANTS)


def test_all_parts_together_fit_into_five_hours():
    contestants = list(CONTESTANTS.values())

    assert sum(minutes(part, Extent(), contestants) for part in PARTS) <= 300
    assert sum(minutes(part, QUICK, contestants) for part in PARTS) <= 20


def test_the_slope_is_that_of_the_log_log_picture():
    assert slope([(1, 5.0), (10, 5.0), (100, 5.0)]) == pytest.approx(0.0)
    assert slope([(0, 1.0), (1, 5.0), (10, 50.0)]) == pytest.approx(1.0)


def test_the_gap_is_the_longest_silence_after_the_kill():
    second = 1_000_000_000
    seen = [0, 3 * second, 4 * second, 9 * second, 10 * second]

    assert _gap_seconds(seen, 4 * second + 1) == 5.0
    assert _gap_seconds(seen, 2 * second) == 5.0
    assert _gap_seconds(seen[:3], 2 * second) == 3.0


def test_a_system_is_allowed_the_wait_that_its_own_commits_make():
    row = {"missing": 0, "latency_ms": {"p99": 180.0}, "drift_ms": 0.0}

    assert not is_sustained(row, CONTESTANTS["streams-eos-tuned"])
    assert is_sustained(row, CONTESTANTS["streams-eos-default"])
    assert not is_sustained(row | {"missing": 1}, CONTESTANTS["streams-eos-default"])


def test_a_column_says_which_guarantee_it_has():
    for name, one in CONTESTANTS.items():
        assert one.guarantee in {EXACTLY_ONCE, AT_LEAST_ONCE}
        assert ("-alo" in name) <= (one.guarantee == AT_LEAST_ONCE)
        assert ("-eos" in name) <= (one.guarantee == EXACTLY_ONCE)


def test_a_wrong_run_is_marked_and_no_ratio_is_made_of_it(tmp_path):
    runs = Runs(tmp_path / "runs")
    histogram = _row()
    runs.add("latency/1000/ours/0", histogram)
    runs.add("latency/1000/streams-eos-tuned/0", histogram)

    assert any("streams-eos-tuned" in line for line in ratios(runs))

    wrong = {"events": 9, "unsettled": 0, "findings": {"lost commands": 2}}
    runs.add("latency/1000/streams-eos-tuned/0", histogram | {"verdict": wrong})

    assert not any("streams-eos-tuned" in line for line in ratios(runs))
    assert "DISQUALIFIED: lost commands 2" in render(runs)


def _row() -> dict:
    from bench.reader import histogram, percentiles

    waits = histogram([(0, 5_000_000)] * 100)
    return {
        "samples": 100,
        "missing": 0,
        "valid": True,
        "drift_ms": 0.0,
        "latency_ms": percentiles(waits),
        "histogram_us": waits.encode().decode(),
        "system_cpu_us_per_event": 500.0,
        "broker_cpu_us_per_event": 500.0,
        "verdict": {"events": 9, "unsettled": 0, "findings": {}},
    }


def test_no_customer_does_two_things_in_one_millisecond():
    """A promotion entered in the millisecond of a purchase is ended by it: the rule for order."""
    latest: dict[bytes, int] = {}
    for touch in touches(Workload(customers=100), 2_000, 5, 5_000_000_000):
        instant_ms = touch.intended_ns // 1_000_000

        assert latest.get(touch.key, 0) + 1 < instant_ms
        latest[touch.key] = instant_ms


def test_a_poisson_load_is_what_the_oracle_expects_too():
    values = [touch.value for touch in touches(Workload(customers=50), 500, 2, 5_000_000_000)]

    expected = expectations(values)

    purchases = sum(orjson.loads(value)["type"] == "purchase" for value in values)
    assert sum(one.command for one in expected.values()) == purchases
