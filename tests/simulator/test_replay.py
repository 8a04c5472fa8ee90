"""Recorded decisions are the same again; what somebody changed afterwards is found."""

from __future__ import annotations

import re

import orjson
import pytest

from orchestrator.cli import run
from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.core.event import Resumed, TimerFired
from orchestrator.core.pauses import NO_PAUSES, Pause, Pauses
from orchestrator.protocol import codec, outputs
from orchestrator.protocol.outputs import Position
from orchestrator.protocol.topics import Topics
from orchestrator.settings import Settings
from orchestrator.simulator.replay import (
    AFTER_UNKNOWN,
    COMMAND_EXPIRED,
    NO_RECORD,
    OTHER_JOURNEYS,
    UNKNOWN_PAST,
    Recorded,
    Replay,
    Rules,
    command_place,
)
from tests.runtime.deployment import Deployment, cart, purchase, wait_until

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


class History:
    """What a worker would have left on the topics of partition 0 for one cart and one purchase."""

    def __init__(self, journeys):
        self.journeys = journeys
        self.names = Topics.of(Settings.load(), journeys.channels).names()
        self.log, self.inputs, self.commands = [], [], []
        self._customer = Customer("ana")
        self._tell(cart("ana"), START_MS)
        self._decide(TimerFired(START_MS + HOUR_MS), START_MS + HOUR_MS, None)
        for _ in range(2):  # The producer repeats it.
            self._tell(purchase("ana"), START_MS + 2 * HOUR_MS)

    def _tell(self, document, now_ms):
        record = Recorded(
            "touchpoints", 0, len(self.inputs), b"ana", orjson.dumps(document | {"time": None}),
            (), now_ms - 1,
        )  # fmt: skip
        self.inputs.append(record)
        event = codec.decode_event(
            b"ana", record.value, (), event_bytes_max=10_000, record_time_ms=record.timestamp_ms
        )
        self._decide(event, now_ms, record)

    def _decide(self, what, now_ms, record):
        decision = decide(self.journeys, self._customer, what, now_ms)
        self._customer = decision.customer
        if isinstance(what, Resumed):
            cause = outputs.visit_cause(what)
        elif record is None:
            cause = outputs.timer_cause(what.due_ms)
        else:
            at = Position(record.topic, record.partition, record.offset, record.timestamp_ms)
            cause = outputs.event_cause(at, what)
        value = outputs.encode_log(
            customer="ana",
            now_ms=decision.now_ms,
            cause=cause,
            outcome=decision.outcome,
            definitions_hash=self.journeys.content_hash,
            entries=decision.entries,
            paused=decision.paused,
        )
        self.log.append(Recorded("journey-log", 0, len(self.log), b"ana", value))
        for command in decision.commands:
            lanes = self.names.promotional if command.promotional_lane else self.names.commands
            headers = tuple(outputs.command_headers(command))
            value = outputs.encode_command(command)
            offset = len(self.commands)
            self.commands.append(
                Recorded(lanes[command.channel], 0, offset, b"ana", value, headers)
            )

    def pause(self, *pauses):
        """Replace what is paused."""
        self.journeys = self.journeys.pausing(Pauses(pauses, 1))

    def replay(self, *, trimmed=(), journeys=None):
        known = journeys or self.journeys.pausing(NO_PAUSES)
        found = {known.content_hash: known}.get
        rules = Rules(found, self.names, 10_000, frozenset(trimmed))
        commands = {}
        for command in self.commands:
            commands.setdefault(command_place(command), []).append(command)
        made = Replay(rules, 0, commands)
        mismatches = []
        for record in self.log:
            named = orjson.loads(record.value)["cause"]
            cause = next((one for one in self.inputs if one.offset == named.get("offset")), None)
            mismatches += made.redo(record, cause).mismatches
        settled = {(topic, 0): 1_000 for topic in self.names.command_partitions}
        return [*mismatches, *made.leftover(settled)], made


@pytest.fixture
def history(journeys):
    return History(journeys)


def changed(record, **fields):
    return record._replace(value=orjson.dumps(orjson.loads(record.value) | fields))


