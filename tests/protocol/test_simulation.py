"""The simulation (docs/simulation.md): a few histories, and each bug on a seed that finds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench.simulation.__main__ import KNOWN, known_seed
from bench.simulation.hunt import judged
from bench.simulation.plan import FLAVOURS, Act, everywhere, plan_of, play
from bench.simulation.planted import PLANTED, meaning_of, planted
from bench.simulation.shrink import shrink, story

ROOT = Path(__file__).parents[2]
SEEDS = range(60)
SAID = "from bench.simulation.plan import plan_of, play; print(play(plan_of(13)).digest())"


@pytest.mark.parametrize("first", SEEDS[::10])
def test_nothing_is_lost_or_doubled_whatever_crashes_sleeps_or_joins(first):
    """Ten histories each; `make simulate` plays as many as you like."""
    found = {seed: violations for seed in range(first, first + 10) if (violations := of(seed))}

    assert found == {}


def of(seed):
    return judged(plan_of(seed))


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_a_worker_may_die_behind_any_action(seed):
    """Behind some of them here; `make simulate ARGS="--everywhere 1"` takes them all."""
    found = {
        plan.acts[0]: violations for plan in everywhere(seed, 23) if (violations := judged(plan))
    }

    assert found == {}


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(6933, id="a bounce, and another report that says that nobody knows"),
        pytest.param(23241, id="two words on a pause while a worker sleeps"),
        pytest.param(69753, id="an order undone, its promise contradicted, and then a merge"),
        pytest.param(46308, id="expired, forgotten by the caps, and opened later"),
        pytest.param(13662, id="dropped, forgotten by the caps, and opened all the same"),
    ],
)
def test_a_history_that_once_was_wrong_stays_right(seed):
    assert of(seed) == []


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name):
    assert known_seed(name), (
        f"{meaning_of(name)} Look anew: make simulate ARGS='--defects --record'"
    )


def test_a_bug_stays_planted_no_longer_than_it_is_looked_for():
    before = play(plan_of(2)).digest()
    for name in PLANTED:
        with planted(name):
            pass

    assert play(plan_of(2)).digest() == before


def test_there_are_bugs_enough_and_a_seed_for_each():
    known = json.loads(KNOWN.read_text(encoding="utf-8"))

    assert len(PLANTED) >= 25
    assert known.keys() == PLANTED.keys()


def test_a_seed_is_the_same_history_byte_for_byte_in_every_process():
    """Also where sets have another order."""
    said = {
        subprocess.run(
            [sys.executable, "-c", SAID],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": chance},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for chance in ("1", "2")
    }

    assert said == {play(plan_of(13)).digest() + "\n"}


@pytest.fixture(scope="module")
def played():
    """Four histories of each flavour: the stories, and the journey logs."""
    lines, logs = [], []
    for seed in range(len(FLAVOURS) * 4):
        cluster = play(plan_of(seed), lines.append)
        logs += [json.loads(record.value) for record in cluster.committed("journey-log")]
    return lines, logs


def test_the_histories_hold_the_faults_that_they_are_about(played):
    """Otherwise nothing would be judged."""
    lines, _ = played

    for wanted in (
        *("is killed", "is stopped", "goes on where it stood", "gives simulated-", "was given up"),
        *("took too long", "illegal generation", "fenced by a newer epoch"),
        *(
            "leaves the group",
            "ends the transactions of",
            "waits for",
            "delivers late",
            "aborted",
            " open",
        ),
        *("keeps what it has", "hears of", "profile.identified", "customer.erased"),
        *("order.cancelled", "message.bounced", "dead-letters", "reads stores", "offer.requested"),
    ):
        assert any(wanted in line for line in lines), wanted


def test_the_decisions_in_them_are_of_all_kinds(played):
    _, logs = played
    kinds = Counter(line["cause"]["kind"] for line in logs)
    kinds.update(line["outcome"] for line in logs)
    kinds.update(entry["kind"] for line in logs for entry in line["entries"])

    for wanted in (
        *("event", "timer", "visit", "resumed", "merge", "state", "shared"),
        *("applied", "duplicate", "ignored", "held", "send_refused", "entry_refused"),
        *("absorbed", "taken_over", "merged_into", "customer_erased", "event_told"),
        *("promised", "offer_granted", "offer_refused", "offer_redeemed", "message_final"),
    ):
        assert kinds[wanted] > 0, wanted


def test_any_act_may_be_left_out_of_a_plan():
    plan = plan_of(1)
    half = plan._replace(acts=plan.acts[::2])

    assert [each for each in judged(half) if each[0].startswith(("I", "a "))] == []


def test_a_failing_plan_is_cut_down_to_what_it_takes():
    with planted("forward-dropped"):
        plan = plan_of(1)
        small = shrink(plan, seconds_max=15)

        assert judged(small)
        assert len(small.acts) <= 3
        assert {act.kind for act in small.acts} <= {"record", "event", "start"}
        assert any("stores" in line or "touchpoints" in line for line in story(small))


def test_a_plan_without_workers_comes_to_rest_with_one():
    plan = plan_of(2)._replace(
        acts=(Act("event", ("e1", "purchase", "ana", ORDER, (0, "home", 0))),)
    )

    assert judged(plan) == []
    assert any("thank_you" in str(one.value) for one in play(plan).committed("commands.email"))


ORDER = json.dumps(
    {
        "order_id": "o1",
        "total": "9.00",
        "currency": "EUR",
        "items": [{"sku": "tent", "quantity": 1}],
    }
)
