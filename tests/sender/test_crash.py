"""Senders that die: nothing lost, nothing doubled that must not be, and what is in doubt told."""

from __future__ import annotations

import pytest

from bench.senders import crash
from bench.senders.crash import Trial, Verdict

KEPT = {
    "at_least_once": Verdict(commands=9, lost=0, doubled=3, unknown=0, effects=9),
    "at_most_once": Verdict(commands=9, lost=0, doubled=0, unknown=3, effects=8),
}


@pytest.mark.timeout(180)
async def test_killed_before_and_after_the_answer_every_mode_keeps_its_promise(channel, tmp_path):
    trial = await crash.run(
        channel,
        count=360,
        places=("before_call", "after_call", "outcome_recorded"),
        nth=lambda place, number: 40,
        folder=tmp_path,
    )

    assert trial.kills == {"before_call": 1, "after_call": 1, "outcome_recorded": 1}
    assert trial.holds, trial


@pytest.mark.parametrize(
    ("mode", "broken"),
    [
        ("at_least_once", {"lost": 1}),
        ("at_least_once", {"doubled": 17}),
        ("at_least_once", {"effects": 8}),
        ("at_most_once", {"doubled": 1}),
        ("at_most_once", {"unknown": 17}),
        ("at_most_once", {"lost": 1}),
    ],
)
def test_the_judge_sees_a_broken_promise(mode, broken):
    def verdict(**changes):
        before = KEPT[mode]
        return Verdict(**{name: getattr(before, name) for name in before.__slots__} | changes)

    assert Trial({"claimed": 1}, KEPT, 1.0).holds
    assert not Trial({"claimed": 1}, KEPT | {mode: verdict(**broken)}, 1.0).holds
