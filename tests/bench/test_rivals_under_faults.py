"""Rivals in the rows of the fault matrix, without a broker: their loads, judging and tables."""

from __future__ import annotations

import orjson
import pytest

from bench.events import Touch, Workload, touches
from bench.faults.__main__ import ROWS
from bench.faults.report import Report
from bench.rivals import fault_table
from bench.rivals.faults import FAULTS, POISONED_EACH, POISONS, is_event, poisoned, told_twice
from bench.rivals.job import Job, Record
from bench.rivals.lineup import CONTESTANTS
from bench.rivals.oracle import expectations
from bench.rivals.parts.faults import skipping
from bench.rivals.parts.rebalance import load_seconds, pauses
from bench.rivals.runs import Runs

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def load() -> list[Touch]:
    return list(touches(Workload(customers=50), 100, 20, 5 * SECOND))


@pytest.fixture
def runs(tmp_path) -> Runs:
    return Runs(tmp_path / "runs")


def played(**changes) -> dict:
    row = {
        "exits": {},
        "owed": 0,
        "bad_records": 0,
        "dead_letters": 0,
        "verdict": {"events": 9, "unsettled": 0, "findings": {}},
    }
    return row | changes


def verdict(**findings) -> dict:
    counted = {kind.replace("_", " "): count for kind, count in findings.items()}
    return {"events": 9, "unsettled": 0, "findings": counted}


def test_each_row_is_one_of_the_matrix():
    assert set(FAULTS) <= {row.number for row in ROWS}


def test_everything_is_told_again_under_the_same_ids(load):
    twice = told_twice(load)

    again = [one for one in twice if is_event(one.key, one.value)]
    assert len(again) == 2 * len(load)
    assert {one.value for one in again} == {one.value for one in load}
    assert [one.intended_ns for one in twice] == sorted(one.intended_ns for one in twice)


def test_an_id_with_another_body_is_no_event_to_the_oracle(load):
    reused = [one for one in told_twice(load) if not is_event(one.key, one.value)]
    first = {one.id: one.value for one in load}

    assert len(reused) == len(load) // 50 + 1
    for one in reused:
        event = orjson.loads(one.value)
        assert event["id"] == one.id
        assert event["data"] != orjson.loads(first[one.id])["data"]


def test_every_poison_is_in_the_load_and_nothing_of_it_is_expected(load):
    told = poisoned(load)
    bad = [one for one in told if not is_event(one.key, one.value)]

    assert {one.type for one in bad} == set(POISONS)
    assert len(bad) == POISONED_EACH * len(POISONS)
    assert len({one.key for one in bad}) == len(bad)
    values = [one.value for one in told if is_event(one.key, one.value)]
    assert set(expectations(values)) == {one.id for one in load}


def test_no_reader_can_take_a_poison_for_an_event(load):
    job = Job("", "app")
    for one in poisoned(load):
        if not is_event(one.key, one.value):
            with pytest.raises((ValueError, TypeError, KeyError)):
                job.of(Record("touchpoints", 0, 0, 1, one.key, one.value), None)


def test_a_load_lasts_until_the_sessions_in_it_have_run_out():
    zombie, storm = FAULTS[2], FAULTS[6]

    assert zombie.load_seconds(45.0) - zombie.load_seconds(6.0) == 39.0
    assert storm.load_seconds(45.0) == storm.load_seconds(6.0)
    patient, quick = CONTESTANTS["streams-eos-default"], CONTESTANTS["streams-eos-tuned"]
    assert load_seconds(patient) - load_seconds(quick) == 39.0


def test_who_skips_has_the_documented_option_and_a_name_of_its_own():
    plain = CONTESTANTS["streams-eos-tuned"]
    forgiving = skipping(plain)

    assert forgiving.name == "streams-eos-tuned-skipping"
    assert plain.settings.items() < forgiving.settings.items()
    assert forgiving.settings["errors.dead.letter.queue.topic.name"] == "{prefix}dead-letters"


