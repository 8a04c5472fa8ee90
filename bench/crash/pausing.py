"""Who pauses what when, and says so: `orchestrator pause` and `resume` in the middle of a run.

`script` is the seed's; `Pausing` tells it, partly with the verbs that people use, partly as other
programs write the topic. Pauses overlap, kill or hold, and concern everything, a journey, a channel
or an offer; at the end nothing is paused.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Producer

from bench.crash.load import producing
from bench.crash.plan import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.crash.plan import Size

BY: Final = "eva@shop.example"
SCOPES: Final = (
    "journey/cart_rescue",
    "channel/email",
    "offer/season15",
    "global",
    "journey/browse_reminder",
    "channel/web",
    "offer/early_look",
    "channel/sms",
)
BY_HAND: Final = frozenset({"global", "journey/cart_rescue"})
"""Said with `orchestrator pause` and `resume`, each a process that takes a second of a core."""
# A verb waits for the broker, which may be dead; then it is said again.
ATTEMPTS: Final = 12
ATTEMPT_SECONDS: Final = 20.0
AGAIN_SECONDS: Final = 2.0
DELIVERY_SECONDS: Final = 130.0


@dataclass(frozen=True, slots=True)
class Said:
    """One word on a pause. `at_ms` counts from the start of the load."""

    at_ms: int
    scope: str
    paused: bool
    kill: bool = False
    transactional: bool = False

    @property
    def reason(self) -> str:
        """Why: everybody reads it in the journey log."""
        return f"{'wrong' if self.paused else 'right again'} at {self.at_ms} ms"

    def as_json(self, at: str) -> dict[str, Any]:
        """Return the record of the topic; `at` is when it is said."""
        said = {"scope": self.scope, "paused": self.paused, "kill": self.kill, "by": BY}
        said |= {"reason": self.reason, "at": at}
        return said | ({"transactional": True} if self.transactional else {})

    def command(self) -> tuple[str, ...]:
        """Return the command line that says it."""
        verb = (sys.executable, "-m", "orchestrator", "pause" if self.paused else "resume")
        options = ["--by", BY, "--reason", self.reason]
        if self.paused:
            # Nobody has published these journeys: the workers read them from a folder.
            options += ["--force"]
            options += ["--kill"] if self.kill else []
            options += ["--transactional"] if self.transactional else []
        return (*verb, *self.scope.split("/"), *options)


def script(seed: int, size: Size) -> list[Said]:
    """Return all words on pauses, in order."""
    dice = random.Random(seed)
    scopes = dice.sample(SCOPES, len(SCOPES))
    every_ms = size.seconds * 1_000 / (len(scopes) + 1)
    said = []
    for number, scope in enumerate(scopes):
        begin_ms = int(every_ms * (number + dice.uniform(0.3, 1.0)))
        end_ms = begin_ms + int(every_ms * dice.uniform(0.8, 1.4))
        kill = dice.random() < 0.3
        transactional = scope.startswith(("global", "channel")) and dice.random() < 0.5
        said.append(Said(begin_ms, scope, True, kill, transactional))
        if not kill and dice.random() < 0.25:
            # What held first drops now.
            middle_ms = (begin_ms + end_ms) // 2
            said.append(Said(middle_ms, scope, True, True, transactional))
        said.append(Said(end_ms, scope, paused=False))
    return sorted(said, key=lambda one: one.at_ms)


class Pausing:
    """Says a script to the workers of a run, and does not leave before all is resumed."""

    def __init__(
        self, environment: Mapping[str, str], said: list[Said], note: Callable[[str, str], None]
    ) -> None:
        self.told = 0
        self._environment = {**os.environ, **environment}
        self._script = said
        self._note = note
        self._thread = threading.Thread(target=self._run, name="pausing")
        self._started = 0.0
        self._over = threading.Event()
        self._paused: set[str] = set()

    def start(self, started: float) -> None:
        """Begin; `started` is the monotonic instant at which the load begins."""
        self._started = started
        self._thread.start()

    def finish(self) -> None:
        """Pause nothing more, and wait until everything is resumed."""
        self._over.set()
        self._thread.join()
        if self._paused:
            raise RuntimeError(f"still paused: {sorted(self._paused)}")

    def _run(self) -> None:
        for said in self._script:
            self._over.wait(max(0.0, self._started + said.at_ms / 1000 - time.monotonic()))
            if said.paused and not self._over.is_set():
                self._paused.add(said.scope)
            elif said.paused or said.scope not in self._paused:
                continue
            what = ("kill" if said.kill else "pause") if said.paused else "resume"
            if said.scope in BY_HAND:
                self._say(said, what)
            else:
                self._write(said)
            if not said.paused:
                self._paused.discard(said.scope)
            self.told += 1
            self._note("control", f"{what} {said.scope}")

    def _write(self, said: Said) -> None:
        """Write the record of the topic as any program may."""
        producer = Producer(producing(self._environment["ORCHESTRATOR_BOOTSTRAP_SERVERS"]))
        topic = f"{self._environment['ORCHESTRATOR_TOPIC_PREFIX']}control"
        value = json.dumps(said.as_json(rfc3339(time.time_ns() // 1_000_000)))
        refused: list[object] = []
        producer.produce(
            topic,
            key=said.scope,
            value=value,
            on_delivery=lambda error, _: refused.append(error) if error else None,
        )
        if producer.flush(DELIVERY_SECONDS) or refused:
            raise RuntimeError(f"{said.scope} could not be written: {refused}")

    def _say(self, said: Said, what: str) -> None:
        for _ in range(ATTEMPTS):
            try:
                done = subprocess.run(
                    said.command(),
                    env=self._environment,
                    check=False,
                    capture_output=True,
                    text=True,
                    timeout=ATTEMPT_SECONDS,
                )
            except subprocess.TimeoutExpired:
                continue
            # An attempt that nobody heard the answer of may have been written.
            if done.returncode == 0 or "is not paused" in done.stderr + done.stdout:
                return
            time.sleep(AGAIN_SECONDS)
        raise RuntimeError(f"{what} {said.scope} could not be said")
