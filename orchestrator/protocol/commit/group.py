"""The open group: inputs are decided as they arrive, and their effects wait here for one commit.

The machine feeds it records, due waits and visits of its partitions; `seal` turns what it holds
into a `Transaction`. Everything is encoded here, so nothing can fail between begin and end but the
broker.
"""

from __future__ import annotations

from collections import defaultdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.core.customer import Customer, decode_customer, encode_customer, oldest_removal_ms
from orchestrator.core.decide import decide
from orchestrator.core.decision import Decision, Outcome
from orchestrator.core.event import Event, TimerFired, Visit
from orchestrator.errors import EventRejected, InvariantViolated
from orchestrator.metrics import RESUMED, GroupStats
from orchestrator.protocol import codec, inputs, outputs
from orchestrator.protocol.commit.transaction import Output, SourceRecord, TopicPartition
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.outputs import LogCause, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.core.event import Resumed
    from orchestrator.core.journeys import Journeys
    from orchestrator.protocol.commit.names import TopicNames
    from orchestrator.protocol.commit.partition import CustomerPartition

# An event can be copied into the trigger of several enrollments; below this many times its size
# plus slack the state cannot reach its bound, and needs no measuring.
_GROWTH_FACTOR: Final = 32
_GROWTH_SLACK_BYTES: Final = 16_384
# The broker's default for a record is 1,048,588 bytes with headers; our topics allow no less.
OUTPUT_BYTES_MAX: Final = 1_000_000
# After so long the network has its turn: what others write can take much longer than an event.
SLICE_SECONDS: Final = 0.02


class Limits(NamedTuple):
    """What one event and one customer may take; bytes."""

    event_bytes_max: int
    state_bytes_max: int


class GroupBounds(NamedTuple):
    """How much one transaction may carry: inputs, bytes of output, and visits among the inputs.

    Visits have a smaller bound of their own: a purchase waits for the transaction in flight, and
    nobody waits for a visit.
    """

    records_max: int
    bytes_max: int
    visits_max: int


class Rules(NamedTuple):
    """What every decision of a worker has in common. `stopwatch` returns seconds.

    `mappings` are by topic: what makes events of other teams' records.
    """

    journeys: Journeys
    names: TopicNames
    limits: Limits
    stopwatch: Callable[[], float]
    mappings: Mapping[str, inputs.Mapping] = MappingProxyType({})


class _Intake(NamedTuple):
    """A record on its way in: where it stands, where it stood first, and the decision's now."""

    source: TopicPartition
    record: SourceRecord
    origin: Position
    now_ms: int


