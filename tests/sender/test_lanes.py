"""Several senders, both lanes, slow providers: who goes first, and who goes at all."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path

from bench.senders import crash
from orchestrator.sender import Delivered, Unknown
from tests.sender.channel import Provider, until


def stopped(process) -> bool:
    """Whether a process has been stopped by a signal."""
    stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii")
    return stat.rpartition(")")[2].split()[0] == "T"


async def test_an_order_confirmation_does_not_wait_behind_a_fan_out(channel):
    at = {}

    async def provider(command):
        at[command.id] = time.monotonic()
        return Delivered()

    channel.send(*(channel.command(f"c{n}", subject=f"s{n}") for n in range(400)))
    async with channel.sender(provider, per_second=50):
        await until(lambda: len(at) > 60, "a fan-out that has used up its burst")
        began = time.monotonic()
        channel.send(channel.command("order", subject="s399", command_class="transactional"))
        await until(lambda: "order" in at, "an order confirmation")
        waited_for = len(at)

    assert at["order"] - began < 1.0
    assert waited_for < 400


async def test_two_senders_share_the_work_and_one_takes_over_from_the_other(channel):
    provider = Provider()
    channel.send(*(channel.command(f"a{n}", subject=f"s{n}") for n in range(50)))
    async with contextlib.AsyncExitStack() as others:
        await others.enter_async_context(channel.sender(provider))
        async with channel.sender(provider):
            channel.send(*(channel.command(f"b{n}", subject=f"s{n}") for n in range(50)))
            await until(lambda: len(channel.reports()) == 100, "a hundred reports")
        channel.send(*(channel.command(f"c{n}", subject=f"s{n}") for n in range(50)))
        await until(lambda: len(channel.reports()) == 150, "the rest")

    assert len(provider.ids) == len(set(provider.ids)) == 150
    assert {len(told) for told in channel.reports().values()} == {1}


async def test_in_doubt_is_tried_again_or_told_as_the_command_wants(channel):
    provider = Provider(Unknown(after_seconds=0.05), Unknown(after_seconds=0.05))
    channel.send(
        channel.command("once", delivery="at_most_once", subject="ana"),
        channel.command("least", delivery="at_least_once", subject="ana"),
    )
    async with channel.sender(provider):
        await until(lambda: len(channel.reports()) == 2, "two reports")

    assert [(one.id, one.attempt) for one in provider.calls] == [
        ("once", 1),
        ("least", 1),
        ("least", 2),
    ]
    assert channel.reports() == {
        "once": ["message.failed unknown"],
        "least": ["message.delivered"],
    }


async def test_what_a_provider_raises_is_in_doubt_too_and_stops_nobody(channel):
    async def provider(command):
        if command.id == "bad":
            raise ValueError("ana@shop.example is on fire")
        return Delivered()

    channel.send(
        channel.command("bad", delivery="at_most_once"), channel.command("good", subject="ben")
    )
    async with channel.sender(provider):
        await until(lambda: len(channel.reports()) == 2, "two reports")

    assert channel.reports()["bad"] == ["message.failed unknown"]


async def test_a_sender_that_slept_through_its_replacement_sends_nothing_again(channel, tmp_path):
    """It stops itself before it claims, and wakes when another one has long delivered."""
    receiver = crash.Receiver()
    await receiver.start()
    channel.send(channel.command("once", delivery="at_most_once"))
    sleeper = await crash.start(channel, receiver.url, "before_claim:1:stop", tmp_path)
    provider = Provider()
    try:
        await until(lambda: stopped(sleeper), "a sleeping sender")
        async with channel.sender(provider):
            await until(channel.reports, "a report")
            sleeper.send_signal(signal.SIGCONT)
            await asyncio.sleep(2)
    finally:
        sleeper.kill()
        await sleeper.wait()
        await receiver.stop()

    assert provider.ids == ["once"]
    assert not receiver.calls
    assert set(channel.reports()["once"]) == {"message.delivered"}
