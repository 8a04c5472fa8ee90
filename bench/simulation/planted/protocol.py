"""Bugs of the state machine: forgotten at recovery, kept too long, sent twice or not at all.

Each replaces one function of `orchestrator/protocol` by one that somebody could have written.
"""

# A bug is planted where it hurts, by a name of its own.
# ruff: noqa: D401, SLF001

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from orchestrator.core import decide
from orchestrator.core.customer import Cause
from orchestrator.core.decision import Moved
from orchestrator.core.rules import enroll
from orchestrator.protocol.commit import group, partition
from orchestrator.protocol.commit.clock import PartitionClock
from orchestrator.protocol.commit.group import OpenGroup
from orchestrator.protocol.commit.held.waits import WaitIndex
from orchestrator.protocol.commit.machine import CommitMachine
from orchestrator.protocol.commit.rounds import RESUMED, Cursor, Rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Put = Callable[[Any, str, Any], None]


def _loaded_with(put: Put, **said: Callable[[Any], Any]) -> None:
    """Let recovery read a meta record that says something else."""
    loaded = CommitMachine.on_loaded

    def forgetful(self: Any, generation: int, index: int, found: Any, clocks: Any) -> None:
        if found.meta is not None:
            changes = {name: change(found.meta) for name, change in said.items()}
            found = found._replace(meta=replace(found.meta, **changes))
        loaded(self, generation, index, found, clocks)

    put(CommitMachine, "on_loaded", forgetful)


def _waits_without_offsets(put: Put) -> None:
    """A transaction that only fires waits names no offsets: nothing tells whose it is."""
    begin = CommitMachine._begin

    def bare(self: Any, open_group: Any, offsets: Any, takeover: Any) -> Any:
        transaction = begin(self, open_group, offsets, takeover)
        if not takeover and not open_group.stats.events:
            self.in_flight = transaction._replace(offsets={})
        return self.in_flight

    put(CommitMachine, "_begin", bare)


def _state_kept_by_a_stranger(put: Put) -> None:
    """A worker that was given up keeps its state when it gets the partitions back."""
    assigned = CommitMachine.on_assigned

    def trusting(self: Any, generation: int, member: str, homes: Any) -> Any:
        if self.homes:
            self.generation, self.member = generation - 1, member
        return assigned(self, generation, member, homes)

    put(CommitMachine, "on_assigned", trusting)


def _waits_not_rebuilt(put: Put) -> None:
    """After recovery nobody knows which waits are to come due."""
    put(partition, "WaitIndex", lambda _: WaitIndex())


def _positions_forgotten(put: Put) -> None:
    """Recovery forgets where it stood in the input, and relies on dedupe."""
    _loaded_with(put, positions=lambda _: {})


def _positions_behind(put: Put) -> None:
    """Recovery starts from the group's offsets as they stood one record before."""
    _loaded_with(
        put,
        positions=lambda meta: {t: max(0, at - 1) for t, at in meta.positions.items()},
    )


def _rounds_forgotten(put: Put) -> None:
    """How far a time table's round was is not read at recovery."""
    _loaded_with(put, rounds=lambda _: {})


def _resume_taken_as_done(put: Put) -> None:
    """After a takeover nobody is visited any more whom a pause had held."""
    _loaded_with(put, rounds=lambda meta: {**meta.rounds, RESUMED: Cursor(10_000)})

    def never(self: Any) -> bool:
        cursor = self._cursors.get(RESUMED)
        held = 0 if cursor is None else cursor.version
        return bool(held < self._journeys.pauses.revision)

    put(Rounds, "_is_resuming", never)


def _clock_starts_over(put: Put) -> None:
    """The clock of a partition starts from nothing with each owner."""
    _loaded_with(put, clock_ms=lambda _: 0)
    put(PartitionClock, "observe", lambda *_, **__: False)


