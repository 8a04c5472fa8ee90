"""What is done to the workers and the broker while the load runs, drawn from the seed.

Two lanes work at the same time on slots of their own, so that a worker often dies while another
one is still taking over: `placed stops` puts workers to sleep at every failpoint, `placed kills`
ends them there, and between them come kills, stops, terminations, kills in a rebalance and in
recovery at random instants, and the broker's own deaths. When the load pauses, waits come due
without traffic, and workers are killed then too.
"""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bench.crash.fleet import Fleet, Slot
    from bench.crash.judge.history import Names
    from orchestrator.broker import EmbeddedBroker

IN_COMMIT: Final = (
    "after_decide",
    "after_begin",
    "after_produce",
    "after_acks",
    "after_offsets",
    "after_end",
    "timer_decided",
)
IN_TAKEOVER: Final = ("assigned", "recovery_started", "recovery_loaded", "revoked")
FAILPOINTS: Final = IN_COMMIT + IN_TAKEOVER
ACTIONS: Final = ("kill", "stop")
PLACED: Final = tuple(f"{name}:{action}" for name in FAILPOINTS for action in ACTIONS)
FREE: Final = (
    "kill",
    "stop",
    "term",
    "rebalance",
    "recovery",
    "everybody",
    "refuse",
    "broker kill",
)
"""Faults at an instant that nobody has placed.

A clean restart of the broker is done only when it is asked for by name: the only broker of a
cluster may note a commit as complete while it shuts down and never write its markers
(docs/runbooks.md), which is no fault of the worker. Killed with -9 it resumes the commit.
"""
NAMED: Final = (*FREE, "broker restart", *PLACED)
"""Every fault that can be asked for."""
READY_SECONDS: Final = 40.0
HIT_SECONDS: Final = 40.0
"""A restarted worker waits until its predecessor's session is over, and recovers, before that."""
REFUSED_SECONDS: Final = 4.0


def _interleaved(one: list[str], other: list[str]) -> list[str]:
    pairs = itertools.zip_longest(one, other)
    return [fault for pair in pairs for fault in pair if fault is not None]


