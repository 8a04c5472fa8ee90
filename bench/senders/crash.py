"""Kills a sender with -9 at placed points, again and again, and counts what a receiver got.

One receiver plays three providers: what it was sent is what a provider that knows no keys would
do; what is new to it is what one that honours the idempotency key does. Half of the commands are
`at_least_once`, half `at_most_once`; both lanes have both.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from aiohttp import web

IN_FLIGHT = 16
BATCH = 500
SECONDS_MAX = 1_200.0
# Each place, and at which time it is reached: early, and when all calls are under way.
PLACES = (
    "claimed",
    "before_call",
    "after_call",
    "outcome_recorded",
    "reported",
    "position_committed",
)


@dataclass
class Receiver:
    """Counts each command by its idempotency key."""

    calls: Counter = field(default_factory=Counter)
    effects: set = field(default_factory=set)
    answer_seconds: float = 0.005

    async def start(self):
        """Listen on a free port of loopback."""
        application = web.Application()
        application.router.add_post("/", self._take)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/"

    async def stop(self):
        """Stop listening."""
        await self._runner.cleanup()

    async def _take(self, request):
        key = request.headers["Idempotency-Key"]
        self.calls[key] += 1
        self.effects.add(key)
        await request.read()
        await asyncio.sleep(self.answer_seconds)
        return web.Response(status=204)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial showed for one delivery mode."""

    commands: int
    lost: int
    doubled: int
    unknown: int
    effects: int


@dataclass(frozen=True)
class Trial:
    """One trial: its kills by place, and the verdicts by delivery mode."""

    kills: dict
    verdicts: dict
    seconds: float

    @property
    def bound(self) -> int:
        """Kills times in flight."""
        return sum(self.kills.values()) * IN_FLIGHT

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        least, most = self.verdicts["at_least_once"], self.verdicts["at_most_once"]
        return (
            not least.lost
            and not least.unknown
            and least.doubled <= self.bound
            and least.effects == least.commands
            and not most.lost
            and not most.doubled
            and most.unknown <= self.bound
        )


def commands_of(channel, count):
    """Return commands in both modes on both lanes, over many customers."""
    return [
        channel.command(
            f"c{number}",
            subject=f"s{number % (count // 3)}",
            command_class="promotional" if number % 4 < 2 else "service",
            delivery=("at_least_once", "at_most_once")[number % 2],
            sequence=number + 1,
            expires_at="2099-01-01T00:00:00Z",
        )
        for number in range(count)
    ]


async def run(channel, *, count, places, nth, folder):
    """Run one trial on a channel whose topics are there; `nth` says how late each place is met."""
    started = time.monotonic()
    receiver = Receiver()
    await receiver.start()
    commands = commands_of(channel, count)
    for first in range(0, count, BATCH):
        await asyncio.to_thread(channel.send, *commands[first : first + BATCH])
    kills = Counter()
    failpoints = [f"{place}:{nth(place, number)}:kill" for number, place in enumerate(places)]
    process = None
    try:
        while time.monotonic() - started < SECONDS_MAX:
            failpoint = failpoints.pop(0) if failpoints else ""
            process = await start(channel, receiver.url, failpoint, folder)
            if await _ended(process, channel, count):
                if process.returncode != -signal.SIGKILL:
                    raise RuntimeError(f"the sender ended with {process.returncode}; see {folder}")
                kills[failpoint.partition(":")[0]] += 1
            else:
                break
        reports = await asyncio.to_thread(channel.reports)
    finally:
        if process is not None and process.returncode is None:
            process.terminate()
            await process.wait()
        await receiver.stop()
    verdicts = {
        mode: _judge(
            [one["id"] for one in commands if one["data"]["delivery"] == mode], receiver, reports
        )
        for mode in ("at_least_once", "at_most_once")
    }
    return Trial(dict(kills), verdicts, time.monotonic() - started)


async def start(channel, url, failpoint, folder):
    """Start a sender as a process of its own."""
    with (folder / "sender.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "orchestrator", "sender", channel.name, "--to", url),
            *("--in-flight", str(IN_FLIGHT)),
            env=os.environ
            | {
                "ORCHESTRATOR_BOOTSTRAP_SERVERS": channel.bootstrap_servers,
                "ORCHESTRATOR_TOPIC_PREFIX": channel.prefix,
                "ORCHESTRATOR_FAILPOINT": failpoint,
            },
            stdout=log,
            stderr=log,
        )


async def _ended(process, channel, count):
    """Wait until the sender died (True), or until every command is reported (False)."""
    while True:
        try:
            await asyncio.wait_for(process.wait(), 1.0)
        except TimeoutError:
            if len(await asyncio.to_thread(channel.reports)) == count:
                return False
        else:
            return True


def _judge(ids, receiver, reports):
    unknown = {one for one in ids if "message.failed unknown" in reports.get(one, ())}
    return Verdict(
        commands=len(ids),
        # A command may be in doubt, and told to be; nothing may be missing without a word.
        lost=sum(one not in receiver.calls and one not in unknown for one in ids),
        doubled=sum(max(0, receiver.calls[one] - 1) for one in ids),
        unknown=len(unknown),
        effects=sum(one in receiver.effects for one in ids),
    )