def _cursor_not_moved(put: Put) -> None:
    """A round's cursor is written when the round begins, and not again until its end."""
    visit = Rounds.next_visit

    def lazily(self: Any, customers: Any, paused: Any, now_ms: int) -> Any:
        before = dict(self._cursors)
        found = visit(self, customers, paused, now_ms)
        for name, cursor in self._cursors.items():
            known = before.get(name)
            if cursor.after is not None and known is not None and known.after is not None:
                self._cursors[name] = known
        return found

    def again(draft: Any, plan: Any, occurred_ms: int) -> None:
        """Enter whoever is visited; nobody remembers the time."""
        enroll._try(draft, plan, Cause("/orchestrator", f"{plan.name}@{occurred_ms}"), occurred_ms)

    put(Rounds, "next_visit", lazily)
    put(decide, "enter_at", again)


def _visits_skipped(put: Put) -> None:
    """A round goes on one customer too far behind a takeover."""
    start = Rounds._start

    def beyond(self: Any, name: str, cursor: Any, customers: Any, now_ms: int) -> None:
        behind = sorted(one for one in customers if one > (cursor.after or b"\xff"))
        if behind:
            cursor = replace(cursor, after=behind[0])
        start(self, name, cursor, customers, now_ms)

    put(Rounds, "_start", beyond)


def _newcomers_passed_by(put: Put) -> None:
    """A round visits who has a state; whoever has come in the open group has none yet."""
    put(OpenGroup, "customers", lambda _, home: home.states)


def _early_waits(put: Put) -> None:
    """A wait is taken from the index up to a second before its time."""
    pop = WaitIndex.pop_due
    put(WaitIndex, "pop_due", lambda self, now_ms: pop(self, now_ms + 1_000))


def _early_by_a_fast_clock(put: Put) -> None:
    """The clock of a partition runs eight seconds ahead of what it has read."""
    now = PartitionClock.now_ms
    put(PartitionClock, "now_ms", lambda self, monotonic_ms: now(self, monotonic_ms) + 8_000)


def _waits_twice(put: Put) -> None:
    """A wait stays in the index when it is fired, until there is another one."""
    replace_wait = WaitIndex.set

    def peek(self: Any, now_ms: int) -> Any:
        due_ms = self.next_due_ms()
        return None if due_ms is None or due_ms > now_ms else (self._heap[0][1], due_ms)

    def keep(self: Any, customer: bytes, due_ms: int | None) -> None:
        if due_ms is not None:
            replace_wait(self, customer, due_ms)

    put(WaitIndex, "pop_due", peek)
    put(WaitIndex, "set", keep)


def _wait_of_a_wait_lost(put: Put) -> None:
    """The next wait of somebody whose wait was over is not indexed."""
    keep = OpenGroup._keep

    def forget(self: Any, home: Any, customer_id: bytes, decision: Any, effects: Any) -> None:
        keep(self, home, customer_id, decision, effects)
        if decision.commands and isinstance(decision.entries[-1], Moved):
            home.waits.set(customer_id, None)

    put(OpenGroup, "_keep", forget)


def _sequence_not_stored(put: Put) -> None:
    """The running number of a customer's commands lives in memory only."""
    encode = group.encode_customer
    put(group, "encode_customer", lambda customer: encode(replace(customer, sequence=0)))


def _dedupe_not_stored(put: Put) -> None:
    """Which events a customer has had lives in memory only."""
    encode = group.encode_customer
    put(group, "encode_customer", lambda one: encode(replace(one, seen=b"", business=b"")))


def _state_left_out(put: Put) -> None:
    """Of several customers that changed in a group, the last one's state is not written."""
    seal = OpenGroup.seal_states

    def all_but_one(self: Any, homes: Any) -> None:
        if len(self._customers) > 2:
            self._customers.popitem()
        seal(self, homes)

    put(OpenGroup, "seal_states", all_but_one)


def _group_begins_from_the_log(put: Put) -> None:
    """Within a group every input meets the state from before the group."""

    def stale(_: Any, home: Any, customer_id: bytes) -> Any:
        value = home.states.get(customer_id)
        if value is None:
            return group.Customer(customer_id.decode())
        return group.decode_customer(value)

    put(OpenGroup, "_customer", stale)


def _forward_dropped(put: Put) -> None:
    """What is not at home is skipped."""
    put(OpenGroup, "_forward", lambda *_: None)