class Faults:
    """Draws and does the faults of one run."""

    def __init__(
        self,
        fleet: Fleet,
        broker: EmbeddedBroker,
        names: Names,
        seed: int,
        reached: Collection[str] = (),
    ) -> None:
        """`reached` are placed faults that earlier seeds have met: the others come first."""
        self.fleet = fleet
        self.broker = broker
        self.broker_deaths = 0
        self._names = names
        self._seed = seed
        self._reached = frozenset(reached)
        self._over = threading.Event()
        self._pausing = threading.Event()
        self._broker_lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, only: Sequence[str] | None = None) -> None:
        """Begin. With `only`, the named faults are repeated one after the other until the end."""
        first, second, *rest = self.fleet.slots
        lanes: list[tuple[Slot, list[str], int]]
        if only is not None:
            lanes = [(first, list(only), self._seed)]
        else:
            stops, kills = self._turned(":stop"), self._turned(":kill")
            lanes = [
                (first, stops, self._seed),
                (second, _interleaved(kills, self._shuffled(FREE)), self._seed + 1),
            ]
        for slot, faults, seed in lanes:
            thread = threading.Thread(
                target=self._work, args=(slot, faults, random.Random(seed), only is not None, rest)
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let the faults at work end, begin no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if not self.broker.is_running():
            self.broker.start()

    def in_pause(self, *, pausing: bool) -> None:
        """Say that the load stands still, or goes on."""
        if not pausing:
            self._pausing.clear()
        elif not self._pausing.is_set():
            self._pausing.set()
            thread = threading.Thread(target=self._kill_in_silence)
            thread.start()
            self._threads.append(thread)

    def _work(
        self,
        slot: Slot,
        faults: list[str],
        dice: random.Random,
        repeat: bool,  # noqa: FBT001 - Threads take positions.
        rest: Sequence[Slot],
    ) -> None:
        queue = deque(faults)
        while queue:
            self._over.wait(dice.uniform(0.3, 2.5))
            ready = self._until(self._ready(slot), READY_SECONDS)
            if self._over.is_set():
                return
            if not ready:
                continue
            fault = queue.popleft()
            # The others are hit too, so that nobody's partitions are always safe.
            target = dice.choice([slot, slot, *rest]) if ":" not in fault else slot
            if not self._do(fault, target, dice) or repeat:
                # What was not met has another try before the end.
                queue.append(fault)

    def _turned(self, ending: str) -> list[str]:
        """Return the placed faults of a kind, beginning elsewhere with each seed.

        One run has not the time for all of them; three seeds in a row have, each beginning with
        what the ones before have not met.
        """
        placed = [fault for fault in PLACED if fault.endswith(ending)]
        begin = self._seed * len(placed) // 3 % len(placed)
        turned = placed[begin:] + placed[:begin]
        return sorted(turned, key=lambda fault: fault in self._reached)

    def _shuffled(self, faults: Sequence[str]) -> list[str]:
        return random.Random(self._seed).sample(faults, len(faults))

    def _do(self, fault: str, slot: Slot, dice: random.Random) -> bool:
        """Do a fault; False when it was placed and the worker did not come there."""
        name, _, action = fault.partition(":")
        if action:
            return self._placed(slot, name, action, dice)
        match name:
            case "kill":
                self.fleet.signal(slot, signal.SIGKILL, "at random")
            case "stop":
                self.fleet.signal(slot, signal.SIGSTOP, "at random")
            case "term":
                self.fleet.signal(slot, signal.SIGTERM, "at random")
            case "rebalance":
                self._kill_in_rebalance(slot, dice)
            case "recovery":
                self._kill_in_recovery(slot, dice)
            case "everybody":
                for one in self.fleet.slots:
                    self.fleet.signal(one, signal.SIGKILL, "all at once")
            case "refuse":
                self._refuse()
            case "broker kill":
                self._broker(self.broker.kill9, "kill -9")
            case "broker restart":
                self._broker(lambda: None, "clean restart")
            case _:
                raise ValueError(f"no such fault: {fault}")
        return True

    def _placed(self, slot: Slot, name: str, action: str, dice: random.Random) -> bool:
        """Restart a worker with a failpoint, and give it a reason to get there."""
        nth = dice.randrange(1, 25) if name in IN_COMMIT else 1
        if name == "revoked":
            nth = 2  # The first time is the worker's own joining, when it has nothing to lose.
        failpoint = f"{name}:{nth}:{action}"
        hits = self.fleet.diary.hits
        before = hits.get(f"{name}:{action}", 0)
        self.fleet.arm(slot, failpoint, dice.choice([signal.SIGKILL, signal.SIGTERM]))
        if name == "revoked" and self._until(self._ready(slot), READY_SECONDS):
            # Only a change of the group takes partitions away from a living worker.
            other = dice.choice([one for one in self.fleet.slots if one is not slot])
            self.fleet.signal(other, signal.SIGTERM, "for a rebalance")

        def is_over() -> bool:
            """Whether it was met, or the process that was to meet it died of something else."""
            met = hits.get(f"{name}:{action}", 0) > before
            return met or failpoint not in {slot.next_failpoint, slot.failpoint}

        self._until(is_over, HIT_SECONDS)
        if hits.get(f"{name}:{action}", 0) == before:
            self.fleet.note(slot.name, f"did not reach {failpoint}")
            return False
        # The sleeper is woken by the fleet; the next fault waits until it is back.
        self._until(lambda: slot.stopped_at is None, READY_SECONDS)
        return True

    def _kill_in_rebalance(self, slot: Slot, dice: random.Random) -> None:
        other = dice.choice([one for one in self.fleet.slots if one is not slot])
        self.fleet.signal(other, signal.SIGTERM, "for a rebalance")
        time.sleep(dice.uniform(0.0, 3.0))
        self.fleet.signal(slot, signal.SIGKILL, "in a rebalance")

    def _kill_in_recovery(self, slot: Slot, dice: random.Random) -> None:
        deaths = slot.deaths
        self.fleet.signal(slot, signal.SIGTERM, "to recover")
        self._until(lambda: slot.deaths > deaths and slot.process is not None, 5)
        time.sleep(dice.uniform(1.0, 5.0))
        self.fleet.signal(slot, signal.SIGKILL, "in recovery")

    def _broker(self, end: Callable[[], None], how: str) -> None:
        with self._broker_lock:
            self.fleet.note("broker", how)
            end()
            self.broker.restart()
            self.broker_deaths += 1
            self.fleet.note("broker", "is back")

    def _refuse(self) -> None:
        """Let the broker refuse the commands of a channel for a moment, as a full disk would."""
        topic = f"{self._names.commands_prefix}email"
        self.fleet.note("broker", f"refuses records of {topic}")
        self._set_largest(topic, "100")
        self._over.wait(REFUSED_SECONDS)
        self._set_largest(topic, "1048588")
        self.fleet.note("broker", "takes them again")

    def _set_largest(self, topic: str, size: str) -> None:
        with self._broker_lock:
            admin = AdminClient(
                {"bootstrap.servers": self.broker.bootstrap_servers, "log_level": 0}
            )
            entry = ConfigEntry(
                "max.message.bytes", size, incremental_operation=AlterConfigOpType.SET
            )
            resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
            for done in admin.incremental_alter_configs([resource]).values():
                done.result(60)

    def _kill_in_silence(self) -> None:
        """While nothing arrives and waits come due: one worker at once, another one later."""
        dice = random.Random(self._seed + 2)
        victims = dice.sample(self.fleet.slots, 2)
        self._over.wait(1.5)
        self.fleet.signal(victims[0], signal.SIGKILL, "with waits due and no traffic")
        self._over.wait(4.0)
        self.fleet.signal(victims[1], signal.SIGKILL, "with waits due and no traffic")

    def _ready(self, slot: Slot) -> Callable[[], bool]:
        return lambda: self.fleet.ready(slot)

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition; False when time or the run is over first."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._over.is_set():
            if condition():
                return True
            self._over.wait(0.1)
        return False
