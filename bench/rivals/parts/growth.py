"""What a decision costs as there are more journeys, enrollments, customers and waits: ours alone.

Journeys and enrollments are varied around the core, bytes in to bytes out, in processor time;
customers and waits around a whole worker whose state was filled, at a fixed rate. The claim is the
slope in a log-log picture: 0 costs nothing, 1 grows along.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bench.events import MIXED, customer_id, event_bytes
from bench.rivals.lineup import CONTESTANTS, JOURNEYS
from bench.rivals.parts.recovery import EVENT_BYTES_MAX, fill, history
from orchestrator import catalog
from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.outputs import encode_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.rivals.arena import Arena
    from orchestrator.core.journeys import Journeys

RATE: Final = 500
EVENTS: Final = 1_000
PEOPLE: Final = 100
ROUNDS: Final = 5
DAY_MS: Final = 86_400_000
# Enters never: the same event as others, a condition that is false.
NEVER: Final = """\
name: {name}
version: 1
owner: bench
kind: promotional
stage: consideration
entry:
  on: {event}
  when: event.data.{field} == "nobody {name}"
exits:
  - on: {exit}
steps:
  - id: think
    wait: 24h
  - id: offer
    send: {{channel: email, template: offer}}
"""
# Where the other journeys listen: to an event that the load has not, or to its most frequent one.
ELSEWHERE: Final = {"event": "campaign.started", "field": "campaign", "exit": "purchase"}
ALIKE: Final = {"event": "product.viewed", "field": "sku", "exit": "purchase"}


def run(arena: Arena) -> None:
    """Measure ours; the other systems of the line-up have no journeys to vary."""
    extent = arena.extent
    for name, kind in (("journeys-elsewhere", ELSEWHERE), ("journeys-alike", ALIKE)):
        for count in extent.growth_journeys:
            _keep_decisions(arena, name, count, _with_journeys, kind)
    for count in extent.growth_enrollments:
        _keep_decisions(arena, "enrollments", count, _with_enrollments)
    for name in ("customers", "waits"):
        for count in extent.growth_customers:
            key = f"growth/{name}-{count}/ours/0"
            if key not in arena.runs:
                _keep_worker(arena, key, count, waits=name == "waits")


def slope(points: list[tuple[float, float]]) -> float:
    """Return the slope of the straight line through the points in a log-log picture."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    mean_x = sum(x for x, _ in logs) / len(logs)
    mean_y = sum(y for _, y in logs) / len(logs)
    spread = sum((x - mean_x) ** 2 for x, _ in logs)
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / spread if spread else 0.0


def _keep_decisions(arena: Arena, name: str, count: int, prepare: Any, *arguments: Any) -> None:
    key = f"growth/{name}-{count}/ours/0"
    if key in arena.runs:
        return
    journeys, states, events = prepare(count, *arguments)
    each = _microseconds(journeys, states, events)
    arena.keep(key, {"what": name, "count": count, "us": each}, f"{each:.1f} us a decision")


