"""A purchase against promotions on their way."""

from __future__ import annotations

import asyncio

from bench.senders import race
from tests.sender.builders import fence
from tests.sender.channel import Provider, until


async def test_no_hand_over_begins_after_its_fence_is_visible(channel):
    raced = await race.run(channel, customers=240)

    assert raced.ours.get("began after", 0) == 0
    assert raced.ours.get("missing", 0) == 0
    assert raced.ours["dropped as fenced"] > 0
    assert raced.naive["began after"] > 0, "purchases came too late to be a trial"


async def test_a_fence_that_was_there_before_the_command_is_seen_however_late_it_was_read(channel):
    """The sender reads commands and fences by two consumers; only the last look joins them."""
    provider = Provider()

    def write():
        for number in range(60):
            name = f"s{number}"
            channel.write(("fences", name, fence()))
            channel.send(channel.command(name, subject=name))

    async with channel.sender(provider):
        await asyncio.to_thread(write)
        await until(lambda: len(channel.reports()) == 60, "sixty reports")

    assert provider.ids == []
