"""Where the systems meet: a broker, and for each run a world of its own topics and one system.

The parts (`latency`, `rate`, …) ask here for a world, send load into it and have what was written
judged by the oracle. A run that cannot be made is kept with its reason, so that one system that
does not start takes no other one with it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

import click
from confluent_kafka import Consumer, TopicPartition

from bench.events import Workload
from bench.load import Load
from bench.measure import measure
from bench.report import RESULTS
from bench.rivals.lineup import CONTESTANTS, EXACTLY_ONCE, JOURNEYS, Contestant
from bench.rivals.oracle import Verdict, judge
from bench.systems import (
    Deployment,
    Running,
    await_ready,
    running,
    send_population,
    send_profiles,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.report import Results
    from bench.rivals.runs import Runs
    from bench.run import Broker

VOID_RETRIES: Final = 1
WARM_UP_RATE: Final = 1_000
DRAIN_SECONDS_MAX: Final = 90.0
# The aiokafka floor keeps its states in memory alone.
RESTARTABLE_SYSTEMS: Final = tuple(name for name, one in CONTESTANTS.items() if one.kind != "floor")
# The class that is compared first, and stock Faust, which has goals of its own.
EXACTLY_ONCE_SYSTEMS: Final = (
    *(name for name, one in CONTESTANTS.items() if one.guarantee == EXACTLY_ONCE),
    "stock-faust",
)
# One of each kind: the rows are about what a system does, not about its settings.
FAULT_SYSTEMS: Final = ("ours", "streams-eos-tuned", "quix-eos-default", "stock-faust")


@dataclass(frozen=True, slots=True)
class Extent:
    """How long and how often; the quick one shows that everything works."""

    rates: tuple[int, ...] = (50, 500, 1_000, 2_000)
    repetitions: int = 3
    seconds: float = 30.0
    warm_up_seconds: float = 5.0
    jvm_warm_up_seconds: float = 60.0
    broker_warm_up_seconds: float = 60.0
    customers: int = 10_000
    skew: float = 0.0
    settle_seconds: float = 60.0
    ramp_seconds: float = 15.0
    ramp_precision: float = 1.12
    ramp_repetitions: int = 2
    recovery_customers: int = 1_000_000
    recovery_repetitions: int = 2
    kill_seconds: float = 40.0
    kill_repetitions: int = 2
    growth_customers: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    growth_journeys: tuple[int, ...] = (1, 10, 100, 1_000)
    growth_enrollments: tuple[int, ...] = (0, 1, 10, 100)
    growth_seconds: float = 20.0
    startup_repetitions: int = 3
    rebalance_repetitions: int = 1
    fault_rows: tuple[int, ...] = (2, 4, 6, 13, 14)
    fault_repetitions: int = 1
    # Who takes part; empty is everybody.
    startup_systems: tuple[str, ...] = ()
    rebalance_systems: tuple[str, ...] = ()
    fault_systems: tuple[str, ...] = FAULT_SYSTEMS
    latency_systems: tuple[str, ...] = ()
    ramp_systems: tuple[str, ...] = EXACTLY_ONCE_SYSTEMS
    kill_systems: tuple[str, ...] = RESTARTABLE_SYSTEMS
    recovery_systems: tuple[str, ...] = ()


QUICK: Final = Extent(
    rates=(500, 1_000),
    repetitions=1,
    seconds=6.0,
    warm_up_seconds=2.0,
    jvm_warm_up_seconds=10.0,
    broker_warm_up_seconds=30.0,
    customers=2_000,
    settle_seconds=20.0,
    ramp_seconds=5.0,
    ramp_precision=1.5,
    ramp_repetitions=1,
    recovery_customers=20_000,
    recovery_repetitions=1,
    kill_seconds=14.0,
    kill_repetitions=1,
    growth_customers=(1_000, 30_000),
    growth_journeys=(1, 10, 100),
    growth_enrollments=(0, 1, 10, 100),
    growth_seconds=5.0,
    startup_repetitions=1,
    fault_rows=(13,),
    startup_systems=("ours", "streams-eos-tuned"),
    rebalance_systems=("ours",),
    fault_systems=("ours",),
    latency_systems=EXACTLY_ONCE_SYSTEMS,
    ramp_systems=("ours", "streams-eos-tuned"),
    kill_systems=("ours", "streams-alo-default"),
    recovery_systems=("ours", "streams-eos-tuned", "stock-faust"),
)


@dataclass(slots=True)
class World:
    """One system on topics of its own; `slot` names one of several processes of it."""

    contestant: Contestant
    deployment: Deployment
    folder: Path
    process: Running | None = None
    slot: str = "slot-0"

    @property
    def log(self) -> Path:
        """Where its last words are; it outlives the world."""
        return RESULTS / "logs" / f"{self.deployment.prefix}.log"


@dataclass(slots=True)
class Arena:
    """The broker, what is measured, and where it is kept."""

    broker: Broker
    runs: Runs | Results
    extent: Extent
    contestants: tuple[Contestant, ...]
    seed: int = 1
    _worlds: Iterator[int] = field(default_factory=itertools.count)

    @property
    def workload(self) -> Workload:
        """The usual mix over the customers of this extent."""
        return Workload(customers=self.extent.customers, skew=self.extent.skew, seed=self.seed)

    def turns(
        self, repetitions: int, names: tuple[str, ...] = ()
    ) -> Iterator[tuple[int, Contestant]]:
        """Yield who is next: a random order, then the same backwards, then another one.

        `names` are those who take part; without them, everybody.
        """
        chance = Random(self.seed)
        order = [one for one in self.contestants if one.name in (names or {one.name})]
        for repetition in range(repetitions):
            if repetition % 2 == 0:
                chance.shuffle(order)
            for contestant in order if repetition % 2 == 0 else order[::-1]:
                yield repetition, contestant

    @contextmanager
    def world(self, contestant: Contestant, *, populated: bool = True) -> Iterator[World]:
        """Make the topics, and remove them and the states of the system on the way out."""
        prefix = f"px-{self.runs.token}-{next(self._worlds)}-{contestant.name}-"
        deployment = Deployment(self.broker.bootstrap_servers, prefix, journeys=JOURNEYS)
        folder = Path(tempfile.mkdtemp(prefix="orchestrator-px-"))
        try:
            deployment.create_topics()
            send_profiles(deployment)
            if populated:
                send_population(deployment, self.workload)
            yield World(contestant, deployment, folder)
        finally:
            deployment.delete_topics()
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def started(
        self, world: World, *, core: int | None = None, ready_seconds_max: float = 120.0
    ) -> Iterator[tuple[Running, float]]:
        """Start it, on one core if asked; yield its process and how long it took to answer."""
        with self.launched(world, core=core) as process:
            seconds = await_ready(process, world.deployment, seconds_max=ready_seconds_max)
            yield process, seconds

    @contextmanager
    def launched(self, world: World, *, core: int | None = None) -> Iterator[Running]:
        """Start the world's system without waiting for it."""
        program, arguments = world.contestant.program(world.deployment, world.folder)
        variables = world.contestant.variables(world.folder) | {"ORCHESTRATOR_SLOT": world.slot}
        with pinned(core):
            start = running(
                world.contestant.name,
                world.deployment,
                world.log,
                command=arguments,
                program=program,
                variables=variables,
            )
            process = start.__enter__()
        try:
            yield process
        finally:
            start.__exit__(None, None, None)

    def load(
        self, world: World, process: Running, rate: float, seconds: float, warm_up: float
    ) -> dict[str, Any]:
        """Send load and return the row; a run whose generator was late is made once more."""
        deployment = world.deployment
        row: dict[str, Any] = {}
        for attempt in range(1 + VOID_RETRIES):
            load = Load(
                deployment.bootstrap_servers,
                deployment.input_topic,
                rate,
                seconds,
                warm_up,
                Workload(self.extent.customers, skew=self.extent.skew, seed=self.seed + attempt),
            )
            row = measure(process, deployment, load, broker_pid=self.broker.pid)
            if row["valid"] or not row["sustained"]:
                break
        return row

    def warm_broker(self) -> None:
        """Let the broker compile what it needs: whoever came first would pay for it."""
        with self.world(CONTESTANTS["aiokafka-floor"]) as world, self.started(world) as (one, _):
            self.load(world, one, WARM_UP_RATE, self.extent.broker_warm_up_seconds, 0.0)

    def warm_up(self, world: World, process: Running) -> None:
        """Let a JVM compile what it needs; Python has nothing to warm but caches."""
        if world.contestant.is_jvm and self.extent.jvm_warm_up_seconds:
            self.load(world, process, WARM_UP_RATE, self.extent.jvm_warm_up_seconds, 0.0)
            # What a busy machine has left over must not be held against the first rate.
            drained(world.deployment, DRAIN_SECONDS_MAX)

    def verdict(self, world: World, **options: Any) -> Verdict:
        """Judge everything that was written since the world began."""
        return judge(world.deployment, seconds_max=self.extent.settle_seconds, **options)

    def keep(self, key: str, row: dict[str, Any], told: str) -> None:
        """Keep a row and say so."""
        self.runs.add(key, row)
        click.echo(f"{key:44} {told}")

    def failed(self, key: str, world: World | None, error: Exception) -> None:
        """Keep that a run could not be made, and why."""
        tail = (
            world.log.read_text(errors="replace")[-2_000:] if world and world.log.exists() else ""
        )
        reason = f"{type(error).__name__}: {str(error)[-400:]}"
        self.keep(
            key, {"skipped": reason, "failed": True, "log": tail}, f"not measured: {reason[-160:]}"
        )


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Let what is started inside inherit one core; nothing is pinned for None or on one core."""
    cores = os.sched_getaffinity(0)
    if core is None or len(cores) < 2 or core not in cores:
        yield
        return
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def pin_process(pid: int, cores: set[int]) -> None:
    """Move all threads of a process to some cores."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # A thread may end while we look.
            os.sched_setaffinity(int(thread.name), cores)


def drained(deployment: Deployment, seconds_max: float) -> bool:
    """Wait until the group has committed everything; return whether it has."""
    return owed(deployment, seconds_max) == 0


def owed(deployment: Deployment, seconds_max: float) -> int:
    """Wait until the group has committed everything; return how many records it still owes."""
    consumer = Consumer(
        {
            "bootstrap.servers": deployment.bootstrap_servers,
            "group.id": deployment.app_id,
            "enable.auto.commit": False,
            "log_level": 2,
        }
    )
    topic = deployment.input_topic
    places = [TopicPartition(topic, number) for number in range(deployment.partitions)]
    deadline = time.monotonic() + seconds_max
    try:
        while True:
            left = sum(
                consumer.get_watermark_offsets(place)[1] - max(0, place.offset)
                for place in consumer.committed(places)
            )
            if left <= 0 or time.monotonic() > deadline:
                return max(0, left)
            time.sleep(0.5)
    finally:
        consumer.close()
