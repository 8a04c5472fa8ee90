"""Bugs planted in a worker, one at a time: the judge must find each, or it proves nothing.

`python -m bench.crash.defects NAME` is `orchestrator worker` with that bug. Each is a mistake that
somebody could make, most of them a rule of the commit left out; it changes the running process
only. Beside it stand the faults that bring it to light, how much load that takes, and settings that
widen the moment in which it does harm. `python -m bench.crash --defect NAME` runs it.
"""

# A bug is planted where it hurts, by a name of its own, and only in the process that shall have it.
# ruff: noqa: PLC0415, SLF001, D401, BLE001

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.crash.guard_defects import GUARD_DEFECTS
from bench.crash.identity_defects import IDENTITY_DEFECTS
from bench.crash.plan import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BRIEF: Final = Size(events=1_500, customers=150, rate=150, pauses=())
"""For what goes wrong by itself."""
STEADY: Final = Size(events=9_000, customers=900, rate=120, pauses=())
"""For what needs a worker to be stopped or killed several times under load."""
QUIET: Final = Size(events=4_000, customers=600, rate=60, pauses=(0.2, 0.4, 0.6, 0.8))
"""For what happens when waits come due alone."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One bug: how it is planted, and what brings it to light."""

    plant: Callable[[], None]
    size: Size = BRIEF
    faults: tuple[str, ...] = ()
    long_transactions: bool = False
    """Whether the broker shall keep a sleeper's transaction open until it wakes up."""


def _put(owner: Any, name: str, replacement: Any) -> None:
    """Replace something that is there: a bug that is planted nowhere would be found nowhere."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name} any more: plant this bug anew")
    setattr(owner, name, replacement)


def launcher(name: str) -> tuple[str, ...]:
    """Return the command of a worker with that bug."""
    return (sys.executable, "-m", "bench.crash.defects", name)


def _offsets_first() -> None:
    """Offsets before the records are acknowledged: the fence is passed too early."""
    from orchestrator.runtime.producer import FencedProducer

    async def commit(self: Any, transaction: Any, group_id: str) -> None:
        reach = self._failpoint.reach
        reach("after_begin")
        await self._join(group_id)
        await self._send_offsets(transaction, group_id)
        reach("after_offsets")
        await self._write(transaction.outputs)
        await self._end()
        reach("after_end")

    _put(FencedProducer, "_commit", commit)


def _answers_not_read() -> None:
    """Records that the broker refuses are missing from a transaction that is committed."""
    from orchestrator.runtime.producer import FencedProducer

    async def forget(self: Any, unsent: dict[Any, Any]) -> None:
        with contextlib.suppress(Exception):
            await send(self, unsent)
        unsent.clear()

    send = FencedProducer._send_first
    _put(FencedProducer, "_send_first", forget)


def _generation_at_commit() -> None:
    """The group's generation is read when the offsets are sent, not when the batch was."""
    from orchestrator.runtime.producer import FencedProducer
    from orchestrator.runtime.shell import app as shells

    apps: list[Any] = []
    declare, send = shells._declare, FencedProducer._send_offsets

    def remember(app: Any, settings: Any, driver: Any) -> None:
        apps.append(app)
        declare(app, settings, driver)

    async def by_now(self: Any, transaction: Any, group_id: str) -> None:
        coordinator = apps[0].consumer._thread._ensure_consumer()._coordinator
        now = {"generation": coordinator.generation, "member": coordinator.member_id}
        await send(self, transaction._replace(**now), group_id)

    _put(shells, "_declare", remember)
    _put(FencedProducer, "_send_offsets", by_now)


def _unfenced() -> None:
    """Offsets without generation and member, as the older request sends them."""
    from orchestrator.runtime.producer import FencedProducer

    commit = FencedProducer._commit

    async def anonymous(self: Any, transaction: Any, group_id: str) -> None:
        await commit(self, transaction._replace(generation=-1, member=""), group_id)

    _put(FencedProducer, "_commit", anonymous)