def test_what_was_decided_is_decided_again(history):
    mismatches, made = history.replay()

    assert mismatches == []
    assert made.identical == len(history.log) == 4
    assert not made.skipped


def test_a_changed_log_entry_is_found_with_its_place_and_both_values(history):
    entries = orjson.loads(history.log[1].value)["entries"]
    entries[0]["channel"] = "sms"
    history.log[1] = changed(history.log[1], entries=entries)

    (mismatch,), made = history.replay()

    assert mismatch == ("journey-log/0/1", "entries[0].channel", "sms", "email")
    assert made.identical == 3


@pytest.fixture
def with_a_pause(history):
    """An order whose thanks are held, a resume, and an order whose thanks are dropped."""
    history.pause(Pause("channel/email", "eva", "wrong price", transactional=True))
    history._tell(purchase("ana", "1002"), START_MS + 3 * HOUR_MS)
    history.pause()
    history._decide(Resumed(2), START_MS + 4 * HOUR_MS, None)
    history.pause(Pause("global", "ben", "wrong data", kill=True, transactional=True))
    history._tell(purchase("ana", "1003"), START_MS + 5 * HOUR_MS)
    return history


def test_what_pauses_held_let_go_and_dropped_is_decided_again(with_a_pause):
    mismatches, made = with_a_pause.replay()

    held, resumed, dropped = (orjson.loads(one.value) for one in with_a_pause.log[4:])
    assert mismatches == []
    assert made.identical == 7
    assert held["paused"] == [
        {
            "scope": "channel/email",
            "by": "eva",
            "reason": "wrong price",
            "transactional": True,
        }
    ]
    assert resumed["cause"] == {"kind": "resumed", "revision": 2}
    assert "paused" not in resumed
    assert [one["scope"] for one in dropped["paused"]] == ["global"]


def test_a_pause_that_somebody_removed_from_the_log_is_found(with_a_pause):
    record = orjson.loads(with_a_pause.log[4].value)
    del record["paused"]
    with_a_pause.log[4] = with_a_pause.log[4]._replace(value=orjson.dumps(record))

    mismatches, _ = with_a_pause.replay()

    assert mismatches[0].place == "journey-log/0/4"


@pytest.mark.parametrize("part", ["value", "headers", "key"])
def test_a_changed_command_is_found(history, part):
    command = history.commands[0]
    other = {
        "value": command.value.replace(b"cart_reminder", b"cart_remindes"),
        "headers": (*command.headers, ("x", b"1")),
        "key": b"eva",
    }
    history.commands[0] = command._replace(**{part: other[part]})

    (mismatch,), _ = history.replay()

    assert mismatch.place == "commands.email.promotional/0/0"
    assert mismatch.recorded != mismatch.recomputed or part == "key"


def test_a_missing_a_repeated_and_an_invented_command_are_found(history):
    lost, kept = history.commands[0], history.commands[1]
    history.commands = [kept, *history.commands[2:], kept._replace(offset=77)]

    (missing, twice), _ = history.replay()

    assert missing.place == lost.topic
    assert "of step reminder_email is not there" in missing.what
    assert (twice.place, twice.what) == (
        f"{kept.topic}/0/77",
        "no recorded decision makes this command",
    )


def test_commands_in_another_order_are_found(history):
    promotional = [c for c in history.commands if c.topic == "commands.email.promotional"]
    first, second = promotional
    history.commands = [
        first._replace(offset=second.offset) if one is first
        else second._replace(offset=first.offset) if one is second
        else one
        for one in history.commands
    ]  # fmt: skip

    (mismatch,), _ = history.replay()

    assert mismatch.what == "stands before an older command of the customer"


def test_a_lost_log_record_shows_in_what_followed(history):
    del history.log[1]

    mismatches, _ = history.replay()

    assert "entries" in {mismatch.what.partition("[")[0] for mismatch in mismatches}
    assert any("no recorded decision makes" in mismatch.what for mismatch in mismatches)


