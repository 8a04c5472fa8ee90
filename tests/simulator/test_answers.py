"""`explain` answers for everything, and its answers are enough to decide it all again.

The histories are those of the simulation: ids that become one customer, erasures, waits, pauses,
cancels, offers and repeats, while workers crash and freeze.
"""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from bench.simulation.plan import plan_of, play
from orchestrator.core.decision import (
    ClaimRefusal,
    ClaimRefused,
    Ended,
    EndReason,
    Held,
    Hold,
    MessageFinal,
    StageWithheld,
)
from orchestrator.core.pauses import NO_PAUSES
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.outputs import encode_log, timer_cause
from orchestrator.simulator.answers import Answers, Tally, from_the_log, is_refusal
from orchestrator.simulator.replay import RECORDED, Recorded, Replay, Rules, command_place
from orchestrator.timeline.account import log_value
from tests.timeline.test_explanation import CART, NOON_MS, a_purchase_that_overtakes_an_email, log

# Six histories hold each flavour: the shop of the crash run twice, merges twice, erasures, both.
FLAVOURED = 6
SEEDS = range(0, 4 * FLAVOURED, FLAVOURED)


class Topics:
    """What a simulated history has left on its topics."""

    def __init__(self, seed):
        cluster = play(plan_of(seed))
        self.names, journeys = cluster.shop.names, cluster.shop.rules.journeys
        self.records = {
            (place.topic, place.partition, record.offset): Recorded(
                place.topic, place.partition, record.offset, record.key, record.value,
                tuple(record.headers), record.timestamp,
            )
            for place, log in cluster.broker.logs.items()
            for record in log.committed(0)
        }  # fmt: skip
        known = {journeys.content_hash: journeys.pausing(NO_PAUSES)}
        self.rules = Rules(known.get, self.names, 100_000)
        self.settled = {(topic, part): 10**9 for topic, part, _ in self.records}

    def log(self, home):
        """Return the journey log of a partition, in order."""
        found = [one for one in self.records.values() if one.topic == self.names.journey_log]
        return sorted((one for one in found if one.partition == home), key=lambda one: one.offset)

    def commands(self, home):
        """Return the commands of who is at home on a partition."""
        found = {}
        for one in self.records.values():
            theirs = one.topic in self.names.command_partitions
            if theirs and home_partition(one.key, self.names.partitions) == home:
                found.setdefault(command_place(one), []).append(one)
        return found

    def cause(self, log):
        """Return the record that a log record names."""
        named = orjson.loads(log.value)["cause"]
        recorded = {one.__struct_config__.tag for one in RECORDED}
        if named["kind"] not in recorded:
            return None
        return self.records.get((named["topic"], named["partition"], named["offset"]))

    def asked(self, ask=from_the_log):
        """Ask for everything; return what differs and what was counted."""
        mismatches, tally = [], Tally()
        for home in range(self.names.partitions):
            log, commands = self.log(home), self.commands(home)
            answers, made = Answers(log, commands, ask), Replay(self.rules, home, commands)
            for record in log:
                told = answers.account(record)
                step = made.redo(told, self.cause(told) if told.value else None)
                mismatches += [*step.mismatches, *answers.judge(record, told, step)]
            mismatches += [*made.leftover(self.settled), *answers.leftover(self.settled)]
            tally += answers.tally
        return mismatches, tally


@pytest.mark.parametrize("first", SEEDS)
def test_every_command_and_every_refusal_has_an_answer_from_which_it_is_decided_again(first):
    total = Tally()
    for seed in range(first, first + FLAVOURED):
        mismatches, tally = Topics(seed).asked()
        total += tally

        assert (seed, mismatches) == (seed, [])
        assert tally.whole

    assert total.commands > 100
    assert total.refusals > 30


@pytest.fixture(scope="module")
def merged():
    return Topics(1)


def _without_the_last_moment(customer, records):
    story = from_the_log(customer, records)
    return story | {"moments": story["moments"][:-1]}


def _an_hour_later(customer, records):
    story = from_the_log(customer, records)
    for moment in story["moments"]:
        moment["at"] = moment["at"].replace("T10:", "T11:")
    return story


def _of_other_journeys(customer, records):
    story = from_the_log(customer, records)
    for moment in story["moments"]:
        moment["definitions"] = "0" * 64
    return story


def _with_a_code_word(customer, records):
    story = from_the_log(customer, records)
    for moment in story["moments"]:
        for fact in moment["facts"]:
            fact["text"] = "of a reason this release does not know: x"
    return story


def _without_fates(customer, records):
    story = from_the_log(customer, records)
    for message in story["messages"]:
        message["fate"] = "sent"
    return story


def _of_another_step(customer, records):
    story = from_the_log(customer, records)
    for moment in story["moments"]:
        for fact in moment["facts"]:
            if fact["entry"] is not None and fact["entry"]["kind"] == "emitted":
                fact["entry"]["step"] = "elsewhere"
    return story


def _without_causes(customer, records):
    story = from_the_log(customer, records)
    for moment in story["moments"]:
        moment["cause"]["topic"] = None
    return story


@pytest.mark.parametrize(
    "ask",
    [
        _without_the_last_moment,
        _an_hour_later,
        _of_other_journeys,
        _with_a_code_word,
        _without_fates,
        _of_another_step,
        _without_causes,
    ],
)
def test_an_answer_that_is_short_or_wrong_is_found(merged, ask):
    mismatches, tally = merged.asked(ask)

    assert mismatches
    assert not tally.whole


def test_the_histories_hold_what_can_go_wrong():
    kinds, causes = Counter(), Counter()
    for seed in range(FLAVOURED):
        topics = Topics(seed)
        kinds += topics.asked()[1].kinds
        for home in range(topics.names.partitions):
            causes.update(orjson.loads(one.value)["cause"]["kind"] for one in topics.log(home))

    assert {"timer", "visit", "resumed", "merge", "state", "shared", "event"} <= set(causes)
    assert {"ended", "held", "entry_refused", "handed_over"} <= set(kinds)


def test_a_whole_moment_gives_back_the_record_of_the_log():
    at = NOON_MS + 123
    held = Held(CART, "cart_abandonment", "reminder", "email", Hold.HANDOFF, at + 1)
    value = encode_log(
        customer="ana",
        now_ms=at,
        cause=timer_cause(NOON_MS),
        outcome="applied",
        definitions_hash="d" * 64,
        entries=(held,),
    )

    (moment,) = from_the_log("ana", [log(timer_cause(NOON_MS), at, held)])["moments"]

    assert log_value("ana", moment) == value


def test_messages_and_refusals_say_which_moment_decided_them():
    story = from_the_log("ana", a_purchase_that_overtakes_an_email())

    causes = [story["moments"][one["moment"]]["cause"] for one in story["messages"]]
    assert [cause["type"] or cause["kind"] for cause in causes] == ["timer", "purchase"]


@pytest.mark.parametrize(
    ("entry", "refuses"),
    [
        (StageWithheld("service", ("email",)), True),
        (ClaimRefused("c-1", "eva", ClaimRefusal.NOT_OPEN), True),
        (MessageFinal("c-1", CART, "bounced"), True),
        (MessageFinal("c-1", CART, "delivered"), False),
        (Ended(CART, "cart_abandonment", 1, EndReason.EXIT, None, ("c-1",)), True),
        (Ended(CART, "cart_abandonment", 1, EndReason.COMPLETED), False),
    ],
)
def test_what_did_not_go_out_or_was_taken_back_is_a_refusal(entry, refuses):
    assert is_refusal(entry) is refuses
