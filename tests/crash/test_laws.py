"""Decisions with a bug in the guard, in offers or in pauses: the judge names the law they break."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from bench.crash.guard_defects import GUARD_DEFECTS
from bench.crash.judge.checker import judge
from tests.crash.synthetic import SHOP_LAG_MS, furnished, history_of

# A bug may need a customer to whom just that happens.
SEEDS = (7, 8, 9, 10, 12, 21, 30, 33, 50, 143, 145, 344, 789)


@pytest.mark.parametrize("name", sorted(GUARD_DEFECTS))
def test_a_bug_between_a_step_and_the_customer_is_named_as_what_it_is(name, monkeypatch):
    plant, kind = GUARD_DEFECTS[name]
    plant(monkeypatch.setattr)
    journeys = furnished()

    found = set()
    for seed in SEEDS:
        report = judge(history_of(seed, journeys), journeys, pause_lag_ms=SHOP_LAG_MS)
        found |= report.found.keys()
        if kind in found:
            break

    assert kind in found


def test_a_pause_that_nobody_has_said_is_named():
    history = history_of(7, furnished())
    history.topics["control"] = {0: []}

    report = judge(history, furnished(), pause_lag_ms=SHOP_LAG_MS)

    assert report.found["pause"] > 10


def test_a_pause_that_was_said_by_other_words_is_named():
    history = history_of(7, furnished())
    words = history.topics["control"][0]
    words[:] = [replace(one, value=one.value.replace(b"wrong at", b"wrong to")) for one in words]

    assert judge(history, furnished(), pause_lag_ms=SHOP_LAG_MS).found["pause"] > 10


def test_who_is_held_by_a_pause_and_never_answered_is_named_where_that_began():
    history = history_of(7, furnished())
    held = next(
        one
        for one in history.of("journey-log")
        if any(entry.get("reason") == "paused" for entry in json.loads(one.value)["entries"])
        and json.loads(one.value)["entries"][-1]["kind"] == "held"
    )
    records = history.topics[held.topic][held.partition]
    records[:] = [one for one in records if one.key != held.key or one.offset <= held.offset]

    report = judge(history, furnished(), pause_lag_ms=SHOP_LAG_MS)

    kinds = {violation.kind for violation in report.violations if violation.place == held.place}
    assert "held" in kinds


def test_the_histories_hold_what_the_laws_are_about():
    """Otherwise nothing would be judged."""
    seen: Counter[str] = Counter()
    for seed in SEEDS:
        for record in history_of(seed, furnished()).of("journey-log"):
            line = json.loads(record.value)
            seen[line["cause"]["kind"]] += 1
            for entry in line["entries"]:
                seen[entry["kind"]] += 1
                seen[entry.get("reason", "")] += 1
                seen[entry.get("step", "")] += 1
                seen[entry.get("journey", "")] += 1
                seen[(entry.get("detail") or "").partition(":")[0]] += 1

    for wanted in (
        *("resumed", "paused", "quiet_hours", "spacing", "handoff", "delivery"),
        *("no_consent", "frequency_cap", "arbitration", "suppressed", "no_address", "expired"),
        *("promised", "promise_confirmed", "promise_ended", "offer_granted", "offer_refused"),
        *("offer_contradicted", "offer_not_qualified", "offer_redeemed", "redemption_refused"),
        *("redemption_undone", "rejected", "never_told", "not_qualified", "otherwise"),
        *("recalled", "offers", "named", "best_hours", "learned"),
    ):
        assert seen[wanted] > 0, wanted


# In the last one an order among history uses up a promise, which nobody logs.
@pytest.mark.parametrize("seed", [*range(20, 30), 2073])
def test_decisions_without_a_bug_break_no_law(seed):
    journeys = furnished()

    report = judge(history_of(seed, journeys), journeys, pause_lag_ms=SHOP_LAG_MS)

    assert report.violations == []
