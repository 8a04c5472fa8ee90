"""A sender on a real Kafka: what is called, what is told, and what is committed."""

from __future__ import annotations

import asyncio

import orjson

from orchestrator.sender import Bounced, Failed, Retry
from tests.sender.builders import control, fence
from tests.sender.channel import Provider, until


async def test_what_is_delivered_is_told_and_then_committed(channel):
    provider = Provider()
    channel.send(
        channel.command("c1"), channel.command("c2", command_class="transactional", subject="ben")
    )
    async with channel.sender(provider):
        await until(lambda: len(provider.calls) == 2, "two calls")
        await until(lambda: len(channel.reports()) == 2, "two reports")
        await until(lambda: channel.committed("email") > 0, "committed offset")

    assert channel.reports() == {"c1": ["message.delivered"], "c2": ["message.delivered"]}


async def test_outcomes_become_the_events_of_the_contract(channel):
    said = {"a": Bounced("no_such_user"), "b": Failed("too_long"), "d": Retry(after_seconds=0.1)}

    async def provider(command):
        return said.pop(command.id) if command.id in said else (await Provider()(command))

    channel.send(*(channel.command(name, subject=name) for name in "abd"))
    async with channel.sender(provider):
        await until(lambda: len(channel.reports()) == 3, "three reports")

    assert channel.reports() == {
        "a": ["message.bounced no_such_user"],
        "b": ["message.failed too_long"],
        "d": ["message.delivered"],
    }


async def test_what_stands_against_a_command_drops_it_and_is_told(channel):
    provider = Provider()
    channel.write(("fences", "ben", fence(sequence=7)))
    channel.send(
        channel.command("late", subject="ana", expires_at="2026-01-01T00:00:00Z"),
        channel.command("fenced", subject="ben", sequence=7),
        channel.command("newer", subject="ben", sequence=8),
        channel.command("stranger", subject="cat", mode="test"),
        channel.command("friend", subject="dan", mode="test"),
        channel.command("twice", subject="eva"),
        channel.command("twice", subject="eva"),
        channel.command("cancelled", subject="fay"),
        channel.command("x", type="message.cancel", subject="fay", cancels=["cancelled"]),
    )
    async with channel.sender(provider, allowed=frozenset({"dan"})):
        await until(lambda: sum(map(len, channel.reports().values())) == 8, "eight reports")

    assert sorted(provider.ids) == ["friend", "newer", "twice"]
    assert channel.reports() == {
        "late": ["message.dropped expired"],
        "fenced": ["message.dropped fenced"],
        "newer": ["message.delivered"],
        "stranger": ["message.dropped test"],
        "friend": ["message.delivered"],
        "twice": ["message.delivered", "message.dropped duplicate"],
        "cancelled": ["message.dropped cancelled"],
    }


async def test_a_pause_holds_until_it_is_resumed_and_a_kill_drops(channel):
    provider = Provider()
    channel.write(("control", *control("journey/winter_sale")))
    channel.send(
        channel.command("held"),
        channel.command("other", journey="welcome", subject="ben"),
        channel.command("order", journey="winter_sale", command_class="transactional"),
    )
    async with channel.sender(provider):
        await until(lambda: len(channel.reports()) == 2, "two reports")
        await asyncio.sleep(0.3)
        assert sorted(provider.ids) == ["order", "other"]

        channel.write(("control", *control("journey/winter_sale", paused=False)))
        await until(lambda: len(channel.reports()) == 3, "three reports")
        channel.write(("control", *control("global", kill=True)))
        channel.send(channel.command("killed"))
        await until(lambda: len(channel.reports()) == 4, "four reports")

    assert channel.reports()["held"] == ["message.delivered"]
    assert channel.reports()["killed"] == ["message.dropped killed"]


async def test_what_is_no_command_is_put_aside_and_holds_up_nobody(channel):
    provider = Provider()
    channel.write(
        ("commands.email", "ana", b"{"),
        ("commands.email", "ana", orjson.dumps({"type": "message.send"})),
        ("commands.email", "ana", orjson.dumps({"type": "message.sing"})),
    )
    channel.send(channel.command("c1", command_class="transactional"))
    async with channel.sender(provider):
        await until(channel.reports, "a report")

    letters = [(value, headers["dl_reason"]) for _, value, headers in channel.read("dead-letters")]
    assert letters == [(b"{", b"invalid_json"), ({"type": "message.send"}, b"schema")]
    assert provider.ids == ["c1"]


async def test_a_restart_repeats_nothing(channel):
    provider = Provider()
    channel.send(*(channel.command(f"c{n}", subject=f"s{n}") for n in range(20)))
    for _ in range(2):
        async with channel.sender(provider):
            await until(lambda: len(channel.reports()) == 20, "twenty reports")

    assert len(provider.ids) == len(set(provider.ids)) == 20


async def test_what_was_handed_over_is_offered_for_recall(channel):
    provider, recall = Provider(), Provider()
    channel.send(
        channel.command("sent"), channel.command("waits", not_before="2099-01-01T00:00:00Z")
    )
    async with channel.sender(provider, recall=recall):
        await until(channel.reports, "a report")
        channel.send(channel.command("x", type="message.cancel", cancels=["sent", "waits"]))
        await until(lambda: recall.calls and len(channel.reports()) == 2, "a recall")

    assert recall.calls[0].cancels == ("sent",)
    assert channel.reports() == {
        "sent": ["message.delivered"],
        "waits": ["message.dropped cancelled"],
    }