def test_a_wait_belongs_to_the_phase_in_which_it_ended():
    samples = [(0, 1), (2, 4), (5, 25), (30, 31), (32, 62)]
    samples = [(meant * SECOND, seen * SECOND) for meant, seen in samples]

    told = pauses(samples, joined_ns=10 * SECOND, left_ns=40 * SECOND)

    assert [told[phase]["longest_wait_ms"] for phase in told] == [2_000, 20_000, 30_000]
    assert [told[phase]["longest_silence_ms"] for phase in told] == [3_000, 21_000, 31_000]
    assert [told[phase]["answers"] for phase in told] == [2, 2, 1]


def test_who_stands_still_has_lost_nothing_yet():
    stuck = played(owed=7, verdict=verdict(lost_events=7, lost_commands=1, doubled_events=2))
    lost = played(verdict=verdict(lost_events=7))

    assert fault_table.harm(stuck) == "**doubled events 2**"
    assert fault_table.harm(lost) == "**lost events 7**"
    assert fault_table.harm(played()) == "nothing"


def test_the_tables_say_who_goes_on_and_what_became_of_bad_records(runs):
    runs.add("faults/14/ours/0", played(bad_records=28, dead_letters=28))
    runs.add("faults/14/stock-faust/0", played(bad_records=28, exits={"1": 1}))
    runs.add("faults/14/quix-eos-default/0", played(bad_records=28, owed=400, exits={"1": 9}))
    runs.add("faults/14/quix-eos-default-skipping/0", played(bad_records=28))
    runs.add("faults/2/confluent-loop/0", {"skipped": "runs alone"})

    long, short = fault_table.faults(runs), fault_table.short(runs)

    assert (
        "| 14 | poison | ours | exactly once | nothing | yes | 28 dead letters of 28 |" in long[2]
    )
    assert "ends again and again (9 times), 400 records undecided" in "".join(long)
    assert short[0] == "| # | fault | ours | quix-eos-default | stock-faust |"
    assert short[2].endswith(
        "| nothing, 28 dead letters of 28 "
        "| **no: ends again and again (9 times), 400 records undecided**; "
        "`-skipping`: nothing, 28 passed over, none kept "
        "| nothing, 28 passed over, none kept |"
    )


def test_the_kill_of_the_comparison_is_row_1(runs):
    runs.add("kill/500/ours/0", {"verdict": verdict()})
    runs.add("kill/500/stock-faust/0", {"verdict": verdict(lost_events=12)})
    runs.add("kill/500/stock-faust/1", {"verdict": verdict()})

    assert fault_table.short(runs)[2].endswith("| nothing | **lost events 12** / nothing |")


def test_start_ups_are_told_by_their_median(runs):
    for repetition, seconds in enumerate((4.0, 2.0, 9.0)):
        runs.add(f"startup/0/ours/{repetition}", {"seconds": seconds})

    assert fault_table.startup(runs)[2] == "| ours | exactly once | **4.0** | 2.0 to 9.0 | 3 |"


def test_a_rebalance_is_told_by_its_longest_waits(runs):
    phase = {"median_wait_ms": 12.0, "longest_wait_ms": 1_500.0, "longest_silence_ms": 700.0}
    row = played(unanswered=0, alone=phase, join=phase, leave=phase)
    runs.add("rebalance/100/ours/0", row)

    assert fault_table.rebalance(runs)[2] == (
        "| ours | exactly once | 6 | 12 | 1.50 | 1.50 | 1.50 | 0.70 | 0.70 | 0 | nothing |"
    )
    runs.add("faults/4/ours/0", played())
    assert fault_table.short(runs)[-1].endswith("| nothing, waits of up to 1.5 s and 1.5 s |")


def test_the_page_of_the_matrix_keeps_what_others_do(runs, tmp_path):
    runs.add("faults/4/ours/0", played())

    page = Report(tmp_path / "faults.json", [], runs.folder).page()

    assert "## What others do in the same rows" in page
    assert "| 4 | broker killed: kill -9 of the only broker" in page
    assert "What others do" not in Report(tmp_path / "faults.json", [], tmp_path / "none").page()
