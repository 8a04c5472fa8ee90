"""A restart with everybody in the state: how long until an answer, and bytes per customer.

Every customer has a profile, a consent and three running promotions. The states are written to the
changelog in the form that each system reads; then it starts with no files of its own, as on a new
machine. Measured are the seconds from process start to an answered purchase on every partition,
what is resident, what a JVM keeps alive after a full collection, and what is on disk.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bench.events import Workload, customer_id, event_bytes, population
from bench.recovery import write_states
from bench.rivals.job import Job, Record
from bench.rivals.lineup import JOURNEYS
from bench.systems import peak_bytes, resident_bytes
from orchestrator import catalog
from orchestrator.broker.artifacts import java
from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.core.encoded.state import encode_customer
from orchestrator.protocol.codec import decode_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.rivals.arena import Arena, World
    from bench.rivals.lineup import Contestant
    from bench.systems import Deployment, Running

# Who keeps states in a form that we can write. Quix's own form is not for others to write.
KINDS: Final = ("ours", "confluent_loop", "streams", "faust")
READY_SECONDS_MAX: Final = 1_800.0
HEAP_MB: Final = 4_096
EVENT_BYTES_MAX: Final = 1_000_000


def run(arena: Arena) -> None:
    """Restart every system that can be filled."""
    for repetition, contestant in arena.turns(
        arena.extent.recovery_repetitions, arena.extent.recovery_systems
    ):
        key = f"recovery/{arena.extent.recovery_customers}/{contestant.name}/{repetition}"
        if contestant.kind in KINDS and key not in arena.runs:
            roomy = replace(contestant, heap_mb=HEAP_MB)
            _restart(arena, roomy, key, arena.extent.recovery_customers)


def _restart(arena: Arena, contestant: Contestant, key: str, customers: int) -> None:
    world: World | None = None
    try:
        with arena.world(contestant, populated=False) as world:
            with arena.started(world) as (process, empty_seconds):
                empty = _sizes(world, process)
            shutil.rmtree(world.folder / "state", ignore_errors=True)
            value_bytes = fill(world, customers)
            limit = READY_SECONDS_MAX
            with arena.started(world, ready_seconds_max=limit) as (process, full_seconds):
                full = _sizes(world, process)
    except Exception as error:  # noqa: BLE001 - One that cannot be measured stops no other one.
        arena.failed(key, world, error)
        return
    row = {
        "customers": customers,
        "state_bytes": value_bytes,
        "start_to_answer_seconds": round(full_seconds, 2),
        "start_to_answer_empty_seconds": round(empty_seconds, 2),
        "recovery_seconds": round(max(0.01, full_seconds - empty_seconds), 2),
        "empty": empty,
        "full": full,
        "bytes_per_customer": {
            name: round((full[name] - empty[name]) / customers) for name in full if name in empty
        },
    }
    sizes = ", ".join(f"{name} {size:,}" for name, size in row["bytes_per_customer"].items())
    arena.keep(key, row, f"{row['recovery_seconds']} s; bytes a customer: {sizes}")


def _sizes(world: World, process: Running) -> dict[str, int]:
    pid = process.process.pid
    sizes = {"resident": resident_bytes(pid), "peak": peak_bytes(pid)}
    if world.contestant.is_jvm:
        # Counting the living collects the dead first.
        sizes["live_heap"] = _live_heap_bytes(pid)
        sizes["resident"] = resident_bytes(pid)
    sizes["disk"] = _folder_bytes(world.folder / "state")
    return sizes


def _live_heap_bytes(pid: int) -> int:
    command = [str(java().with_name("jcmd")), str(pid), "GC.class_histogram"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(told.strip().splitlines()[-1].split()[2])


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def changelog(deployment: Deployment, kind: str) -> str:
    """Return where a system keeps its states; frameworks name the topic themselves."""
    match kind:
        case "streams":
            return f"{deployment.app_id}-customers-changelog"
        case "faust":
            return deployment.changelog("stock-faust")
    return deployment.changelog("ours")


def history(number: int) -> list[bytes]:
    """Return what has happened to a customer who is in all three promotions."""
    now_ns, chance = time.time_ns(), random.Random(number)
    told = [value for key, value in population(Workload(customers=2)) if key.endswith(b"1")]
    events = ("product.viewed", "cart.abandoned")
    return told + [event_bytes(kind, f"{number:x}-{kind}", 1, now_ns, chance) for kind in events]


def states_of(kind: str) -> Callable[[int], Iterator[tuple[bytes, bytes]]]:
    """Return what yields keys and states for a number of customers, as that system writes them."""
    return _states_of_ours if kind == "ours" else _states_of_the_job


def _states_of_ours(customers: int) -> Iterator[tuple[bytes, bytes]]:
    journeys, now_ms = catalog.load(JOURNEYS, "test"), time.time_ns() // 1_000_000
    state = Customer(id=customer_id(1))
    for value in history(1):
        event = decode_event(state.id.encode(), value, (), event_bytes_max=EVENT_BYTES_MAX)
        state = decide(journeys, state, event, now_ms).customer
    for number in range(customers):
        identity = customer_id(number)
        yield identity.encode(), encode_customer(msgspec.structs.replace(state, id=identity))


def _states_of_the_job(customers: int) -> Iterator[tuple[bytes, bytes]]:
    job, now_ms, state = Job("", ""), time.time_ns() // 1_000_000, None
    for offset, value in enumerate(history(1)):
        record = Record("touchpoints", 0, offset, now_ms, customer_id(1).encode(), value)
        state, _ = job.of(record, state)
    assert state is not None
    for number in range(customers):
        yield customer_id(number).encode(), state


def fill(world: World, customers: int, *, states: Any = None) -> int:
    """Write the states to the system's changelog; return how many bytes one has on average."""
    deployment, kind = world.deployment, world.contestant.kind
    told = states or states_of(kind)(customers)
    topic = changelog(deployment, kind)
    sizes = write_states(deployment, topic, told, transactional=kind != "faust")
    return round(sum(sizes) / customers)