def _waits_without_offsets() -> None:
    """A transaction that only fires waits names no offsets: nothing tells whose it is."""
    from orchestrator.runtime.producer import FencedProducer

    commit = FencedProducer._commit

    async def bare(self: Any, transaction: Any, group_id: str) -> None:
        if transaction.stats.events or transaction.takeover:
            await commit(self, transaction, group_id)
            return
        await self._write(transaction.outputs)
        await self._end()

    _put(FencedProducer, "_commit", bare)


def _failed_commit_ignored() -> None:
    """A transaction that failed counts as committed, and the worker goes on."""
    from orchestrator.runtime.producer import FencedProducer

    commit = FencedProducer.commit

    async def hopeful(self: Any, transaction: Any, group_id: str) -> None:
        try:
            await commit(self, transaction, group_id)
        except Exception:
            with contextlib.suppress(Exception):
                await self.stop()
                await self.start()  # Aborts what is open.

    _put(FencedProducer, "commit", hopeful)


def _takeover_too_early() -> None:
    """State is loaded while a former owner's transaction may still be committed."""
    from orchestrator.runtime.recovery import BulkLoader

    async def at_once(self: Any, changelogs: Any, committed: Any, uncommitted: Any) -> Any:
        del self, uncommitted
        return await committed.end_offsets(changelogs)

    _put(BulkLoader, "_stable_ends", at_once)


def _state_kept_by_a_stranger() -> None:
    """A worker that was given up keeps its state when it gets the partitions back."""
    from orchestrator.protocol.commit.machine import CommitMachine

    on_assigned = CommitMachine.on_assigned

    def trusting(self: Any, generation: int, member: str, homes: Any) -> Any:
        if self.homes:
            self.generation, self.member = generation - 1, member
        return on_assigned(self, generation, member, homes)

    _put(CommitMachine, "on_assigned", trusting)


def _waits_not_rebuilt() -> None:
    """After recovery nobody knows which waits are to come due."""
    from orchestrator.protocol.commit import partition
    from orchestrator.protocol.commit.held.waits import WaitIndex

    _put(partition, "WaitIndex", lambda _: WaitIndex())


def _restart_from_the_beginning() -> None:
    """Recovery forgets where it stood in the input, and relies on dedupe."""
    from orchestrator.protocol.commit import partition

    class Forgetful(partition.CustomerPartition):
        __slots__ = ()

        def __init__(self, index: int, loaded: Any, rounds: Any, *, monotonic_ms: int) -> None:
            meta = loaded.meta
            if meta is not None:
                from msgspec.structs import replace

                loaded = loaded._replace(meta=replace(meta, positions={}))
            super().__init__(index, loaded, rounds, monotonic_ms=monotonic_ms)

    from orchestrator.protocol.commit import machine

    _put(machine, "CustomerPartition", Forgetful)


def _read_uncommitted() -> None:
    """Input of aborted producer transactions has effects."""
    from orchestrator.runtime.shell import consumer

    client = consumer.AIOKafkaConsumer

    def careless(**options: Any) -> Any:
        return client(**options | {"isolation_level": "read_uncommitted"})

    _put(consumer, "AIOKafkaConsumer", careless)


def _no_dedupe() -> None:
    """A repeat is a new event."""
    from orchestrator.core import decide

    _put(decide, "seen_before", lambda *_: decide.Seen.NEW)
    _put(decide, "business_known", lambda *_: False)


def _colliding_ids() -> None:
    """The id of a command leaves out which enrollment and which cause it belongs to."""
    from orchestrator.core.rules import draft

    def short(customer: str, enrollment: str, cause: Any, instruction: Any) -> str:
        del cause
        journey = enrollment.partition("#")[0].partition("/")[0]
        return f"{customer}-{journey}-{instruction.step}-{instruction.type}"

    draft.command_id = short


def _no_exit_in_a_wait() -> None:
    """An exit is looked for only when a wait ends, as some of the market do."""
    from orchestrator.core import decide

    end_by_event = decide.end_by_event

    def lazy(draft: Any, event: Any, occurred_ms: int) -> None:
        standing = draft.enrollments
        draft.enrollments = tuple(one for one in standing if one.step is None)
        end_by_event(draft, event, occurred_ms)
        waiting = tuple(one for one in standing if one.step is not None)
        draft.enrollments = waiting + draft.enrollments

    _put(decide, "end_by_event", lazy)


