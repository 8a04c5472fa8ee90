"""What must stand on the topics after merges, told from the topics alone.

Shares with the machine only the readers of its records; who should be one customer, what was
applied how often, and what had to be recalled is worked out here from what was produced.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime

import msgspec
import orjson

from orchestrator.core.customer import (
    Cause,
    Customer,
    decode_customer,
    encode_customer,
    wake_at_ms,
)
from orchestrator.core.decide import decide
from orchestrator.core.event import Resumed, TimerFired, Visit
from orchestrator.core.identity.notices import MergeAsked
from orchestrator.core.pauses import Pause, Pauses
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.protocol.forward.notices import read_notice
from orchestrator.protocol.outputs import encode_command
from tests.protocol.simulated_kafka import NAMES, journey_log

FORWARDS_MAX = 16


def millis(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


class Judge:
    """Everything that one history has left on the topics."""

    def __init__(self, cluster, groups, journeys):
        self.cluster = cluster
        self.groups = groups  # The ids of each person, as the history meant them.
        self.journeys = journeys
        self.log = journey_log(cluster)
        self.commands, self.lanes = {}, {}
        self.doubled = []
        for topic in ("commands", "promotional"):
            for place, record in cluster.visible(topic):
                command = orjson.loads(record.value)
                self.lanes[command["id"]] = place, record.offset
                if self.commands.setdefault(command["id"], command) is not command:
                    self.doubled.append(f"doubled command in {place}")
        self.values = {}
        for _, record in cluster.visible(NAMES.changelog):
            if record.key[0] < 0xFE:
                self.values[record.key.decode()] = record.value
        self.states = {one: decode_customer(value) for one, value in self.values.items()}

    def violations(self):
        """Return everything that must not be so."""
        return [
            *self.doubled,
            *self.records_not_decided_once(),
            *self.notices_not_decided_once(),
            *self.dead_letters(),
            *self.events_not_applied_once(),
            *self.ids_not_merged(),
            *self.enrollments_lost_or_doubled(),
            *self.promotions_after_a_purchase(),
            *self.fences_left_behind(),
            *self.cancels_that_a_sender_misses(),
            *self.gaps_in_sequences(),
            *self.replay_differences(),
        ]

    # -- Records -----------------------------------------------------------------------------

    def record(self, place):
        topic, partition, offset = place
        return self.cluster.log.records[TopicPartition(topic, partition)][offset]

    def origin(self, place):
        """Return where the record at a place stood first."""
        marks = dict(self.record(place).headers)
        if place[0] != NAMES.forward or "fw_topic" not in marks:
            return place
        return marks["fw_topic"].decode(), int(marks["fw_partition"]), int(marks["fw_offset"])

    def causes(self, *kinds):
        for customer, entries in self.log.items():
            for entry in entries:
                if entry["cause"]["kind"] in kinds:
                    cause = entry["cause"]
                    place = (cause["topic"], cause["partition"], cause["offset"])
                    yield customer, entry, place

    def records_not_decided_once(self):
        fates = Counter(self.origin(place) for _, _, place in self.causes("event"))
        for _, record in self.cluster.visible(NAMES.dead_letters):
            marks = {name: value.decode() for name, value in record.headers}
            fates[marks["dl_topic"], int(marks["dl_partition"]), int(marks["dl_offset"])] += 1
        for topic in NAMES.inputs:
            for place, record in self.cluster.visible(topic):
                marks = dict(record.headers)
                if topic == NAMES.forward and ("fw_topic" in marks or "fw_kind" in marks):
                    continue
                times = fates[topic, place.partition, record.offset]
                if times != 1:
                    yield f"{topic}/{place.partition}/{record.offset} was decided {times} times"

    def notices_not_decided_once(self):
        fates = Counter(
            (entry["cause"]["kind"], *place)
            for _, entry, place in self.causes("merge", "state", "shared")
        )
        sent_on, waiting = 0, 0
        for place, record in self.cluster.visible(NAMES.forward):
            marks = dict(record.headers)
            hops = int(marks.get("fw_hops", b"0"))
            if hops > FORWARDS_MAX:
                yield f"forwarded {hops} times"
            kind = marks.get("fw_kind", b"").decode()
            if kind in ("merge", "state", "shared"):
                times = fates[kind, NAMES.forward, place.partition, record.offset]
                sent_on += hops > 1
                waiting += times == 0
                if times > 1:
                    yield f"notice {place.partition}/{record.offset} was decided {times} times"
        if sent_on != waiting:
            yield f"{waiting} notices were not decided, and {sent_on} were sent on"

    def dead_letters(self):
        for _, record in self.cluster.visible(NAMES.dead_letters):
            reason = dict(record.headers)["dl_reason"].decode()
            if reason != "invalid_json":
                yield f"dead letter {reason}: {dict(record.headers)['dl_detail'].decode()}"

    # -- Customers ---------------------------------------------------------------------------

    def events_not_applied_once(self):
        applied, duplicate = Counter(), Counter()
        for customer, entry, _ in self.causes("event"):
            cause = entry["cause"]
            counts = applied if entry["outcome"] == "applied" else duplicate
            counts[cause["source"], cause["id"]] += 1
            subject = cause.get("subject", customer)
            if self.person(subject) != self.person(customer):
                yield f"{cause['id']} of {subject} was decided for {customer}"
        for event, times in applied.items():
            if times > 1:
                yield f"{event} was applied {times} times"
        for event in duplicate.keys() - applied.keys():
            if not event[1].startswith("again"):
                yield f"{event} was never applied"

    def person(self, customer):
        return next((n for n, ids in enumerate(self.groups) if customer in ids), None)

    def survivor(self, ids):
        return min(ids, key=lambda one: (one.startswith("web-"), one.encode()))

    def ids_not_merged(self):
        for ids in self.groups:
            survivor = self.survivor(ids)
            for one in ids:
                at, hops = one, 0
                while (state := self.states.get(at)) and state.merged_into and hops < len(ids):
                    at, hops = state.merged_into, hops + 1
                if at != survivor:
                    yield f"{one} leads to {at}, not to {survivor}"
                state = self.states.get(one)
                if one != survivor and state is not None and state.enrollments:
                    yield f"{one} was absorbed and still has enrollments"

    def enrollments_lost_or_doubled(self):
        """Follow every enrollment from its entry to its end, over all ids that it had."""
        entered, over, handed, taken = Counter(), Counter(), Counter(), Counter()
        for customer, entries in self.log.items():
            for one in (one for entry in entries for one in entry["entries"]):
                match one["kind"]:
                    case "entered":
                        entered[self.first_name(customer, one["enrollment"])] += 1
                    case "ended" if one.get("step") or one["reason"] in ("completed", "merged"):
                        over[self.first_name(customer, one["enrollment"])] += 1
                    case "handed_over" if one["becomes"] is None:
                        pass  # It has run to its end before.
                    case "handed_over":
                        handed[one["becomes"]] += 1
                    case "taken_over":
                        taken[one["enrollment"]] += 1
        if handed != taken:
            yield f"handed over and taken over differ: {handed - taken} {taken - handed}"
        held = Counter(
            self.first_name(customer, one.id)
            for customer, state in self.states.items()
            for one in state.enrollments
            if one.step is not None
        )
        for name, times in entered.items():
            if times != 1 or over[name] + held[name] != 1:
                yield f"{name} entered {times}, ended {over[name]}, stands {held[name]} times"
        for name in (over + held).keys() - entered.keys():
            yield f"{name} was never entered"

    @staticmethod
    def first_name(customer, enrollment):
        name, _, origin = enrollment.partition("~")
        return (origin or customer, name)

    def promotions_after_a_purchase(self):
        """Every promotion that a purchase by either id ends is recalled, if it was on its way.

        Under the id that it was sent to: its sender reads no other one's partition.
        """
        recalled = {
            (command["subject"], one)
            for command in self.commands.values()
            for one in command["data"].get("cancels") or ()
        }
        final = {
            one["command"]
            for entries in self.log.values()
            for entry in entries
            for one in entry["entries"]
            if one["kind"] == "message_final"
        }
        entry_ms = {}
        bought_ms = defaultdict(list)
        for customer, entry, _ in self.causes("event"):
            at_ms = min(millis(entry["cause"]["time"]), millis(entry["now"]))
            for one in entry["entries"]:
                if one["kind"] == "entered":
                    entry_ms[self.first_name(customer, one["enrollment"])] = at_ms
            if entry["cause"]["type"] == "purchase" and entry["outcome"] == "applied":
                bought_ms[self.person(customer)].append((at_ms, entry["cause"]["id"]))
        for command in self.commands.values():
            data = command["data"]
            if command["type"] != "message.send" or data["class"] != "promotional":
                continue
            if data["journey"] not in ("cart", "season"):
                continue
            name = self.first_name(command["subject"], data["enrollment"])
            for at_ms, purchase in bought_ms[self.person(command["subject"])]:
                called_back = (command["subject"], command["id"]) in recalled
                done = called_back or command["id"] in final
                if entry_ms[name] <= at_ms <= millis(data["expires_at"]) and not done:
                    yield f"{data['enrollment']} of {command['subject']} goes on after {purchase}"

    def fences_left_behind(self):
        """No fence of an absorbed id stays for ever: it names the enrollments of a customer."""
        live = {record.key.decode(): record.value for _, record in self.cluster.visible("fences")}
        for customer, value in live.items():
            if value is not None and self.states[customer].merged_into is not None:
                yield f"{customer} was absorbed, and its fences stay"

    def cancels_that_a_sender_misses(self):
        """What takes a command back stands behind it on its own partition: nobody reads both."""
        for command in self.commands.values():
            place, offset = self.lanes[command["id"]]
            for one in command["data"].get("cancels") or ():
                sent_on, sent_at = self.lanes[one]
                if sent_on != place or sent_at > offset:
                    yield f"{one} stands on {sent_on}, and its cancel on {place}"

    def gaps_in_sequences(self):
        numbers = defaultdict(list)
        for command in self.commands.values():
            numbers[command["subject"]].append(command["data"]["sequence"])
        for customer, found in numbers.items():
            if sorted(found) != list(range(1, len(found) + 1)):
                yield f"sequence of {customer}: {sorted(found)}"
            if self.states[customer].sequence != len(found):
                yield f"{customer} stands at {self.states[customer].sequence}, not {len(found)}"

    # -- Decisions ---------------------------------------------------------------------------

    def replay_differences(self):
        """Make every recorded decision again and compare with what is visible."""
        expected = {}
        for customer_id, entries in self.log.items():
            customer = Customer(customer_id)
            for entry in entries:
                named = msgspec.convert(entry.get("paused", ()), tuple[Pause, ...])
                journeys = self.journeys.pausing(Pauses(named))
                what = self.input_of(customer_id, entry)
                decision = decide(journeys, customer, what, millis(entry["now"]))
                customer = decode_customer(encode_customer(decision.customer))
                yield from self.twice_in_one_journey(customer)
                expected |= {c.id: orjson.loads(encode_command(c)) for c in decision.commands}
            if self.values.get(customer_id) != encode_customer(customer):
                yield f"state of {customer_id} differs"
            if wake_at_ms(customer) is not None:
                yield f"a wait of {customer_id} never fired"
        if expected != self.commands:
            yield f"{len(expected.keys() ^ self.commands.keys())} commands lost or invented"

    @staticmethod
    def twice_in_one_journey(customer):
        stands = Counter((e.journey, e.key) for e in customer.enrollments if e.step is not None)
        for (name, key), times in stands.items():
            if times > 1:
                yield f"{customer.id} stands {times} times in {name} {key}"

    def input_of(self, customer, entry):
        cause = entry["cause"]
        match cause["kind"]:
            case "timer":
                return TimerFired(millis(cause["due"]))
            case "resumed":
                return Resumed(cause["revision"])
            case "visit":
                occurrence = cause["occurrence"]
                occurrence_ms = None if occurrence is None else millis(occurrence)
                return Visit(cause["journey"], cause["version"], occurrence_ms)
            case "merge":
                asked = Cause(cause["source"], cause["id"])
                return MergeAsked(customer, cause["survivor"], asked)
        record = self.record((cause["topic"], cause["partition"], cause["offset"]))
        if cause["kind"] in ("state", "shared"):
            return read_notice(record.key, record.value, record.headers)
        return decode_event(
            record.key, record.value, record.headers, event_bytes_max=100_000, forwarded=True
        )
