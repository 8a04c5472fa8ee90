"""Bugs of the driver: requests of a commit in a wrong order, unfenced, or read too early.

They stand in the simulation's worker, which does what `orchestrator/runtime` does; `bench/crash`
plants the same in the runtime, on a real broker.
"""

# A bug is planted where it hurts, by a name of its own.
# ruff: noqa: D401

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.simulation.kafka import Broker, Log, RefusedError
from bench.simulation.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Put = Callable[[Any, str, Any], None]


def _offsets_first(put: Put) -> None:
    """Offsets go before the records: the fence is passed while nothing is seen to be open."""
    put(Worker, "order", ("begin", "offsets", "produce", "end"))


def _committed_before_produced(put: Put) -> None:
    """The transaction is ended, and then the records are written, in one without an end."""

    def anyhow(self: Any, writer: str, epoch: int, place: Any, outputs: Any) -> None:
        del epoch, writer
        for output in outputs:
            self.logs[place].append(output, self.now_ms)

    put(Worker, "order", ("begin", "offsets", "end", "produce"))
    put(Broker, "produce", anyhow)


def _records_not_awaited(put: Put) -> None:
    """A record that the broker refuses is missing from a transaction that is committed."""
    produce = Broker.produce

    def forget(self: Any, writer: str, epoch: int, place: Any, outputs: Any) -> None:
        few = outputs[:-1] if len(outputs) > 1 and self.now_ms % 7 == 0 else outputs
        produce(self, writer, epoch, place, few)

    put(Broker, "produce", forget)


def _unfenced(put: Put) -> None:
    """Offsets are sent without generation and member, as the older request has it."""

    def anonymous(self: Any, writer: str, epoch: int, transaction: Any) -> None:
        self.broker.commit_offsets(writer, epoch, transaction.offsets, None)

    put(Worker, "send_offsets", anonymous)


def _generation_at_commit(put: Put) -> None:
    """Generation and member are read when the offsets are sent, not when the batch was read."""

    def now(self: Any, writer: str, epoch: int, transaction: Any) -> None:
        group = self.broker.group
        self.broker.commit_offsets(
            writer, epoch, transaction.offsets, (group.generation, self.member)
        )

    def wake(self: Any) -> None:
        """Join again at once, as the group's own thread does behind the worker's back."""
        group = self.broker.group
        if self.member is not None and self.member not in group.members:
            self.member = group.join(self.slot, self.broker.now_ms)

    commit = Worker.do_commit

    def behind(self: Any, amount: int) -> str:
        wake(self)
        return commit(self, amount)

    put(Worker, "send_offsets", now)
    put(Worker, "do_commit", behind)


def _failed_commit_ignored(put: Put) -> None:
    """A transaction that was refused counts as committed, and the worker goes on."""
    commit = Worker.do_commit

    def hopeful(self: Any, amount: int) -> str:
        try:
            return commit(self, amount)
        except RefusedError:
            self.calls.clear()
            self.epochs = [self.broker.initialise(writer) for writer in self.writers]
            self.committed()
            return "was refused, and goes on"

    put(Worker, "do_commit", hopeful)


def _takeover_too_early(put: Put) -> None:
    """State is loaded while a former owner's transaction may still be committed."""
    put(Worker, "stand_before", lambda *_: None)


def _recovery_reads_uncommitted(put: Put) -> None:
    """A changelog is read with what was never committed."""
    put(Worker, "changelog", lambda _, log: log.uncommitted())


def _input_reads_uncommitted(put: Put) -> None:
    """Input of aborted transactions has effects."""

    def careless(self: Any, start: int) -> Any:
        return (record for record in self.records[start : self.stable_end] if record is not None)

    put(Log, "committed", careless)


def _deaf_to_control(put: Put) -> None:
    """What is paused is read at the start, and never again."""
    read = Worker.read_control

    def once(self: Any) -> None:
        if not self.machine.homes:
            read(self)

    put(Worker, "read_control", once)


def _queue_outlives_a_rebalance(put: Put) -> None:
    """What is decided is thrown away when partitions are revoked; what is open is not committed."""
    revoke = Worker.revoke

    def lose(self: Any) -> None:
        revoke(self)
        self.machine._open = None  # noqa: SLF001
        self.machine._touched, self.machine._moved = set(), {}  # noqa: SLF001

    put(Worker, "revoke", lose)


DRIVER: Final[Mapping[str, Callable[[Put], None]]] = {
    "offsets-first": _offsets_first,
    "committed-before-produced": _committed_before_produced,
    "records-not-awaited": _records_not_awaited,
    "unfenced": _unfenced,
    "generation-at-commit": _generation_at_commit,
    "failed-commit-ignored": _failed_commit_ignored,
    "takeover-too-early": _takeover_too_early,
    "recovery-reads-uncommitted": _recovery_reads_uncommitted,
    "input-reads-uncommitted": _input_reads_uncommitted,
    "deaf-to-control": _deaf_to_control,
    "group-dropped-state-kept": _queue_outlives_a_rebalance,
}
