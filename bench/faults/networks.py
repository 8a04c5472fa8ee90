"""Rows about what lies between a worker and the brokers: a broker's death, cuts, delays, resets."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException

from bench.crash.plan import Size
from bench.faults.case import Row
from bench.faults.cluster import Cluster
from bench.faults.proxy import Proxy, Weather, proxied_broker
from bench.faults.scene import LONELY, Scene

if TYPE_CHECKING:
    from bench.crash.fleet import Slot
    from bench.faults.case import Case

LONGER: Final = Size(events=3_300, customers=450, rate=60, pauses=())
UNAVAILABLE_SECONDS: Final = 8.0
CUT_SECONDS: Final = 13.0
"""Past the session timeout, and past what a commit may take."""


def _leader(scene: Scene) -> int:
    """Return the number of the broker that leads most partitions of the journey log."""
    for _ in range(20):
        try:
            topics = scene.admin().list_topics(timeout=5).topics
            leaders = [one.leader for one in topics[scene.names.journey_log].partitions.values()]
        except KafkaException:
            time.sleep(0.5)
        else:
            return max(set(leaders), key=leaders.count) - 1
    raise RuntimeError("no broker says who leads")


def _in_sync(scene: Scene) -> bool:
    """Whether every partition has all its copies again."""
    try:
        topics = scene.admin().list_topics(timeout=5).topics
    except KafkaException:
        return False
    return all(
        len(partition.isrs) == len(partition.replicas) and partition.leader > 0
        for topic in topics.values()
        for partition in topic.partitions.values()
    )


def three_brokers(case: Case) -> None:
    """Kill the leader of most partitions, then two of three brokers, under load."""
    with (
        Cluster(case.folder) as cluster,
        Scene(case, cluster.bootstrap_servers, size=LONGER, copies=3) as scene,
    ):
        scene.begin()
        pulse = scene.pulse
        assert pulse is not None
        scene.at(8)
        first = _leader(scene)
        case.tell(f"kill -9 broker {first}, which leads most partitions")
        killed = time.monotonic()
        cluster.kill(first)
        case.wait("decisions beside a dead broker", lambda: pulse.since(killed + 1) > 100, 40)
        went_on = next(at for at, _ in pulse.beats if at > killed + 0.5) - killed
        case.saw(f"one of three killed: decisions went on, the next one seen after {went_on:.1f} s")
        cluster.start([first])
        back = case.wait("all copies in sync", lambda: _in_sync(scene), 30)
        case.tell(f"in sync again after {back:.1f} s")
        others = [number for number in range(3) if number != first]
        killed = time.monotonic()
        cluster.kill(*others)
        case.tell(f"kill -9 brokers {others}: no quorum, one copy of two that must be in sync")
        case.pause(UNAVAILABLE_SECONDS)
        decided = pulse.since(killed + 1.5)
        case.demand("nothing becomes visible without a quorum", holds=decided == 0)
        returned = time.monotonic()
        cluster.start(others)
        case.wait("decisions after the outage", lambda: pulse.since(returned) > 50, 60)
        again = next(at for at, _ in pulse.beats if at > returned) - returned
        case.saw(
            f"two of three killed for {returned - killed:.0f} s: {decided} lines decided, then on "
            f"again {again:.1f} s after their start"
        )
        scene.settle()
        scene.judge()


def partition(case: Case) -> None:
    """Cut one worker of two off, in both directions, then only its answers."""
    broker, front, behind = proxied_broker(case.folder / "broker", LONELY)
    with broker, Proxy(front, behind) as proxy, Scene(case, broker.bootstrap_servers) as scene:
        cut_off = scene.fleet.slots[0]
        address = {"ORCHESTRATOR_BOOTSTRAP_SERVERS": f"127.0.0.1:{front}"}
        scene.play(cut_off, {"environment": address})
        scene.begin()
        scene.at(6)
        _cut_off(scene, cut_off, proxy, "both ways")
        case.wait("the worker to be ready", lambda: scene.fleet.ready(cut_off), 40)
        _cut_off(scene, cut_off, proxy, "answers only")
        scene.settle()
        case.demand("a worker that was cut off gives itself up (70)", holds=scene.exits(70) >= 2)
        scene.judge()


def _cut_off(scene: Scene, slot: Slot, proxy: Proxy, how: str) -> None:
    """Hold what goes to or comes from a worker's broker for longer than its session; heal it."""
    case, deaths = scene.case, slot.deaths
    case.tell(f"cut {slot.name} off, {how}")
    began = time.monotonic()
    if how == "both ways":
        proxy.cut()
    else:
        proxy.deafen()
    taken = case.wait("the other worker to take over", lambda: _owns_all(scene), CUT_SECONDS + 10)
    case.pause(began + CUT_SECONDS - time.monotonic())
    proxy.heal()
    case.wait("the end of the one cut off", lambda: slot.deaths > deaths, 30)
    ended = time.monotonic() - began
    case.saw(
        f"{how}: the other took over after {taken:.1f} s, the one cut off ended by {ended:.0f} s"
    )