def _forwarded_twice(put: Put) -> None:
    """What is not at home is sent home once for each fetch that has met it; here twice."""
    forward = OpenGroup._forward

    def doubly(self: Any, intake: Any, customer_id: bytes) -> None:
        forward(self, intake, customer_id)
        forward(self, intake, customer_id)

    put(OpenGroup, "_forward", doubly)


def _decided_where_it_stands(put: Put) -> None:
    """Nobody asks whether a customer is at home on a partition of customers."""
    put(OpenGroup, "_is_home", lambda _, home, __: home is not None)


def _dead_letters_dropped(put: Put) -> None:
    """What cannot be read is skipped."""
    put(OpenGroup, "_dead_letter", lambda *_: None)


def _log_without_command(put: Put) -> None:
    """The last of several commands of a decision stands in the log, and on no topic."""
    effects = group.effects_of

    def fewer(rules: Any, home: int, decision: Any, cause: Any) -> Any:
        if len(decision.commands) > 1:
            decision = replace(decision, commands=decision.commands[:-1])
        return effects(rules, home, decision, cause)

    put(group, "effects_of", fewer)


def _command_without_log(put: Put) -> None:
    """What a due wait sends is not told to the journey log."""
    effects = group.effects_of

    def silent(rules: Any, home: int, decision: Any, cause: Any) -> Any:
        found = effects(rules, home, decision, cause)
        if type(cause).__name__ == "TimerCause":
            return [one for one in found if one[0].topic != rules.names.journey_log]
        return found

    put(group, "effects_of", silent)


def _no_fence(put: Put) -> None:
    """Exits are not written to `fences`."""
    effects = group.effects_of

    def without(rules: Any, home: int, decision: Any, cause: Any) -> Any:
        return effects(rules, home, replace(decision, fence=None), cause)

    put(group, "effects_of", without)


def _late_events_dropped(put: Put) -> None:
    """An event of an id that was absorbed is forgotten."""
    put(OpenGroup, "_send_on", lambda *_: None)


def _notices_not_sent_on(put: Put) -> None:
    """A merge that was asked of an absorbed id is forgotten."""
    put(OpenGroup, "_send_notice_on", lambda *_: None)


def _queue_kept_at_a_rebalance(put: Put) -> None:
    """What was read before a rebalance is decided after it."""
    put(CommitMachine, "_drop_queue", lambda _: None)


PROTOCOL: Final[Mapping[str, Callable[[Put], None]]] = {
    "waits-without-offsets": _waits_without_offsets,
    "state-kept-by-a-stranger": _state_kept_by_a_stranger,
    "waits-not-rebuilt": _waits_not_rebuilt,
    "positions-forgotten": _positions_forgotten,
    "positions-behind": _positions_behind,
    "rounds-forgotten": _rounds_forgotten,
    "resume-taken-as-done": _resume_taken_as_done,
    "clock-starts-over": _clock_starts_over,
    "cursor-not-moved": _cursor_not_moved,
    "visits-skipped": _visits_skipped,
    "newcomers-passed-by": _newcomers_passed_by,
    "early-waits": _early_waits,
    "fast-clock": _early_by_a_fast_clock,
    "waits-twice": _waits_twice,
    "next-wait-lost": _wait_of_a_wait_lost,
    "sequence-not-stored": _sequence_not_stored,
    "dedupe-not-stored": _dedupe_not_stored,
    "state-left-out": _state_left_out,
    "group-meets-old-state": _group_begins_from_the_log,
    "forward-dropped": _forward_dropped,
    "forwarded-twice": _forwarded_twice,
    "decided-away-from-home": _decided_where_it_stands,
    "dead-letters-dropped": _dead_letters_dropped,
    "log-without-command": _log_without_command,
    "command-without-log": _command_without_log,
    "no-fence": _no_fence,
    "late-events-dropped": _late_events_dropped,
    "notices-not-sent-on": _notices_not_sent_on,
    "queue-kept-at-a-rebalance": _queue_kept_at_a_rebalance,
}