def _no_fence() -> None:
    """Exits are not written to `fences`."""
    from orchestrator.protocol.commit.group import OpenGroup

    produce = OpenGroup._produce

    def without(self: Any, target: Any, output: Any) -> None:
        if target.topic != self._rules.names.fences:
            produce(self, target, output)

    _put(OpenGroup, "_produce", without)


def _dead_letters_dropped() -> None:
    """What cannot be read is skipped."""
    from orchestrator.protocol.commit.group import OpenGroup

    _put(OpenGroup, "_dead_letter", lambda *_: None)


def _sequence_not_stored() -> None:
    """The running number of a customer's commands lives in memory only."""
    from msgspec.structs import replace

    from orchestrator.protocol.commit import group

    encode = group.encode_customer
    _put(group, "encode_customer", lambda customer: encode(replace(customer, sequence=0)))


def _early_waits() -> None:
    """A wait fires up to a second before its time."""
    from orchestrator.protocol.commit.held.waits import WaitIndex

    pop_due = WaitIndex.pop_due
    _put(WaitIndex, "pop_due", lambda self, now_ms: pop_due(self, now_ms + 1_000))


PAUSED: Final = Size(events=5_000, customers=500, rate=40, pauses=())
"""For what needs pauses that last longer than anybody takes to hear of them."""

KIN: Final = Size(events=3_000, customers=150, rate=100, pauses=(), kin=0.5)
"""For what goes wrong between two ids, or after an erasure."""


def _planted(plant: Callable[[Any], None]) -> Callable[[], None]:
    return lambda: plant(_put)


DEFECTS: Final[Mapping[str, Defect]] = {
    "offsets-first": Defect(
        _offsets_first, STEADY, ("after_offsets:stop",), long_transactions=True
    ),
    "answers-not-read": Defect(_answers_not_read, STEADY, ("refuse",)),
    "generation-at-commit": Defect(_generation_at_commit, STEADY, ("after_decide:stop",)),
    "unfenced": Defect(_unfenced, STEADY, ("after_decide:stop",)),
    "waits-without-offsets": Defect(_waits_without_offsets, QUIET, ("timer_decided:stop",)),
    "failed-commit-ignored": Defect(_failed_commit_ignored, STEADY, ("refuse", "broker restart")),
    "takeover-too-early": Defect(
        _takeover_too_early, STEADY, ("after_offsets:stop",), long_transactions=True
    ),
    "state-kept-by-a-stranger": Defect(_state_kept_by_a_stranger, QUIET, ("stop",)),
    "waits-not-rebuilt": Defect(_waits_not_rebuilt, STEADY, ("kill",)),
    "restart-from-the-beginning": Defect(_restart_from_the_beginning, STEADY, ("kill",)),
    "read-uncommitted": Defect(_read_uncommitted),
    "no-dedupe": Defect(_no_dedupe),
    "colliding-ids": Defect(_colliding_ids),
    "no-exit-in-a-wait": Defect(_no_exit_in_a_wait),
    "no-fence": Defect(_no_fence),
    "dead-letters-dropped": Defect(_dead_letters_dropped),
    "sequence-not-stored": Defect(_sequence_not_stored),
    "early-waits": Defect(_early_waits),
    **{name: Defect(_planted(plant), PAUSED) for name, (plant, _) in GUARD_DEFECTS.items()},
    **{name: Defect(_planted(plant), KIN) for name, (plant, _) in IDENTITY_DEFECTS.items()},
}


def main() -> None:
    """Be a worker with the bug that the command line names."""
    defect = DEFECTS[sys.argv[1]]
    defect.plant()
    if defect.long_transactions:
        _keep_transactions_open()
    from orchestrator.cli import main as orchestrator

    sys.argv = ["orchestrator", "worker"]
    orchestrator()


def _keep_transactions_open() -> None:
    """Make the broker patient, which only widens the moment in which the bug does harm."""
    from orchestrator.runtime import driver

    class Patient(driver.FencedProducer):
        def __init__(self, *args: Any, transaction_timeout_ms: int, **options: Any) -> None:
            del transaction_timeout_ms
            super().__init__(*args, transaction_timeout_ms=60_000, **options)

    _put(driver, "FencedProducer", Patient)


if __name__ == "__main__":
    main()
