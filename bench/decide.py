"""How many decisions a second one core makes: `python -m bench.decide [--quick]`.

A seeded mix (70 % product.viewed, 20 % carts, 10 % purchases) over 100,000 customers with full
dedupe windows, 20 journeys, 3 enrollments each. Two figures over the same history: pure `decide`,
and bytes in → bytes out (decode state and event, decide, encode state, commands, fence, log).
Processor time of the thread is measured, so that what else the machine does is not counted.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import platform
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from bench.portfolio import PRODUCTS, START_MS, customers, portfolio, sku
from orchestrator.core.decide import decide
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.outputs import (
    Position,
    command_headers,
    encode_command,
    encode_fence,
    encode_log,
    event_cause,
    rfc3339,
)

if TYPE_CHECKING:
    from orchestrator.core.customer import Customer
    from orchestrator.core.decision import Decision
    from orchestrator.core.event import Event
    from orchestrator.core.journeys import Journeys

MIX: Final = (
    ("product.viewed", 70),
    ("cart.updated", 10),
    ("cart.abandoned", 10),
    ("purchase", 10),
)
RESULT: Final = Path(__file__).parent / "results" / "decide.txt"
# Production decodes right before it decides; a chunk that stays in the cache is near that.
CHUNK: Final = 250
EVENT_BYTES_MAX: Final = 1_000_000
GOAL_PER_SECOND: Final = 25_000


@dataclass
class Tally:
    """What one pass did and how long it took; `seconds` by event type."""

    seconds: dict[str, float] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    commands: int = 0
    entries: int = 0
    fences: int = 0
    bytes_out: int = 0

    def add(self, event_type: str, seconds: float) -> None:
        """Count one event and its time."""
        self.seconds[event_type] = self.seconds.get(event_type, 0.0) + seconds
        self.events[event_type] = self.events.get(event_type, 0) + 1

    def count(self, decision: Decision) -> None:
        """Count what a decision put out."""
        self.commands += len(decision.commands)
        self.entries += len(decision.entries)
        self.fences += decision.fence is not None

    @property
    def per_second(self) -> float:
        """How many events one core takes."""
        return sum(self.events.values()) / sum(self.seconds.values())


def records(count: int, customer_count: int, seed: int) -> list[tuple[bytes, bytes]]:
    """Return the history as Kafka would hand it over: keys and CloudEvents bytes."""
    chance = random.Random(seed)
    types = chance.choices([name for name, _ in MIX], [share for _, share in MIX], k=count)
    return [
        _record(f"c-{chance.randrange(customer_count):06d}", event_type, number, chance)
        for number, event_type in enumerate(types)
    ]


def _record(
    customer: str, event_type: str, number: int, chance: random.Random
) -> tuple[bytes, bytes]:
    lines = [
        sku(chance.randrange(PRODUCTS)) | {"quantity": 1} for _ in range(chance.randrange(1, 4))
    ]
    data: dict[str, Any]
    match event_type:
        case "product.viewed":
            data = lines[0] | {"url": "https://shop.example/p/" + lines[0]["sku"]}
        case "purchase":
            total = sum(float(line["price"]) for line in lines)
            data = {"order_id": f"{number}", "total": f"{total:.2f}", "currency": "EUR"}
            data["items"] = lines
        case _:
            data = {"cart_id": f"cart-{customer}", "items": lines}
    envelope = {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "/shop",
        "type": event_type,
        "subject": customer,
        "time": rfc3339(START_MS + number),
        "data": data,
    }
    return customer.encode(), orjson.dumps(envelope)


def pure(journeys: Journeys, states: dict[str, bytes], history: list[tuple[bytes, bytes]]) -> Tally:
    """Time `decide` alone: decoding before, encoding after, neither on the clock."""
    tally = Tally()
    for start in range(0, len(history), CHUNK):
        chunk = [_event(key, value) for key, value in history[start : start + CHUNK]]
        held = {event.subject: decode_customer(states[event.subject]) for event in chunk}
        _time_decisions(journeys, held, chunk, start, tally)
        for customer_id, customer in held.items():
            states[customer_id] = encode_customer(customer)
        progress("decide", start + len(chunk), len(history))
    return tally


def _time_decisions(
    journeys: Journeys, held: dict[str, Customer], chunk: list[Event], start: int, tally: Tally
) -> None:
    clock = time.thread_time
    for number, event in enumerate(chunk, start):
        customer = held[event.subject]
        began = clock()
        decision = decide(journeys, customer, event, START_MS + number)
        tally.add(event.type, clock() - began)
        held[event.subject] = decision.customer
        tally.count(decision)


def bytes_to_bytes(
    journeys: Journeys, states: dict[str, bytes], history: list[tuple[bytes, bytes]]
) -> Tally:
    """Time the whole way of an event: from its record to the bytes of everything it changes."""
    tally = Tally()
    clock = time.thread_time
    for number, (key, value) in enumerate(history):
        began = clock()
        event = _event(key, value)
        customer = decode_customer(states[event.subject])
        decision = decide(journeys, customer, event, START_MS + number)
        state, out = _encode(journeys, event, decision, number)
        tally.add(event.type, clock() - began)
        states[event.subject] = state
        tally.count(decision)
        tally.bytes_out += len(state) + sum(len(one) for one in out)
        progress("bytes", number + 1, len(history))
    return tally


def _event(key: bytes, value: bytes) -> Event:
    return decode_event(key, value, (), event_bytes_max=EVENT_BYTES_MAX)


def _encode(
    journeys: Journeys, event: Event, decision: Decision, number: int
) -> tuple[bytes, list[bytes]]:
    position = Position("touchpoints", number % 8, number, START_MS + number)
    out = [
        encode_log(
            customer=event.subject,
            now_ms=decision.now_ms,
            cause=event_cause(position, event),
            outcome=decision.outcome,
            definitions_hash=journeys.content_hash,
            entries=decision.entries,
        )
    ]
    for command in decision.commands:
        command_headers(command)
        out.append(encode_command(command))
    if decision.fence is not None:
        out.append(encode_fence(decision.fence) or b"")
    return encode_customer(decision.customer), out


def progress(what: str, done: int, total: int) -> None:
    end = "\n" if done >= total else "\r"
    if done % 5_000 and done < total:
        return
    print(f"{what}: {done:,} of {total:,}   ", end=end, file=sys.stderr, flush=True)


def loop_milliseconds() -> float:
    """Return how long a plain loop takes here and now: how much of a core there is to be had."""
    best = math.inf
    for _ in range(5):
        began, total = time.thread_time(), 0
        for number in range(1_000_000):
            total += number
        best = min(best, time.thread_time() - began)
    return best * 1_000


def report(name: str, tally: Tally) -> list[str]:
    total = sum(tally.events.values())
    lines = [f"{name}: {tally.per_second:,.0f} decisions/s on one core"]
    for event_type, count in sorted(tally.events.items()):
        microseconds = tally.seconds[event_type] / count * 1e6
        lines.append(f"    {event_type:<16} {count / total:4.0%}  {microseconds:6.1f} us each")
    lines.append(
        f"    {tally.commands:,} commands, {tally.entries:,} log entries, {tally.fences:,} fences"
        + (f", {tally.bytes_out / total:,.0f} bytes out an event" if tally.bytes_out else "")
    )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.decide", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it; writes no result")
    parser.add_argument("--seed", type=int, default=1, help="seed of customers and history")
    options = parser.parse_args()
    customer_count, event_count = (10_000, 20_000) if options.quick else (100_000, 200_000)

    journeys = portfolio()
    states: dict[str, bytes] = {}
    for number, customer in enumerate(customers(journeys, customer_count, options.seed), 1):
        states[customer.id] = encode_customer(customer)
        progress("customers", number, customer_count)
    history = records(event_count, customer_count, options.seed + 1)
    sizes = sorted(map(len, states.values()))
    # The runtime freezes what recovery loaded, too: nothing of it is ever garbage.
    gc.collect()
    gc.freeze()

    lines = [
        f"python -m bench.decide --seed {options.seed}",
        f"CPython {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores",
        f"{customer_count:,} customers with full dedupe windows, 20 journeys, 3 enrollments each",
        f"for scale: a loop of 1,000,000 additions takes {loop_milliseconds():.0f} ms here and now",
        f"state: p50 {sizes[len(sizes) // 2]:,} B, p99 {sizes[len(sizes) * 99 // 100]:,} B",
        f"{event_count:,} events: " + ", ".join(f"{share} % {name}" for name, share in MIX),
        "",
        *report("pure decide", pure(journeys, dict(states), history)),
        *report("bytes in, bytes out", bytes_to_bytes(journeys, dict(states), history)),
        "",
        f"goal: {GOAL_PER_SECOND:,} pure decisions/s",
    ]
    print("\n".join(lines))
    if not options.quick:
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