def test_an_input_that_is_gone_is_a_difference_unless_its_topic_has_expired(history):
    del history.inputs[0]

    mismatches, _ = history.replay()
    assert mismatches[0].place == "touchpoints/0/0"

    mismatches, made = history.replay(trimmed=[("touchpoints", 0)])
    assert mismatches == []
    assert made.skipped == {NO_RECORD: 1, AFTER_UNKNOWN: 3}


def test_a_command_that_expired_is_no_difference(history):
    lost = history.commands.pop(0)

    mismatches, made = history.replay(trimmed=[(lost.topic, 0)])

    assert mismatches == []
    assert made.skipped == {COMMAND_EXPIRED: 1}


def test_a_log_without_its_oldest_part_proves_nothing_about_who_was_in_it(history):
    del history.log[0]

    mismatches, made = history.replay(trimmed=[("journey-log", 0)])

    assert mismatches == []
    assert made.skipped == {UNKNOWN_PAST: 1, AFTER_UNKNOWN: 2}


def test_other_journeys_make_no_differences(history):
    history.log[0] = changed(history.log[0], definitions="0" * 64)

    mismatches, made = history.replay()

    assert mismatches == []
    assert made.skipped[OTHER_JOURNEYS] == 1
    assert made.identical == 0


def test_a_log_record_that_is_none_is_told(history):
    history.log[3] = history.log[3]._replace(value=b'{"cause":{}}')

    (mismatch,), _ = history.replay()

    assert mismatch.place == "journey-log/0/3"
    assert mismatch.what.startswith("is no log record: ")


@pytest.fixture
def deployment(kafka, topic_prefix, app_id, tmp_path):
    one = Deployment(kafka.bootstrap_servers, topic_prefix, app_id, tmp_path)
    yield one
    one.stop()


@pytest.mark.timeout(240)
def test_what_a_worker_did_is_the_same_again_and_a_forged_log_record_is_found(
    deployment, monkeypatch, capsys
):
    """A small history on Kafka, with a repeat and with events on their way home."""
    for name, value in deployment.settings.items():
        monkeypatch.setenv(f"ORCHESTRATOR_{name.upper()}", str(value))
    deployment.start()
    customers = ["ana", "ben", "eva", "mia"]
    deployment.produce(*map(cart, customers), partitioner="murmur2_random")
    wait_until(lambda: len(deployment.templates()) == len(customers), "first messages")
    deployment.produce(*map(purchase, customers))
    deployment.produce(purchase("ana"), partitioner="murmur2_random")
    wait_until(
        lambda: all("thank_you" in deployment.templates()[one] for one in customers), "thanks"
    )
    wait_until(lambda: len(deployment.read("journey-log")) > 2 * len(customers), "the repeat")
    capsys.readouterr()

    assert run(["replay"]) == 0
    out = capsys.readouterr().out
    assert "0 differences" in out
    assert f"{len(deployment.read('journey-log'))} decisions are the same again" in out
    assert "not made again" not in out

    assert run(["replay", "--explained"]) == 0
    out = capsys.readouterr().out
    assert "0 differences" in out
    said = re.search(r"explained (\d+) of (\d+) commands .* alone (\d+) and", out)
    assert said[1] == said[2] == said[3] != "0"

    assert run(["replay", "--customer", "ana"]) == 0
    story = capsys.readouterr().out
    assert f"purchase ord-ana-1001  ({deployment.prefix}" in story
    assert "■ leave cart_abandonment, reason exit" in story
    assert "✗ cancel email, of [" in story
    assert "· ignore duplicate" in story
    assert "ben" not in story

    key, record, _ = next(one for one in deployment.read("journey-log") if one[0] == b"ben")
    record["entries"] = [{"kind": "moved", "enrollment": "x#1", "step": "y", "wake_at_ms": 5}]
    forged = deployment.producer(partitioner="murmur2_random")
    forged.produce(f"{deployment.prefix}journey-log", key=key, value=orjson.dumps(record))
    forged.flush(20)

    assert run(["replay"]) == 1
    out = capsys.readouterr().out
    assert f"{deployment.prefix}journey-log/" in out
    assert "outcome\n    recorded    applied\n    recomputed  duplicate" in out
