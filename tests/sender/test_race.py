"""A purchase against promotions on their way."""

from __future__ import annotations

from bench.senders import race


async def test_no_hand_over_begins_after_its_fence_is_visible(channel):
    raced = await race.run(channel, customers=240)

    assert raced.ours.get("began after", 0) == 0
    assert raced.ours.get("missing", 0) == 0
    assert raced.ours["dropped as fenced"] > 0
    assert raced.naive["began after"] > 0, "purchases came too late to be a trial"
