"""What happens in each row of the fault matrix that a rival can play: its load and its blow.

The numbers are those of `docs/faults.md`, where our own workers play the rows with a richer story.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bench.faults.feeds import poisons

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.events import Touch
    from bench.rivals.parts.faults import Stage

FIRST_BLOW_SECONDS: Final = 10.0
AFTER_SECONDS: Final = 15.0
OUTAGE_SECONDS: Final = 20.0
STORM_SECONDS: Final = 40.0
STORM_EVERY_SECONDS: Final = 5.0
REPEAT_NS: Final = 9_000_000_000
REUSE_NS: Final = 4_000_000_000
REUSED_ONE_IN: Final = 50
POISONED: Final = b"poisoned"
POISONED_EACH: Final = 4
# Those that no reader of such events can take for one; the matrix itself has more.
POISONS: Final = (
    "tombstone",
    "0 bytes",
    "half of it",
    "NaN",
    "not UTF-8",
    "wrong types",
    "no data",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One row: how many processes, how its load is changed, and what strikes meanwhile."""

    number: int
    name: str
    how: str
    strike: Callable[[Stage], None] = lambda _: None
    told: Callable[[list[Touch]], list[Touch]] = list
    processes: int = 1
    seconds: float = FIRST_BLOW_SECONDS + AFTER_SECONDS
    sessions: int = 0
    bad_records: bool = False

    def load_seconds(self, session_seconds: float) -> float:
        """Return how long the load lasts, with the sessions that have to run out in it."""
        return self.seconds + self.sessions * session_seconds


def zombie(stage: Stage) -> None:
    """Stop one of two; the fleet lets it go on when the group has given it up."""
    slot = stage.processes.slots[0]
    stage.at(FIRST_BLOW_SECONDS)
    stage.processes.signal(slot, signal.SIGSTOP, "past its session")
    asleep = stage.processes.stopped_seconds
    stage.at(FIRST_BLOW_SECONDS + asleep + AFTER_SECONDS)


def broker_deaths(stage: Stage) -> None:
    """Kill the broker and start it at once; later leave it dead for a while."""
    broker = stage.arena.broker.embedded
    if broker is None:
        raise RuntimeError("a broker that was given is not ours to kill")
    stage.at(FIRST_BLOW_SECONDS)
    broker.kill9()
    broker.start()
    time.sleep(FIRST_BLOW_SECONDS)
    broker.kill9()
    time.sleep(OUTAGE_SECONDS)
    broker.start()


def storm(stage: Stage) -> None:
    """End one of three every few seconds, kindly and not in turn."""
    struck = 0
    while time.monotonic() < stage.began + FIRST_BLOW_SECONDS + STORM_SECONDS:
        slot = stage.processes.slots[struck % len(stage.processes.slots)]
        kind = (signal.SIGTERM, signal.SIGKILL)[struck % 2]
        stage.processes.signal(slot, kind, "in the storm")
        struck += 1
        stage.at(FIRST_BLOW_SECONDS + struck * STORM_EVERY_SECONDS)


def told_twice(touches: list[Touch]) -> list[Touch]:
    """Return everything once more 9 s later, and some ids with another body."""
    again = [replace(one, intended_ns=one.intended_ns + REPEAT_NS) for one in touches]
    other = [
        replace(
            one,
            intended_ns=one.intended_ns + REUSE_NS,
            value=one.value.replace(b'"data":{', b'"data":{"note":"another body",'),
        )
        for one in touches[::REUSED_ONE_IN]
        if one.value is not None
    ]
    return sorted([*touches, *again, *other], key=lambda one: one.intended_ns)


def poisoned(touches: list[Touch]) -> list[Touch]:
    """Return the load with records among it that are no events, on keys of their own."""
    known, more = poisons(), []
    # A purchase, so that nobody passes it by for its type.
    known["wrong types"] = (known["wrong types"] or b"").replace(b"store.visited", b"purchase")
    first_ns = touches[0].intended_ns + int(FIRST_BLOW_SECONDS * 1e9)
    for number in range(POISONED_EACH * len(POISONS)):
        kind, key = POISONS[number % len(POISONS)], POISONED + b"-%d" % number
        value = known[kind]
        if value is not None:
            value = value.replace(POISONED, key).replace(b'"ID"', b'"' + key + b'"')
        instant_ns = first_ns + number * 200_000_000
        more.append(replace(touches[0], intended_ns=instant_ns, type=kind, key=key, value=value))
    return sorted([*touches, *more], key=lambda one: one.intended_ns)


def is_event(key: bytes | None, value: bytes | None) -> bool:
    """Return whether something is expected of a record: not of poison, nor of a reused id."""
    poison = value is None or (key or b"").startswith(POISONED)
    return not poison and b'"another body"' not in (value or b"")


FAULTS: Final = {
    one.number: one
    for one in (
        Fault(
            2,
            "zombie",
            "one of two processes stopped until its session has run out, then woken",
            strike=zombie,
            processes=2,
            seconds=FIRST_BLOW_SECONDS + AFTER_SECONDS + 5,
            sessions=1,
        ),
        Fault(
            4,
            "broker killed",
            "kill -9 of the only broker, started at once; again, and nothing for 20 s",
            strike=broker_deaths,
            seconds=60.0,
        ),
        Fault(
            6,
            "rebalance storm",
            "one of three processes ended every 5 s for 40 s, SIGTERM and SIGKILL in turn",
            strike=storm,
            processes=3,
            seconds=FIRST_BLOW_SECONDS + STORM_SECONDS + AFTER_SECONDS,
        ),
        Fault(
            13,
            "everything told twice",
            "all of it again after 9 s, with the same ids; every 50th id also with another body",
            told=told_twice,
            seconds=30.0,
        ),
        Fault(
            14,
            "poison",
            f"{POISONED_EACH} each of: {', '.join(POISONS)}",
            told=poisoned,
            bad_records=True,
            seconds=30.0,
        ),
    )
}