class OpenGroup:
    """Effects of decided inputs that are not yet in a transaction."""

    __slots__ = ("_customers", "_rules", "_size_bounds", "bytes", "inputs", "outputs", "stats")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._customers: dict[tuple[int, bytes], Customer] = {}
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
        if (mapping := self._rules.mappings.get(source.topic)) is not None:
            self._map(mapping, _Intake(source, record, _position(source, record), now_ms))
            return
        forwarded = source.topic == self._rules.names.forward
        origin = _origin(source, record) if forwarded else _position(source, record)
        intake = _Intake(source, record, origin, now_ms)
        try:
            event = codec.decode_event(
                record.key,
                record.value,
                record.headers,
                event_bytes_max=self._rules.limits.event_bytes_max,
                forwarded=forwarded,
                record_time_ms=origin.time_ms,
            )
        except EventRejected as rejected:
            self._dead_letter(intake, rejected.reason, rejected.detail)
            return
        customer_id = event.subject.encode()
        if home is not None and self._is_home(home, customer_id):
            self._decide_event(home, intake, event, customer_id)
        elif forwarded:
            detail = "the subject is not at home on the partition it was forwarded to"
            self._dead_letter(intake, codec.PARTITIONER_MISMATCH, detail)
        else:
            self._forward(intake, customer_id)

    def _map(self, mapping: inputs.Mapping, intake: _Intake) -> None:
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
        names = self._rules.names
        original = outputs.as_written(record, forwarded=False)
        forward = outputs.Forward(intake.origin, hops=1, original=original)
        for event in events:
            index = home_partition(event.customer_id, names.partitions)
            headers = outputs.forward_headers(event.headers, forward)
            output = Output(event.customer_id, event.value, headers)
            self._produce(TopicPartition(names.forward, index), output)
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
        effects = self._encode(home, customer_id, decision, outputs.timer_cause(due_ms))
        self._keep(home, customer_id, decision, effects)

    def add_visit(
        self, home: CustomerPartition, customer_id: bytes, visit: Visit | Resumed, *, now_ms: int
    ) -> None:
        """Decide a visit; one that changes nothing leaves no trace but the cursor."""
        self.inputs += 1
        started = self._rules.stopwatch()
        customer = self._customer(home, customer_id)
        decision = decide(self._rules.journeys, customer, visit, now_ms)
        seconds = self._rules.stopwatch() - started
        journey = visit.journey if isinstance(visit, Visit) else RESUMED
        self.stats.visited(journey, decision, seconds=seconds)
        if decision.customer is customer:
            return
        effects = self._encode(home, customer_id, decision, outputs.visit_cause(visit))
        self._keep(home, customer_id, decision, effects)

    def seal_states(self, homes: Mapping[int, CustomerPartition]) -> None:
        """Encode every changed customer once, into its partition and into the changelog."""
        changelog = self._rules.names.changelog
        for (index, customer_id), customer in self._customers.items():
            value = encode_customer(customer)
            homes[index].put(customer_id, value, oldest_removal_ms(customer))
            self.stats.state_written(len(value))
            self._produce(TopicPartition(changelog, index), Output(customer_id, value))
        self._customers = {}

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
        self, home: CustomerPartition, intake: _Intake, event: Event, customer_id: bytes
    ) -> None:
        started = self._rules.stopwatch()
        customer = self._customer(home, customer_id)
        decision = decide(self._rules.journeys, customer, event, intake.now_ms)
        seconds = self._rules.stopwatch() - started
        if decision.rejection is not None:
            reason, detail = decision.rejection.reason, decision.rejection.detail
            self._dead_letter(intake, reason, detail, event.type)
            return
        cause = outputs.event_cause(_position(intake.source, intake.record), event)
        effects = self._encode(home, customer_id, decision, cause)
        added_bytes = len(intake.record.value or b"")
        if not self._fits(home, customer_id, decision.customer, added_bytes, effects):
            detail = "the customer's state or an effect would exceed its size bound"
            self._dead_letter(intake, codec.STATE_TOO_LARGE, detail, event.type)
            return
        recorded_ms = intake.record.timestamp
        self.stats.decided(event.type, decision, recorded_ms=recorded_ms, seconds=seconds)
        self._keep(home, customer_id, decision, effects)

    def _customer(self, home: CustomerPartition, customer_id: bytes) -> Customer:
        open_customer = self._customers.get((home.index, customer_id))
        if open_customer is not None:
            return open_customer
        value = home.states.get(customer_id)
        return Customer(customer_id.decode()) if value is None else decode_customer(value)

    def _encode(
        self,
        home: CustomerPartition,
        customer_id: bytes,
        decision: Decision,
        cause: LogCause,
    ) -> list[tuple[TopicPartition, Output]]:
        """Encode the effects of a decision; all but the state, which is encoded once a group."""
        names = self._rules.names
        effects = []
        for command in decision.commands:
            lane = names.promotional if command.promotional_lane else names.commands
            topic = lane[command.channel]
            count = names.command_partitions[topic]
            index = home.index if count == names.partitions else home_partition(customer_id, count)
            output = Output(
                customer_id, outputs.encode_command(command), outputs.command_headers(command)
            )
            effects.append((TopicPartition(topic, index), output))
        if decision.fence is not None:
            fence = Output(customer_id, outputs.encode_fence(decision.fence))
            effects.append((TopicPartition(names.fences, home.index), fence))
        for told in decision.told:
            event = Output(customer_id, outputs.encode_told(told), outputs.told_headers(told))
            effects.append((TopicPartition(names.forward, home.index), event))
        log = outputs.encode_log(
            customer=decision.customer.id,
            now_ms=decision.now_ms,
            cause=cause,
            outcome=decision.outcome,
            definitions_hash=self._rules.journeys.content_hash,
            entries=decision.entries,
            paused=decision.paused,
        )
        effects.append((TopicPartition(names.journey_log, home.index), Output(customer_id, log)))
        return effects

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

    def _forward(self, intake: _Intake, customer_id: bytes) -> None:
        names, origin = self._rules.names, intake.origin
        target = TopicPartition(names.forward, home_partition(customer_id, names.partitions))
        headers = outputs.forward_headers(intake.record.headers, outputs.Forward(origin, hops=1))
        self._produce(target, Output(customer_id, intake.record.value, headers))
        self.stats.forwarded("partition" if origin.topic in names.home_inputs else "topic")

    def _dead_letter(self, intake: _Intake, reason: str, detail: str, event_type: str = "") -> None:
        names, record = self._rules.names, intake.record
        written = outputs.as_written(record, forwarded=intake.source.topic == names.forward)
        headers = outputs.dead_letter_headers(
            written.headers,
            reason=reason,
            detail=detail,
            origin=intake.origin,
            now_ms=intake.now_ms,
        )
        target = TopicPartition(names.dead_letters, intake.source.partition % names.partitions)
        self._produce(target, Output(written.key, written.value, headers))
        self.stats.dead_letter(reason, event_type)

    def _produce(self, target: TopicPartition, output: Output) -> None:
        self.outputs[target].append(output)
        size = len(output.key or b"") + len(output.value or b"")
        self.bytes += size
        self.stats.produced(1, size)


def _position(source: TopicPartition, record: SourceRecord) -> Position:
    return Position(source.topic, source.partition, record.offset, record.timestamp)


def _origin(source: TopicPartition, record: SourceRecord) -> Position:
    forward = outputs.read_forward(record.headers)
    return forward.origin if forward is not None else _position(source, record)
