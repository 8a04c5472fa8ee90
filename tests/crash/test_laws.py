"""Decisions with a bug in the guard, in offers or in pauses: the judge names the law they break."""

from __future__ import annotations

import pytest

from bench.crash.guard_defects import GUARD_DEFECTS
from bench.crash.judge.checker import judge
from tests.crash.synthetic import SHOP_LAG_MS, furnished, history_of

# A bug may need a customer to whom just that happens.
SEEDS = (7, 8, 9, 10)


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


@pytest.mark.parametrize("seed", range(20, 30))
def test_decisions_without_a_bug_break_no_law(seed):
    journeys = furnished()

    report = judge(history_of(seed, journeys), journeys, pause_lag_ms=SHOP_LAG_MS)

    assert report.violations == []
