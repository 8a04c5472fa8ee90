"""Rows about processes: workers and a broker killed, stopped, starved, out of memory."""

from __future__ import annotations

import contextlib
import random
import signal
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

from bench.crash.judge.history import home_of
from bench.crash.plan import Planned, encode, rfc3339
from bench.faults.case import Row
from bench.faults.cgroups import Cgroup
from bench.faults.scene import LONELY, PARTITIONS, Scene
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from bench.crash.fleet import Slot
    from bench.faults.case import Case

OUTAGE_SECONDS: Final = 20.0
"""Longer than a worker waits for a commit (twice the transaction timeout of 6 s)."""
STORM_SECONDS: Final = 40.0
STORM_EVERY_SECONDS: Final = 5.0
CROWD: Final = 20_000
STARVED_SECONDS: Final = 25.0
STARVED_PERCENT: Final = 5
MEMORY_MB: Final = 400


def _hit(scene: Scene, slot: Slot, failpoint: str) -> None:
    """Restart a worker with a failpoint, and wait until it was reached."""
    name, *_, action = failpoint.split(":")
    hits, key = scene.fleet.diary.hits, f"{name}:{action}"
    before = hits.get(key, 0)
    scene.fleet.arm(slot, failpoint, signal.SIGTERM)
    scene.case.wait(f"{slot.name} to reach {failpoint}", lambda: hits.get(key, 0) > before, 30)


def killed(case: Case) -> None:
    """Kill workers with -9 at random and at the places where it hurts."""
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        scene.begin()
        scene.at(5)
        first, second = scene.fleet.slots
        scene.fleet.signal(first, signal.SIGKILL, "at random")
        _hit(scene, second, "after_produce:3:kill")
        _hit(scene, first, "after_acks:4:kill")
        _hit(scene, second, "after_offsets:3:kill")
        _hit(scene, first, "recovery_loaded:1:kill")
        scene.fleet.signal(second, signal.SIGKILL, "at random")
        scene.settle()
        scene.judge()
        case.saw(
            f"{scene.exits(-9)} deaths: at random, between records and offsets, during the commit, "
            "in recovery"
        )


def zombies(case: Case) -> None:
    """Stop workers past their session in the middle of a commit and between two; wake them up."""
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        scene.begin()
        scene.at(5)
        first, second = scene.fleet.slots
        for slot, failpoint in ((first, "after_acks:4:stop"), (second, "after_produce:3:stop")):
            deaths = slot.deaths
            _hit(scene, slot, failpoint)
            _awaken(scene, slot)
            case.wait("the end of the zombie", lambda s=slot, d=deaths: s.deaths > d + 1, 30)
        case.demand("a zombie with an open transaction ends with 70", holds=scene.exits(70) == 2)
        case.wait("the worker to be ready", lambda: scene.fleet.ready(first), 40)
        scene.fleet.signal(first, signal.SIGSTOP, "between two commits")
        case.wait("its stop to be seen", lambda: first.stopped_at is not None, 5)
        _awaken(scene, first)
        scene.settle()
        scene.judge()
        case.saw(
            f"3 workers slept 9 s past the acknowledged records, past the produced ones, and idle; "
            f"{scene.exits(70)} gave themselves up with 70 when they woke up"
        )


def _awaken(scene: Scene, slot: Slot) -> None:
    """Wait until the supervisor has continued a stopped worker."""
    scene.case.wait(f"{slot.name} to wake up", lambda: slot.stopped_at is None, 20)