def _owns_all(scene: Scene) -> bool:
    """Whether the other worker owns all partitions now, by its own last word."""
    said = scene.fleet.said(scene.fleet.slots[1]).decode(errors="replace")
    ready = [line for line in said.splitlines() if '"event":"ready"' in line]
    owned = json.loads(ready[-1])["partitions"] if ready else []
    return len(owned) == scene.names.partitions


def bad_network(case: Case) -> None:
    """Delay, jitter, small pieces, resets and frames that end in the middle, for all workers."""
    broker, front, behind = proxied_broker(case.folder / "broker", LONELY)
    with (
        broker,
        Proxy(front, behind) as proxy,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        for slot in scene.fleet.slots:
            address = {"ORCHESTRATOR_BOOTSTRAP_SERVERS": f"127.0.0.1:{front}"}
            scene.play(slot, {"environment": address})
        scene.begin()
        scene.at(5)
        case.tell("30 ms and up to 40 ms more, in pieces of 500 bytes")
        proxy.weather = Weather(delay_seconds=0.03, jitter_seconds=0.04, piece_bytes=500)
        scene.at(17)
        proxy.weather = Weather(delay_seconds=0.005, jitter_seconds=0.02)
        for second in range(18, 30, 4):
            scene.at(second)
            case.tell("reset all connections")
            proxy.reset()
        for second in range(32, 42, 4):
            scene.at(second)
            case.tell("end an answer in the middle of its frame")
            proxy.truncate()
        scene.at(44)
        proxy.heal()
        scene.settle()
        scene.judge()
        case.demand("connections were reset and frames cut", holds=proxy.resets and proxy.truncated)
        codes = dict(scene.fleet.diary.exit_codes)
        case.saw(
            f"{proxy.resets} connections reset, {proxy.truncated} answers cut; "
            f"exits of workers: {codes or 'none'}"
        )
        case.demand("workers give themselves up only by 70", holds=set(codes) <= {70})


ROWS: Final = (
    Row(
        5,
        "one and two of three brokers lost",
        "3 KRaft brokers, RF 3, min ISR 2; kill -9 of the one that leads most, then of the others",
        "one lost: it goes on; two lost: unavailable, not wrong; then it goes on by itself",
        three_brokers,
        seconds_max=180.0,
    ),
    Row(
        7,
        "one worker cut off",
        "TCP proxy on an advertised listener; both directions held, then only the answers",
        "another takes over; the one cut off gives itself up; its late writes change nothing",
        partition,
    ),
    Row(
        8,
        "latency, jitter, resets, cut frames",
        "the same proxy before all workers",
        "nothing lost, doubled or out of order; workers go on or restart by themselves",
        bad_network,
    ),
)
