"""The open group: inputs are decided as they arrive, and their effects wait here for one commit.

The machine feeds it records, due waits and visits of its partitions; `seal` turns what it holds
into a `Transaction`. Everything is encoded here, so nothing can fail between begin and end but the
broker.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.core.customer import Customer, oldest_removal_ms
from orchestrator.core.decide import decide
from orchestrator.core.decision import Decision, Outcome
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.event import Event, TimerFired, Visit
from orchestrator.core.identity.addresses import (
    claims_after,
    decode_claims,
    encode_claims,
    shared_by,
)
from orchestrator.core.identity.asking import sent_on
from orchestrator.core.identity.notices import AddressClaimed
from orchestrator.errors import EventRejected, InvariantViolated
from orchestrator.metrics import RESUMED, GroupStats
from orchestrator.protocol import codec, inputs, outputs
from orchestrator.protocol.causes import notice_cause
from orchestrator.protocol.commit.effects import effects_of, is_own_end, notice_record
from orchestrator.protocol.commit.intake import Intake, intake_of
from orchestrator.protocol.commit.transaction import Output, SourceRecord, TopicPartition
from orchestrator.protocol.forward.notices import is_notice, read_notice
from orchestrator.protocol.forward.way import Forward, forward_headers
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.outputs import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.core.event import Resumed
    from orchestrator.core.identity.notices import AddressShared, MergeAsked, Notice, StateMoved
    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.commit.names import TopicNames
    from orchestrator.protocol.commit.partition import CustomerPartition

# An event can be copied into the trigger of several enrollments; below this many times its size
# plus slack the state cannot reach its bound, and needs no measuring.
_GROWTH_FACTOR: Final = 32
_GROWTH_SLACK_BYTES: Final = 16_384
# The broker's default for a record is 1,048,588 bytes with headers; our topics allow no less.
OUTPUT_BYTES_MAX: Final = 1_000_000
# How often a record is sent on: once to its home, and once for each merge of its customer.
HOPS_MAX: Final = 16
# After so long the network has its turn: what others write can take much longer than an event.
SLICE_SECONDS: Final = 0.02


class Limits(NamedTuple):
    """What one event and one customer may take; bytes."""

    event_bytes_max: int
    state_bytes_max: int


class GroupBounds(NamedTuple):
    """How much one transaction may carry: inputs, bytes of output, due waits and visits together.

    What time brings has a smaller bound of its own, because it may bring everybody at once: a
    purchase waits for the transaction in flight. `beside_max` is the one while events come.
    """

    records_max: int
    bytes_max: int
    timed_max: int
    beside_max: int


class Rules(NamedTuple):
    """What every decision of a worker has in common. `stopwatch` returns seconds.

    `mappings` are by topic: what makes events of other teams' records.
    """

    journeys: Journeys
    names: TopicNames
    limits: Limits
    stopwatch: Callable[[], float]
    mappings: Mapping[str, inputs.Mapping] = MappingProxyType({})


class _Known:
    """Customers with a state and without one yet. Not a list: there may be a million of them."""

    __slots__ = ("_home", "_in_group")

    def __init__(
        self, home: CustomerPartition, in_group: Mapping[tuple[int, bytes], Customer]
    ) -> None:
        self._home = home
        self._in_group = in_group

    def __iter__(self) -> Iterator[bytes]:
        states = self._home.states
        new = (one for index, one in self._in_group if index == self._home.index)
        return chain(states, (one for one in new if one not in states))


class OpenGroup:
    """Effects of decided inputs that are not yet in a transaction."""

    __slots__ = (
        "_claims",
        "_customers",
        "_rules",
        "_size_bounds",
        "bytes",
        "inputs",
        "outputs",
        "stats",
    )

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._customers: dict[tuple[int, bytes], Customer] = {}
        self._claims: dict[tuple[int, bytes], tuple[str, ...]] = {}
        self._size_bounds: dict[tuple[int, bytes], int] = {}
        self.outputs: dict[TopicPartition, list[Output]] = defaultdict(list)
        self.stats = GroupStats()
        self.inputs = 0
        self.bytes = 0

    def add_record(
        self,
        home: CustomerPartition | None,
        source: TopicPartition,
        record: SourceRecord,
        *,
        now_ms: int,
    ) -> None:
        """Decide one record, or send it home, or to the dead letters.

        `home` is the owned partition of customers with this index; None for an input partition
        that is nobody's home.
        """
        self.inputs += 1
        forwarded = source.topic == self._rules.names.forward
        intake = intake_of(source, record, now_ms=now_ms, forwarded=forwarded)
        if (mapping := self._rules.mappings.get(source.topic)) is not None:
            self._map(mapping, intake)
            return
        if forwarded and is_notice(record.headers):
            self._take_notice(home, intake)
            return
        try:
            event = codec.decode_event(
                record.key,
                record.value,
                record.headers,
                event_bytes_max=self._rules.limits.event_bytes_max,
                forwarded=forwarded,
                record_time_ms=intake.way.origin.time_ms,
            )
        except EventRejected as rejected:
            self._dead_letter(intake, rejected.reason, rejected.detail)
            return
        # What was sent on stands under the id of the survivor.
        customer_id = (record.key if forwarded else None) or event.subject.encode()
        if home is not None and self._is_home(home, customer_id):
            self._decide_event(home, intake, event, customer_id)
        elif forwarded:
            detail = "the subject is not at home on the partition it was forwarded to"
            self._dead_letter(intake, codec.PARTITIONER_MISMATCH, detail)
        else:
            self._forward(intake, customer_id)

    def _map(self, mapping: inputs.Mapping, intake: Intake) -> None:
        """Send home the events that another team's record becomes."""
        record = intake.record
        try:
            events = mapping.events(intake.source, record)
        except EventRejected as rejected:
            self._dead_letter(intake, rejected.reason, rejected.detail)
            return
        if not events:
            self.stats.ignored(mapping.name)
            return
        way = Forward(intake.way.origin, hops=1, original=intake.written)
        for event in events:
            self._send_home(Output(event.customer_id, event.value, event.headers), way)
            self.bytes += len(record.value or b"")  # It travels along, in a header.
        self.stats.forwarded("input")

    def add_wait(
        self, home: CustomerPartition, customer_id: bytes, *, due_ms: int, now_ms: int
    ) -> None:
        """Decide a customer's waits that have come due."""
        self.inputs += 1
        started = self._rules.stopwatch()
        customer = self._customer(home, customer_id)
        decision = decide(self._rules.journeys, customer, TimerFired(due_ms), now_ms)
        if decision.outcome is not Outcome.APPLIED or (
            decision.wake_at_ms is not None and decision.wake_at_ms <= due_ms
        ):
            raise InvariantViolated(
                f"partition {home.index}: a wait due at {due_ms} is still due after it was decided"
            )
        seconds = self._rules.stopwatch() - started
        self.stats.wait_decided(decision, late_ms=now_ms - due_ms, seconds=seconds)
        effects = effects_of(self._rules, home.index, decision, outputs.timer_cause(due_ms))
        self._keep(home, customer_id, decision, effects)

    def add_visit(
        self, home: CustomerPartition, customer_id: bytes, visit: Visit | Resumed, *, now_ms: int
    ) -> None:
        """Decide a visit; one that changes nothing leaves no trace but the cursor."""
        self.inputs += 1
        started = self._rules.stopwatch()
        customer = self._customer(home, customer_id)
        if customer.merged_into is not None:
            return  # They are visited under the id that they have now.
        decision = decide(self._rules.journeys, customer, visit, now_ms)
        seconds = self._rules.stopwatch() - started
        journey = visit.journey if isinstance(visit, Visit) else RESUMED
        self.stats.visited(journey, decision, seconds=seconds)
        if decision.customer is customer:
            return
        effects = effects_of(self._rules, home.index, decision, outputs.visit_cause(visit))
        self._keep(home, customer_id, decision, effects)

    def customers(self, home: CustomerPartition) -> Iterable[bytes]:
        """Return who is known on a partition, those included who have come in this group."""
        return _Known(home, self._customers)

    def seal_states(self, homes: Mapping[int, CustomerPartition]) -> None:
        """Encode every changed customer once, into its partition and into the changelog."""
        changelog = self._rules.names.changelog
        for (index, customer_id), customer in self._customers.items():
            value = encode_customer(customer)
            homes[index].contents.put(customer_id, value, oldest_removal_ms(customer))
            self.stats.state_written(len(value))
            self._produce(TopicPartition(changelog, index), Output(customer_id, value))
        for (index, key), claims in self._claims.items():
            claimed = encode_claims(claims) if claims else None
            homes[index].contents.put_index(key, claimed)
            self._produce(TopicPartition(changelog, index), Output(key, claimed))
        self._customers = {}
        self._claims = {}

    def produce_meta(self, index: int, key: bytes, value: bytes) -> None:
        """Add a record about a partition to its changelog."""
        self._produce(TopicPartition(self._rules.names.changelog, index), Output(key, value))

    def _is_home(self, home: CustomerPartition | None, customer_id: bytes) -> bool:
        if home is None:
            return False
        # Whoever has state here was found to be at home before; hashing is the slower way.
        return (
            customer_id in home.states
            or home_partition(customer_id, self._rules.names.partitions) == home.index
        )

    def _decide_event(
        self, home: CustomerPartition, intake: Intake, event: Event, customer_id: bytes
    ) -> None:
        started = self._rules.stopwatch()
        customer = self._customer(home, customer_id)
        decision = decide(self._rules.journeys, customer, event, intake.now_ms)
        if decision.outcome is Outcome.MOVED and customer.merged_into is not None:
            self._send_on(intake, event, customer.merged_into.encode())
            return
        seconds = self._rules.stopwatch() - started
        if decision.rejection is not None:
            reason, detail = decision.rejection.reason, decision.rejection.detail
            self._dead_letter(intake, reason, detail, event)
            return
        first = intake.way.origin if intake.forwarded else None
        cause = outputs.event_cause(intake.position, event, customer=customer.id, origin=first)
        effects = effects_of(self._rules, home.index, decision, cause)
        added_bytes = len(intake.record.value or b"")
        if not self._fits(home, customer_id, decision.customer, added_bytes, effects):
            detail = "the customer's state or an effect would exceed its size bound"
            self._dead_letter(intake, codec.STATE_TOO_LARGE, detail, event)
            return
        recorded_ms = intake.record.timestamp
        self.stats.decided(event.type, decision, recorded_ms=recorded_ms, seconds=seconds)
        self._keep(home, customer_id, decision, effects)
        self._end_id(home, intake, decision)

    def _take_notice(self, home: CustomerPartition | None, intake: Intake) -> None:
        """Hear what another owner tells, or the owner of an address."""
        record = intake.record
        try:
            notice = read_notice(record.key, record.value, record.headers)
        except EventRejected as rejected:
            self._dead_letter(intake, rejected.reason, rejected.detail)
            return
        if home is None or not self._is_home(home, record.key or b""):
            detail = "the notice is not at home on the partition it was forwarded to"
            self._dead_letter_notice(intake, notice, codec.PARTITIONER_MISMATCH, detail)
        elif isinstance(notice, AddressClaimed):
            self._claim(home, notice)
        else:
            self._decide_notice(home, intake, notice)

    def _decide_notice(
        self,
        home: CustomerPartition,
        intake: Intake,
        notice: MergeAsked | StateMoved | AddressShared,
    ) -> None:
        started = self._rules.stopwatch()
        customer_id = notice.home.encode()
        customer = self._customer(home, customer_id)
        decision = decide(self._rules.journeys, customer, notice, intake.now_ms)
        seconds = self._rules.stopwatch() - started
        if decision.outcome is Outcome.MOVED and customer.merged_into is not None:
            self._send_notice_on(intake, notice, customer.merged_into)
            return
        cause = notice_cause(intake.position, notice)
        effects = effects_of(self._rules, home.index, decision, cause)
        if not self._fits_exactly(home, customer_id, decision.customer, effects):
            detail = "the merged state, or what follows from it, would exceed its size bound"
            self._dead_letter_notice(intake, notice, codec.STATE_TOO_LARGE, detail)
            return
        self.stats.noticed(decision, seconds=seconds)
        self._keep(home, customer_id, decision, effects)
        self._end_id(home, intake, decision)

    def _end_id(self, home: CustomerPartition, intake: Intake, decision: Decision) -> None:
        """Let a customer be absorbed at once who has learned that they are somebody else."""
        for notice in decision.notices:
            if is_own_end(notice, decision.customer):
                self._decide_notice(home, intake, notice)

    def _claim(self, home: CustomerPartition, notice: AddressClaimed) -> None:
        """Keep who has an address, and tell a new one who the others are."""
        place = home.index, notice.key
        claims = self._claims.get(place)
        if claims is None:
            value = home.states.get(notice.key)
            claims = () if value is None else decode_claims(value)
        shared = shared_by(claims, notice)
        if shared is not None:
            self._produce(*notice_record(self._rules.names, shared, hops=1))
            self.stats.notice_sent(on=False)
        self._claims[place] = claims_after(claims, notice)
        self.stats.noticed(None, seconds=0.0)

    def _customer(self, home: CustomerPartition, customer_id: bytes) -> Customer:
        open_customer = self._customers.get((home.index, customer_id))
        if open_customer is not None:
            return open_customer
        value = home.states.get(customer_id)
        return Customer(customer_id.decode()) if value is None else decode_customer(value)

    def _keep(
        self,
        home: CustomerPartition,
        customer_id: bytes,
        decision: Decision,
        effects: Sequence[tuple[TopicPartition, Output]],
    ) -> None:
        """Make a decision part of the group."""
        for target, output in effects:
            self._produce(target, output)
        if decision.outcome is Outcome.APPLIED:
            self._customers[home.index, customer_id] = decision.customer
            home.waits.set(customer_id, decision.wake_at_ms)
            for notice in decision.notices:
                if not is_own_end(notice, decision.customer):
                    self.stats.notice_sent(on=False)

    def _fits(
        self,
        home: CustomerPartition,
        customer_id: bytes,
        customer: Customer,
        added_bytes: int,
        effects: Sequence[tuple[TopicPartition, Output]],
    ) -> bool:
        """Whether state and effects stay under their bounds, measured only when they might not."""
        if any(len(output.value or b"") > OUTPUT_BYTES_MAX for _, output in effects):
            return False
        place = (home.index, customer_id)
        bound = self._size_bounds.get(place)
        if bound is None:
            bound = len(home.states.get(customer_id, b""))
        bound += _GROWTH_FACTOR * added_bytes + _GROWTH_SLACK_BYTES
        if bound > self._rules.limits.state_bytes_max:
            bound = len(encode_customer(customer))
            if bound > self._rules.limits.state_bytes_max:
                return False
        self._size_bounds[place] = bound
        return True

    def _fits_exactly(
        self,
        home: CustomerPartition,
        customer_id: bytes,
        customer: Customer,
        effects: Sequence[tuple[TopicPartition, Output]],
    ) -> bool:
        """Whether a merged state and its effects stay under their bounds; always measured."""
        size = len(encode_customer(customer))
        self._size_bounds[home.index, customer_id] = size
        return size <= self._rules.limits.state_bytes_max and not any(
            len(output.value or b"") > OUTPUT_BYTES_MAX for _, output in effects
        )

    def _send_on(self, intake: Intake, event: Event, survivor: bytes) -> None:
        """Send an event of an absorbed id to the one that it is now; its subject stays."""
        hops = intake.way.hops + 1
        if hops > HOPS_MAX:
            detail = f"was sent on {HOPS_MAX} times"
            self._dead_letter(intake, codec.TOO_MANY_HOPS, detail, event)
            return
        record = intake.record
        way = Forward(intake.way.origin, hops, intake.way.original)
        self._send_home(Output(survivor, record.value, record.headers), way)
        self.stats.forwarded("merge", event.type)

    def _send_notice_on(self, intake: Intake, notice: Notice, survivor: str) -> None:
        """Send a notice for an absorbed id to where it belongs now."""
        onward = sent_on(notice, survivor, self._rules.journeys.identities)
        self.stats.noticed(None, seconds=0.0)
        if onward is None:
            return
        hops = intake.way.hops + 1
        if hops > HOPS_MAX:
            detail = f"was sent on {HOPS_MAX} times"
            self._dead_letter_notice(intake, notice, codec.TOO_MANY_HOPS, detail)
            return
        self._produce(*notice_record(self._rules.names, onward, hops=hops))
        self.stats.notice_sent(on=True)

    def _forward(self, intake: Intake, customer_id: bytes) -> None:
        record, origin = intake.record, intake.way.origin
        output = Output(customer_id, record.value, record.headers)
        self._send_home(output, Forward(origin, hops=1))
        at_home = origin.topic in self._rules.names.home_inputs
        self.stats.forwarded("partition" if at_home else "topic")

    def _send_home(self, event: Output, way: Forward) -> None:
        """Produce an event, with its way so far, to where its key is at home."""
        names = self._rules.names
        index = home_partition(event.key or b"", names.partitions)
        headers = forward_headers(event.headers, way)
        self._produce(TopicPartition(names.forward, index), event._replace(headers=headers))

    def _dead_letter(
        self, intake: Intake, reason: str, detail: str, event: Event | None = None
    ) -> None:
        written = intake.written
        key = written.key
        if event is not None and key is not None and intake.way.original is None:
            key = event.subject.encode()  # What was sent on has the survivor's id for a key.
        headers = outputs.dead_letter_headers(
            written.headers,
            reason=reason,
            detail=detail,
            origin=intake.way.origin,
            now_ms=intake.now_ms,
        )
        self._put_aside(intake, Output(key, written.value, headers))
        self.stats.dead_letter(reason, "" if event is None else event.type)

    def _dead_letter_notice(self, intake: Intake, notice: Notice, reason: str, detail: str) -> None:
        """Put a notice aside as it is, so that a replay puts it back to the forward topic."""
        _, output = notice_record(self._rules.names, notice, hops=0)
        position = intake.position
        origin = Position(
            self._rules.names.forward, position.partition, position.offset, position.time_ms
        )
        headers = outputs.dead_letter_headers(
            output.headers, reason=reason, detail=detail, origin=origin, now_ms=intake.now_ms
        )
        self._put_aside(intake, output._replace(headers=headers))
        self.stats.dead_letter(reason)

    def _put_aside(self, intake: Intake, output: Output) -> None:
        names = self._rules.names
        partition = intake.source.partition % names.partitions
        self._produce(TopicPartition(names.dead_letters, partition), output)

    def _produce(self, target: TopicPartition, output: Output) -> None:
        self.outputs[target].append(output)
        size = len(output.key or b"") + len(output.value or b"")
        self.bytes += size
        self.stats.produced(1, size)