def starved(case: Case) -> None:
    """Give one worker of two a twentieth of a core."""
    with (
        Cgroup("cpu", f"faults-{case.row.number}") as cgroup,
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        slot = scene.fleet.slots[0]
        scene.play(slot, {"cgroups": [str(cgroup.path)]})
        scene.begin()
        scene.at(6)
        before = _rebalances(scene)
        cgroup.write("cpu.cfs_quota_us", str(STARVED_PERCENT * 1_000))
        case.tell(f"{slot.name} gets {STARVED_PERCENT} % of a core")
        case.pause(STARVED_SECONDS)
        cgroup.write("cpu.cfs_quota_us", "-1")
        rounds = _rebalances(scene) - before
        scene.settle()
        scene.judge()
        case.demand("no rebalance loop: at most 3 in 25 s", holds=rounds <= 3)
        case.saw(
            f"{STARVED_SECONDS:.0f} s at {STARVED_PERCENT} % of a core: {rounds} rebalances, "
            f"exits {dict(scene.fleet.diary.exit_codes) or 'none'}, then caught up"
        )


def _rebalances(scene: Scene) -> int:
    """Return how many times any worker has taken over partitions."""
    return sum(scene.log_of(slot).count('"event":"ready"') for slot in scene.fleet.slots)


def broker_deaths(case: Case) -> None:
    """Kill the broker and start it at once; then leave it dead for longer than anybody waits."""
    port = EmbeddedBroker.free_port()
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        slot = scene.fleet.slots[0]
        scene.play(slot, {"environment": {"ORCHESTRATOR_METRICS_PORT": str(port)}})
        scene.begin()
        case.demand("ready under load", holds=_is_ready(port))
        scene.at(8)
        case.tell("kill -9 of the broker, and start")
        broker.kill9()
        broker.start()
        assert scene.pulse is not None
        back = time.monotonic()
        case.wait("decisions", lambda: scene.pulse.since(back) > 50, 60)
        case.tell(f"kill -9 of the broker, and nothing for {OUTAGE_SECONDS:.0f} s")
        broker.kill9()
        case.pause(OUTAGE_SECONDS / 2)
        case.demand("not ready without a broker", holds=not _is_ready(port))
        case.pause(OUTAGE_SECONDS / 2)
        back = time.monotonic()
        broker.start()
        case.wait("decisions", lambda: scene.pulse.since(back) > 50, 60)
        again = next(at for at, _ in scene.pulse.beats if at > back) - back
        scene.settle()
        scene.judge()
        case.saw(
            f"restart at once, then {OUTAGE_SECONDS:.0f} s without: not ready meanwhile, decisions "
            f"again {again:.1f} s after its start; exits {dict(scene.fleet.diary.exit_codes)}"
        )


def _is_ready(port: int) -> bool:
    """Ask a worker's health page."""
    with (
        contextlib.suppress(OSError, urllib.error.URLError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer,
    ):
        return bool(answer.status == 200)
    return False


def storm(case: Case) -> None:
    """End one of three workers every five seconds, in turn kindly and not."""
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers, workers=3) as scene,
    ):
        scene.begin()
        dice, number = random.Random(6), 0
        while time.monotonic() < scene.began + STORM_SECONDS:
            case.pause(STORM_EVERY_SECONDS)
            slot = dice.choice(scene.fleet.slots)
            kind = (signal.SIGTERM, signal.SIGKILL)[number % 2]
            number += scene.fleet.signal(slot, kind, "in the storm")
        scene.settle()
        scene.judge()
        waited = case.figures["event_to_decision_ms"]["max"] / 1000
        case.demand("nobody waits longer than 30 s", holds=waited < 30)
        case.saw(
            f"{number} workers ended in {STORM_SECONDS:.0f} s, every other one with -9; the "
            f"longest wait of an event was {waited:.1f} s"
        )


