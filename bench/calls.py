"""The open-loop caller: sends each HTTP request at its intended instant, whatever the API does.

A process of its own, with connections that stay open. It reads answers only as far as status and
length, so that it costs a fraction of what it measures. A call waits from the instant at which it
was meant to be sent. One that is not answered in the end is counted as such, with the time it has
waited: an API that cannot keep up gives a row too.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
import uvloop

from bench.events import customer_id
from bench.reader import drift_ms, histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

# How long calls under way are waited for, after the last one was meant to be sent.
CALL_SECONDS_MAX: Final = 30.0
# How much the median wait may grow from the first to the last quarter of a run.
DRIFT_MS_MAX: Final = 25.0
OFFER: Final = "birthday_socks"
_LENGTH: Final = b"content-length: "


@dataclass(frozen=True, slots=True)
class Calls:
    """What is asked: `kind` is next-best or request; each request is of another customer."""

    port: int
    token: str
    kind: str
    rate: float
    seconds: float
    warm_up_seconds: float = 0.0
    customers: int = 10_000
    connections: int = 64
    seed: int = 1


class Caller:
    """Connections to one API; a call takes one that is free."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f"host: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )

    async def connect(self, connections: int) -> None:
        """Open connections."""
        for _ in range(connections):
            self._free.put_nowait(await asyncio.open_connection("127.0.0.1", self._port))

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        reader, writer = await self._free.get()
        try:
            text = b"" if body is None else orjson.dumps(body)
            kind = "" if body is None else "content-type: application/json\r\n"
            head = f"{method} {path} HTTP/1.1\r\n{self._head}{kind}content-length: {len(text)}\r\n"
            writer.write(head.encode() + b"\r\n" + text)
            answer = await reader.readuntil(b"\r\n\r\n")
            status = int(answer[9:12])
            at = answer.lower().index(_LENGTH) + len(_LENGTH)
            length = int(answer[at : answer.index(b"\r", at)])
            return status, await reader.readexactly(length)
        finally:
            self._free.put_nowait((reader, writer))

    def close(self) -> None:
        """Close the connections."""
        while not self._free.empty():
            self._free.get_nowait()[1].close()


def load(calls: Calls) -> dict[str, Any]:
    """Call as planned; return what was answered and how long each waited."""
    return uvloop.run(_load(calls))


@dataclass(slots=True)
class _Heard:
    """What became of the calls: statuses, and the instants meant and answered in nanoseconds."""

    statuses: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[int, int]] = field(default_factory=list)

    def note(self, status: str, meant: float) -> None:
        self.statuses[status] += 1
        self.samples.append((round(meant * 1e9), time.monotonic_ns()))


async def _load(calls: Calls) -> dict[str, Any]:
    caller = Caller(calls.port, calls.token)
    await caller.connect(calls.connections)
    heard = _Heard()
    start = time.monotonic() + 0.2
    measured_from = start + calls.warm_up_seconds
    late = 0.0

    async def one(at: float, path: str, body: Any) -> None:
        status = "unanswered"
        try:
            answered, _ = await caller.call("GET" if body is None else "POST", path, body)
            status = str(answered)
        except (OSError, EOFError):
            pass  # The connection is gone, and this call with it.
        finally:
            if at >= measured_from:
                heard.note(status, at)

    under_way: set[asyncio.Task[None]] = set()
    for at, path, body in _planned(calls, start):
        ahead = at - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)
        late = max(late, time.monotonic() - at)
        task = asyncio.create_task(one(at, path, body))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
    if under_way:
        _, left = await asyncio.wait(under_way, timeout=CALL_SECONDS_MAX)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    caller.close()
    return _row(calls, heard, late, time.monotonic() - measured_from)


def _row(calls: Calls, heard: _Heard, late: float, seconds: float) -> dict[str, Any]:
    answered = heard.statuses.total() - heard.statuses["unanswered"]
    return {
        "rate": calls.rate,
        "seconds": calls.seconds,
        "calls": heard.statuses.total(),
        "statuses": {status: count for status, count in sorted(heard.statuses.items()) if count},
        # What came out; a queue that has grown is answered after the last call.
        "answered_a_second": round(answered / max(seconds, calls.seconds), 1),
        "drift_ms": round(drift_ms(heard.samples), 1),
        "late_max_ms": round(late * 1_000, 1),
        "histogram_us": histogram(heard.samples).encode().decode(),
    }


def held(row: dict[str, Any]) -> bool:
    """Whether all calls were answered with 200, and no queue has grown."""
    return set(row["statuses"]) == {"200"} and row["drift_ms"] <= DRIFT_MS_MAX


def _planned(calls: Calls, start: float) -> Iterable[tuple[float, str, Any]]:
    chance = random.Random(calls.seed)
    at, number = 0.0, 0
    total = calls.warm_up_seconds + calls.seconds
    while (at := at + chance.expovariate(calls.rate)) < total:
        if calls.kind == "next-best":
            customer = customer_id(chance.randrange(calls.customers))
            yield start + at, f"/v1/customers/{customer}/next-best?channel=web", None
        else:
            customer = f"asks-{calls.seed}-{number}"
            path = f"/v1/customers/{customer}/offers/{OFFER}/request?wait=10"
            yield start + at, path, {"channel": "web"}
        number += 1
