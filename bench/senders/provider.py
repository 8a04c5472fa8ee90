"""A provider as a process of its own: a real HTTP server with a rate, a clock and a good memory.

`fanout` and `kill` let `orchestrator sender --to` call it. It notes when each call came, on both
clocks, and whose it was; more calls a second than it takes are answered 429.
"""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from bench.measure import SPAWN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

ANSWER_SECONDS_MAX = 30.0
# How often the parent's questions are looked for.
_ASKED_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Call:
    """One call that was taken: when it came, and what the command was."""

    came_ns: int
    """CLOCK_MONOTONIC."""
    came_ms: int
    """Wall clock, rounded up: never earlier than it was."""
    customer: str
    command_class: str
    journey: str
    channel: str
    offer: str | None
    cause: str


class Provider:
    """The parent's end: asks what the server has seen."""

    def __init__(self, pipe: Connection, url: str) -> None:
        self._pipe = pipe
        self.url = url

    def calls(self) -> tuple[list[Call], int]:
        """Return all calls that were taken so far, in order, and how many were refused."""
        return self._ask("calls")

    def count(self) -> int:
        """Return how many calls were taken so far."""
        return self._ask("count")

    def _ask(self, question: str):
        self._pipe.send(question)
        if not self._pipe.poll(ANSWER_SECONDS_MAX):
            raise RuntimeError("the provider does not answer")
        return self._pipe.recv()


@contextmanager
def provider(*, answer_seconds: float, per_second: float | None = None) -> Iterator[Provider]:
    """Run a provider on a free port of loopback until the block ends."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve, args=(theirs, answer_seconds, per_second), daemon=True)
    process.start()
    try:
        if not ours.poll(ANSWER_SECONDS_MAX):
            raise RuntimeError("the provider did not start")
        yield Provider(ours, ours.recv())
    finally:
        process.terminate()
        process.join()


class _Server:
    def __init__(self, answer_seconds: float, per_second: float | None) -> None:
        self.calls: list[Call] = []
        self.refused = 0
        self._answer_seconds = answer_seconds
        self._per_second = per_second
        self._left = per_second or 0.0
        self._at = time.monotonic()

    async def take(self, request: web.Request) -> web.Response:
        came_ns, came_ms = time.monotonic_ns(), -(-time.time_ns() // 1_000_000)
        body = await request.read()
        if not self._takes():
            self.refused += 1
            return web.Response(status=429, headers={"Retry-After": "1"})
        command = orjson.loads(body)
        data = command["data"]
        self.calls.append(
            Call(
                came_ns,
                came_ms,
                command["subject"],
                data["class"],
                data["journey"],
                data["channel"],
                data["offer"],
                data["caused_by"]["id"],
            )
        )
        await asyncio.sleep(self._answer_seconds)
        return web.Response(status=204)

    def _takes(self) -> bool:
        """Whether the rate allows one more; a second's worth may come at once."""
        if self._per_second is None:
            return True
        now = time.monotonic()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _serve(pipe: Connection, answer_seconds: float, per_second: float | None) -> None:
    gc.freeze()
    asyncio.run(_run(pipe, _Server(answer_seconds, per_second)))


async def _run(pipe: Connection, server: _Server) -> None:
    application = web.Application()
    application.router.add_post("/", server.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    pipe.send(f"http://127.0.0.1:{runner.addresses[0][1]}/")
    while True:
        if pipe.poll():
            question = pipe.recv()
            known = (list(server.calls), server.refused)
            pipe.send(known if question == "calls" else len(server.calls))
        await asyncio.sleep(_ASKED_SECONDS)