def out_of_memory(case: Case) -> None:
    """Let the kernel kill a worker that grows over the bound of its cgroup, twice."""
    with (
        Cgroup("memory", f"faults-{case.row.number}") as cgroup,
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        cgroup.write("memory.limit_in_bytes", str(MEMORY_MB * 1024 * 1024))
        slot = scene.fleet.slots[0]
        grow = case.folder / "grow"
        scene.play(slot, {"cgroups": [str(cgroup.path)], "ballast": str(grow)})
        scene.begin()
        for _ in range(2):
            case.wait("the worker to be ready", lambda: scene.fleet.ready(slot), 40)
            case.pause(5)
            deaths = slot.deaths
            grow.touch()
            case.wait("its death", lambda d=deaths: slot.deaths > d, 20)
        scene.settle()
        kills = cgroup.read("memory.oom_control").split("oom_kill ")[-1].strip()
        # It may die again before it has taken the word away.
        case.demand("the kernel has killed it twice or more", holds=int(kills) >= 2)
        scene.judge()
        case.saw(f"{kills} kills by the kernel at {MEMORY_MB} MiB, under load")


def crash_loop(case: Case) -> None:
    """Let both workers die at every start, again and again, with a crowd in their state."""

    def with_crowd(plan: list[Planned]) -> list[Planned]:
        crowd = [_visit(number) for number in range(CROWD)]
        return sorted([*plan, *crowd], key=lambda planned: planned.at_ms)

    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        scene.create_topics()
        scene.start_workers()
        scene.start_load(change=with_crowd)
        scene.at(16)
        diary, places = scene.fleet.diary, ("recovery_loaded", "assigned", "recovery_started")
        for slot in scene.fleet.slots:
            scene.fleet.arm(slot, f"{places[0]}:1:kill", signal.SIGKILL)
        while sum(diary.hits.values()) < 8:
            for slot in scene.fleet.slots:
                if not slot.failpoint and not slot.next_failpoint:
                    place = places[sum(diary.hits.values()) % len(places)]
                    slot.next_failpoint = f"{place}:1:kill"
            case.pause(0.2)
            if time.monotonic() > case.deadline - 40:
                break
        for slot in scene.fleet.slots:
            slot.next_failpoint = ""
        deaths = sum(diary.hits.values())
        case.demand("both workers died at their start, again and again", holds=deaths >= 6)
        scene.settle()
        scene.judge()
        case.saw(f"{deaths} deaths at the start, {CROWD:,} customers more in the state")


def _visit(number: int) -> Planned:
    """Return a visit of somebody who does nothing else: a customer in the state."""
    customer = f"crowd-{number:05d}"
    body = {
        "specversion": "1.0",
        "id": f"crowd-{number}",
        "source": "/shop",
        "type": "store.visited",
        "subject": customer,
        "time": rfc3339(time.time_ns() // 1_000_000),
        "data": {},
    }
    value, headers = encode(body, binary=False)
    home = home_of(customer, PARTITIONS)
    at_ms = number * 10_000 // CROWD
    return Planned(at_ms, "crowd", "touchpoints", home, customer.encode(), value, headers)


ROWS: Final = (
    Row(
        1,
        "worker killed with -9",
        "SIGKILL at random; failpoints between records, acknowledgements, offsets; in recovery",
        "nothing lost, doubled, out of order; state is what the log says",
        killed,
    ),
    Row(
        2,
        "zombie: stopped past its session, then woken",
        "SIGSTOP at failpoints inside a commit and between two, SIGCONT after 9 s",
        "its late writes change nothing; it gives itself up",
        zombies,
    ),
    Row(
        3,
        "slow worker",
        "cgroup v1, cpu quota of 5 %",
        "no rebalance loop; it catches up",
        starved,
    ),
    Row(
        4,
        "broker killed; a long outage",
        "SIGKILL of the only broker; started at once, then after 20 s",
        "nothing lost; not ready without it; goes on by itself",
        broker_deaths,
    ),
    Row(
        6,
        "rebalance storm",
        "one of three workers ended every 5 s for 40 s, SIGTERM and SIGKILL in turn",
        "nothing lost or out of order; nobody waits longer than 30 s",
        storm,
    ),
    Row(
        20,
        "worker out of memory",
        "cgroup v1, memory limit of 400 MiB; the worker takes on ballast until the kernel kills it",
        "as row 1",
        out_of_memory,
    ),
    Row(
        21,
        "crash loop at the start",
        "failpoints in assignment and recovery, both workers, eight deaths; 20,000 customers more",
        "no progress is lost; it goes on by itself",
        crash_loop,
    ),
)
