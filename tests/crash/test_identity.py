"""Ids that become one customer, and erasures: sound histories are sound, planted bugs are named."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from bench.crash.identity_defects import IDENTITY_DEFECTS
from bench.crash.judge.checker import judge
from bench.crash.judge.window import SEEN_MAX, Window
from tests.crash.synthetic import KIN, SHOP_LAG_MS, furnished, history_of
from tests.crash.test_checker import again, copied, drop, find, kinds_at, swap_in

# Most show in the first history; some need a customer to whom just that happens.
SEEDS = (2, 6, 3, 1, 4)


@pytest.fixture(scope="module")
def sound():
    return history_of(3, furnished(), KIN)


def judged(history):
    return judge(history, furnished(), pause_lag_ms=SHOP_LAG_MS)


@pytest.mark.parametrize("seed", [37, 208, 213])
def test_ids_that_become_one_and_erasures_break_no_law(seed):
    assert judged(history_of(seed, furnished(), KIN)).violations == []


@pytest.mark.parametrize("name", sorted(IDENTITY_DEFECTS))
def test_a_bug_between_two_ids_or_after_an_erasure_is_named_as_what_it_is(name, monkeypatch):
    plant, kind = IDENTITY_DEFECTS[name]
    plant(monkeypatch.setattr)

    assert any(kind in judged(history_of(seed, furnished(), KIN)).found for seed in SEEDS)


def test_the_histories_hold_what_is_judged_about_ids():
    """Otherwise nothing would be judged."""
    seen: Counter[object] = Counter()
    for seed in SEEDS:
        history = history_of(seed, furnished(), KIN)
        for record in history.of("journey-log"):
            line = json.loads(record.value)
            seen[line["cause"]["kind"], line["outcome"]] += 1
            seen.update((line["cause"]["kind"], entry["kind"]) for entry in line["entries"])
            seen.update(entry.get("reason") for entry in line["entries"])
        for record in history.of("crash-forward"):
            seen[record.header("fw_kind"), record.header("fw_hops")] += 1

    for wanted in (
        *(("merge", "applied"), ("merge", "duplicate"), ("merge", "handed_over")),
        *(("state", "applied"), ("state", "ignored"), ("state", "taken_over")),
        *(("shared", "duplicate_found"), ("event", "customer_erased"), ("event", "ignored")),
        *((None, "2"), ("merge", "2"), ("state", "1"), ("claim", "1"), ("shared", "1")),
        *("merged", "erased"),
    ):
        assert seen[wanted] > 0, wanted


def a_notice(kind):
    return lambda record: record.header("fw_kind") == kind


@pytest.mark.parametrize("kind", ["merge", "state", "claim", "shared"])
def test_what_one_owner_tells_another_and_nobody_finds_is_lost(sound, kind):
    history = copied(sound)
    drop(history, find(history, "crash-forward", a_notice(kind)))

    assert judged(history).found["lost"] >= 1


@pytest.mark.parametrize("kind", ["merge", "state", "claim"])
def test_what_one_owner_tells_another_twice_is_doubled(sound, kind):
    history = copied(sound)
    repeated = again(history, find(history, "crash-forward", a_notice(kind)))

    assert "doubled" in kinds_at(judged(history), repeated)


def test_a_record_that_was_sent_on_too_often_is_named(sound):
    history = copied(sound)
    sent_on = find(history, "crash-forward", lambda one: one.header("fw_hops") == "2")
    headers = tuple(
        (name, b"17" if name == "fw_hops" else value) for name, value in sent_on.headers
    )
    changed = again(history, sent_on, headers=headers)

    assert "hops" in kinds_at(judged(history), changed)


def test_of_two_full_windows_of_one_second_nobody_is_sure():
    one, other = Window(), Window()
    for number in range(SEEN_MAX):
        one.add(("/shop", f"one-{number}"), "", now_ms=number * 1_000)
        other.add(("/shop", f"other-{number}"), "", now_ms=500 * 1_000)
    one.add(("/shop", "newest"), "", now_ms=500 * 1_000)
    one.union(other)

    assert one.look(("/shop", "one-63")) is None
    assert {entry.sure for entry in one.entries.values()} == {False}
    one.add(("/shop", "later"), "", now_ms=501 * 1_000)
    later = one.look(("/shop", "later"))
    assert later is not None
    assert later.sure


def woken_to_take_back_fences(history):
    """Return the first line of somebody who was woken although they are another one now."""
    absorbed = set()
    for record in history.of("journey-log"):
        line = json.loads(record.value)
        absorbed |= {record.key for entry in line["entries"] if entry["kind"] == "merged_into"}
        if line["cause"]["kind"] == "timer" and record.key in absorbed:
            return record
    raise AssertionError("nobody who was absorbed had fences")


def test_an_absorbed_id_is_woken_when_its_fences_end_and_at_no_other_time(sound):
    history = copied(sound)
    line = woken_to_take_back_fences(history)
    said = json.loads(line.value)
    said["cause"]["due"] = said["cause"]["due"].replace("2026", "2025")
    other = swap_in(history, line, value=json.dumps(said).encode())

    assert judged(sound).violations == []
    assert "wait" in kinds_at(judged(history), other)


def test_taking_back_the_fences_of_an_absorbed_id_does_nothing_else(sound):
    history = copied(sound)
    line = woken_to_take_back_fences(history)
    said = json.loads(line.value)
    said["entries"] = [{"kind": "merged_into", "survivor": "somebody"}]
    busy = swap_in(history, line, value=json.dumps(said).encode())

    assert "identity" in kinds_at(judged(history), busy)