def _with_journeys(
    count: int, entry: dict[str, str]
) -> tuple[Journeys, dict[str, bytes], list[tuple[str, bytes]]]:
    """Return so many journeys that nobody enters, beside the four of the job; and the usual mix."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-px-"))
    try:
        shutil.copytree(JOURNEYS, folder, dirs_exist_ok=True)
        for number in range(count):
            name = f"never_{number:04d}"
            (folder / f"{name}.yaml").write_text(NEVER.format(name=name, **entry), "utf-8")
        journeys = catalog.load(folder, "test")
    finally:
        shutil.rmtree(folder)
    chance = Random(1)
    kinds, shares = zip(*MIXED, strict=True)
    events = [
        (customer_id(customer), event_bytes(kind, f"1-{number}", customer, time.time_ns(), chance))
        for number, kind in enumerate(chance.choices(kinds, shares, k=EVENTS))
        for customer in (chance.randrange(PEOPLE),)
    ]
    return journeys, {}, events


def _with_enrollments(
    count: int,
) -> tuple[Journeys, dict[str, bytes], list[tuple[str, bytes]]]:
    """Return somebody who has so many orders on their way, and views of theirs."""
    journeys, chance = catalog.load(JOURNEYS, "test"), Random(1)
    now_ns, state = time.time_ns(), Customer(id=customer_id(1))
    orders = [event_bytes("purchase", f"2-{n}", 1, now_ns, chance) for n in range(count)]
    for value in [*history(1)[:2], *orders]:
        event = decode_event(state.id.encode(), value, (), event_bytes_max=EVENT_BYTES_MAX)
        state = decide(journeys, state, event, now_ns // 1_000_000).customer
    assert len(state.enrollments) == count
    views = [event_bytes("cart.updated", f"3-{n}", 1, now_ns, chance) for n in range(EVENTS // 5)]
    return journeys, {state.id: encode_customer(state)}, [(state.id, view) for view in views]


def _microseconds(
    journeys: Journeys, states: dict[str, bytes], events: list[tuple[str, bytes]]
) -> float:
    """Return what an event costs from bytes to bytes, the middle one of some rounds."""
    spent = []
    for _ in range(ROUNDS):
        known = dict(states)
        began = time.thread_time()
        for identity, value in events:
            event = decode_event(identity.encode(), value, (), event_bytes_max=EVENT_BYTES_MAX)
            before = known.get(identity)
            customer = decode_customer(before) if before else Customer(id=identity)
            decision = decide(journeys, customer, event, event.time_ms)
            known[identity] = encode_customer(decision.customer)
            for command in decision.commands:
                encode_command(command)
        spent.append(1e6 * (time.thread_time() - began) / len(events))
    return median(spent)


def _keep_worker(arena: Arena, key: str, customers: int, *, waits: bool) -> None:
    """Fill a worker's state, send the usual load to other customers, and read its clock."""
    contestant, world = CONTESTANTS["ours"], None
    try:
        with arena.world(contestant) as world:
            # A changelog with customers and no word of a worker is one that the worker refuses.
            with arena.started(world):
                pass
            fill(world, customers, states=strangers(customers, events=5 if waits else 2))
            with arena.started(world, ready_seconds_max=600) as (process, _):
                row = arena.load(world, process, RATE, arena.extent.growth_seconds, 2.0)
                verdict = asdict(arena.verdict(world))
    except Exception as error:  # noqa: BLE001 - The other points are worth having.
        arena.failed(key, world, error)
        return
    count = customers * (3 if waits else 1)
    about = {"what": "waits" if waits else "customers", "count": count, "verdict": verdict}
    each = row["system_cpu_us_per_event"]
    arena.keep(key, row | about | {"us": each}, f"{each:.0f} us of a worker, an event")


def strangers(
    customers: int, *, events: int, due_ms: Callable[[int], int] | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Yield states of people who are not in the load and have seen so many events of `history`.

    The first two bring no wait, each further one brings one. `due_ms` says when all waits of the
    n-th of them are due; without it, a day from now.
    """
    journeys, now_ms = catalog.load(JOURNEYS, "test"), time.time_ns() // 1_000_000
    state = Customer(id=customer_id(1))
    for value in history(1)[:events]:
        event = decode_event(state.id.encode(), value, (), event_bytes_max=EVENT_BYTES_MAX)
        state = decide(journeys, state, event, now_ms).customer
    for number in range(customers):
        enrollments = state.enrollments
        if due_ms is not None:
            due = due_ms(number)
            enrollments = tuple(
                msgspec.structs.replace(one, wake_at_ms=due, entered_at_ms=due - DAY_MS)
                for one in enrollments
            )
        stranger = msgspec.structs.replace(state, id=stranger_id(number), enrollments=enrollments)
        yield stranger.id.encode(), encode_customer(stranger)


def stranger_id(number: int) -> str:
    return f"stranger-{number:07d}"
