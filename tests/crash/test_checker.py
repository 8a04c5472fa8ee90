"""The judge of the crash run is judged: each way to spoil a sound history must be named."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import pytest

from bench.crash.judge.checker import judge
from bench.crash.judge.history import History, Record
from tests.crash.synthetic import SHOP_LAG_MS, furnished, history_of


@pytest.fixture(scope="module")
def sound() -> History:
    return history_of(7, furnished())


def judged(history: History, **options):
    return judge(history, furnished(), pause_lag_ms=SHOP_LAG_MS, **options)


def copied(history: History) -> History:
    topics = {
        topic: {partition: list(records) for partition, records in partitions.items()}
        for topic, partitions in history.topics.items()
    }
    return History(history.names, topics)


def find(history: History, topic: str, wanted) -> Record:
    return next(record for record in history.of(topic) if wanted(record))


def command(history: History, wanted) -> Record:
    return next(
        record
        for topic in history.command_topics()
        for record in history.of(topic)
        if wanted(json.loads(record.value))
    )


def log_line(history: History, wanted) -> Record:
    return find(history, "journey-log", lambda record: wanted(json.loads(record.value)))


def drop(history: History, record: Record) -> None:
    history.topics[record.topic][record.partition].remove(record)


def swap_in(history: History, record: Record, **changes) -> Record:
    """Replace a record by a changed one at the same place."""
    records = history.topics[record.topic][record.partition]
    changed = replace(record, **changes)
    records[records.index(record)] = changed
    return changed


def again(history: History, record: Record, **changes) -> Record:
    """Append a record once more behind the end of its partition."""
    records = history.topics[record.topic][record.partition]
    repeated = replace(record, offset=records[-1].offset + 1, **changes)
    records.append(repeated)
    return repeated


def edit(value: bytes, change) -> bytes:
    document = json.loads(value)
    change(document)
    return json.dumps(document).encode()


def kinds_at(report, record: Record) -> set[str]:
    return {violation.kind for violation in report.violations if violation.place == record.place}


def is_event(line) -> bool:
    return line["cause"]["kind"] == "event"


def test_a_sound_history_has_no_violation(sound):
    report = judged(sound)

    assert report.violations == []
    assert report.counts["consumed"] > 300
    assert report.counts["waits fired"] > 100
    assert report.summary().startswith("lost 0, doubled 0, out of order 0, promotional-after-")


def test_the_history_holds_everything_that_the_checker_claims_to_judge(sound):
    counts = judged(sound).counts

    for wanted in (
        "applied",
        "duplicate",
        "forwarded",
        "dead letter id_reused",
        "dead letter schema",
        "command message.send",
        "command message.cancel",
        "command audience.remove",
        "command task.create",
        "command task.close",
    ):
        assert counts[wanted] > 0, wanted


def test_a_dropped_command_is_lost_and_leaves_a_gap(sound):
    history = copied(sound)
    third = command(history, lambda one: one["data"]["sequence"] == 3)
    whose = third.key.decode()
    drop(
        history,
        command(history, lambda one: (one["subject"], one["data"]["sequence"]) == (whose, 2)),
    )

    found = judged(history).found

    assert found["lost"] >= 1
    assert found["gap"] >= 1


def test_a_command_sent_again_is_doubled(sound):
    history = copied(sound)
    repeated = again(history, command(history, lambda one: one["type"] == "message.send"))

    assert kinds_at(judged(history), repeated) == {"doubled"}


def test_one_command_id_with_other_bytes_is_doubled(sound):
    history = copied(sound)
    first = command(history, lambda one: one["type"] == "message.send")
    value = edit(first.value, lambda one: one["data"].update(template="another"))
    repeated = again(history, first, value=value)

    report = judged(history)

    assert kinds_at(report, repeated) == {"doubled"}
    assert any("other bytes" in violation.what for violation in report.violations)


def test_a_command_that_nobody_decided_is_named(sound):
    history = copied(sound)
    first = command(history, lambda one: one["type"] == "message.send")
    forged = again(history, first, value=edit(first.value, lambda one: one.update(id="forged")))

    assert "doubled" in kinds_at(judged(history), forged)


def test_commands_of_a_customer_in_the_wrong_order_are_named(sound):
    history = copied(sound)
    records = history.topics["commands.email"][0]
    earlier = next(one for one in records if sum(other.key == one.key for other in records) > 1)
    later = next(one for one in records if one.key == earlier.key and one is not earlier)
    first, second = records.index(earlier), records.index(later)
    records[first] = replace(later, offset=earlier.offset)
    records[second] = replace(earlier, offset=later.offset)

    assert judged(history).found["order"] >= 1


def test_an_event_without_a_trace_is_lost_at_its_own_place(sound):
    history = copied(sound)
    line = log_line(history, lambda one: is_event(one) and not one["entries"])
    drop(history, line)
    cause = json.loads(line.value)["cause"]

    report = judged(history)

    places = {violation.place for violation in report.violations if violation.kind == "lost"}
    assert (cause["topic"], cause["partition"], cause["offset"]) in places


def test_an_event_decided_twice_is_doubled(sound):
    history = copied(sound)
    repeated = again(history, log_line(history, lambda one: is_event(one) and one["entries"]))

    assert "doubled" in kinds_at(judged(history), repeated)


def test_events_of_a_customer_decided_in_the_wrong_order_are_named(sound):
    history = copied(sound)
    records = history.topics["journey-log"][0]
    customer = next(
        key
        for key in (one.key for one in records)
        if sum(one.key == key and is_event(json.loads(one.value)) for one in records) > 3
    )
    own = [one for one in records if one.key == customer and is_event(json.loads(one.value))]
    first, second = records.index(own[0]), records.index(own[2])
    records[first] = replace(own[2], offset=own[0].offset)
    records[second] = replace(own[0], offset=own[2].offset)

    assert judged(history).found["order"] >= 1


def test_an_event_decided_away_from_home_is_named(sound):
    history = copied(sound)
    line = log_line(history, is_event)
    drop(history, line)
    elsewhere = (line.partition + 1) % 4
    last = history.topics["journey-log"][elsewhere][-1]
    moved = replace(line, partition=elsewhere, offset=last.offset + 1)
    history.add(moved)

    assert "order" in kinds_at(judged(history), moved)


def timer(line) -> bool:
    return line["cause"]["kind"] == "timer"


def test_a_wait_that_fires_early_is_named(sound):
    history = copied(sound)
    line = log_line(history, timer)
    early = edit(line.value, lambda one: one.update(now="2026-11-22T00:00:00.000Z"))
    changed = swap_in(history, line, value=early)

    assert "wait" in kinds_at(judged(history), changed)


def test_a_wait_that_fires_twice_is_named(sound):
    history = copied(sound)
    repeated = again(history, log_line(history, timer))

    assert "wait" in kinds_at(judged(history), repeated)


def test_a_wait_that_never_fires_is_named_where_it_began(sound):
    history = copied(sound)
    moved = log_line(history, lambda one: any(e["kind"] == "moved" for e in one["entries"]))
    customer = moved.key
    for record in [one for one in history.of("journey-log") if one.key == customer]:
        if record.offset > moved.offset:
            drop(history, record)

    assert "wait" in kinds_at(judged(history), moved)


def test_a_wait_that_fires_far_too_late_is_named(sound):
    history = copied(sound)
    line = log_line(history, timer)
    late = swap_in(history, line, timestamp_ms=line.timestamp_ms + 600_000)

    # So much later somebody may have said that nothing goes out.
    assert {"late"} <= kinds_at(judged(history), late) <= {"late", "pause"}


def exited_promotion(history: History) -> tuple[Record, str]:
    line = log_line(
        history,
        lambda one: any(
            e["kind"] == "ended" and e["reason"] == "exit" and e["journey"] == "cart_rescue"
            for e in one["entries"]
        ),
    )
    ended = next(e for e in json.loads(line.value)["entries"] if e["kind"] == "ended")
    return line, ended["enrollment"]


def test_a_promotional_command_after_the_exit_is_named(sound):
    history = copied(sound)
    line, enrollment = exited_promotion(history)
    mail = command(history, lambda one: one["type"] == "message.send")

    def forge(one) -> None:
        one["id"], one["subject"] = "late", line.key.decode()
        one["data"] |= {"enrollment": enrollment, "class": "promotional", "sequence": 9_999}

    late = again(history, mail, key=line.key, value=edit(mail.value, forge))

    assert "promotional" in kinds_at(judged(history), late)


def test_a_missing_fence_is_named(sound):
    history = copied(sound)
    line, _ = exited_promotion(history)
    for record in [one for one in history.of("fences") if one.key == line.key]:
        drop(history, record)

    assert "promotional" in kinds_at(judged(history), line)


def test_a_fence_at_another_sequence_is_named(sound):
    history = copied(sound)
    fence = find(history, "fences", lambda record: record.value is not None)

    def shift(one) -> None:
        one["enrollments"][0]["sequence"] += 1

    changed = swap_in(history, fence, value=edit(fence.value, shift))

    assert "promotional" in kinds_at(judged(history), changed)


@pytest.mark.parametrize("topic", ["dead-letters", "crash-forward"])
def test_a_dropped_dead_letter_or_forward_is_lost(sound, topic):
    history = copied(sound)
    drop(history, find(history, topic, lambda _: True))

    assert judged(history).found["lost"] >= 1


@pytest.mark.parametrize("topic", ["dead-letters", "crash-forward"])
def test_a_dead_letter_or_forward_made_twice_is_doubled(sound, topic):
    history = copied(sound)
    again(history, find(history, topic, lambda _: True))

    assert judged(history).found["doubled"] >= 1


def test_a_dead_letter_with_another_reason_than_the_contract_has_is_named(sound):
    history = copied(sound)
    letter = find(history, "dead-letters", lambda one: one.header("dl_reason") == "invalid_json")
    headers = tuple(
        (name, b"schema" if name == "dl_reason" else value) for name, value in letter.headers
    )
    swap_in(history, letter, headers=headers)

    assert judged(history).found["wrong"] == 1


def test_the_effect_of_an_aborted_record_is_named(sound):
    """What a committed reader cannot see must have no effect."""
    history = copied(sound)
    line = log_line(history, is_event)
    cause = json.loads(line.value)["cause"]
    place = (cause["topic"], cause["partition"], cause["offset"])
    records = history.topics[cause["topic"]][cause["partition"]]
    records[:] = [record for record in records if record.place != place]

    assert "wrong" in kinds_at(judged(history), line)


def test_a_repeat_that_has_its_effect_again_is_doubled(sound):
    history = copied(sound)
    line = log_line(history, lambda one: one["outcome"] == "duplicate")
    value = edit(line.value, lambda one: one.update(outcome="applied"))
    changed = swap_in(history, line, value=value)

    assert kinds_at(judged(history), changed) == {"doubled"}


def test_an_exit_that_did_not_happen_is_lost(sound):
    history = copied(sound)
    line, _ = exited_promotion(history)

    def stay(one) -> None:
        one["entries"] = [e for e in one["entries"] if e["kind"] != "ended"]

    changed = swap_in(history, line, value=edit(line.value, stay))

    assert "lost" in kinds_at(judged(history), changed)


def test_a_state_older_than_the_log_is_named(sound):
    history = copied(sound)
    records = history.topics["crash-customers-changelog"][0]
    key = next(one.key for one in records if sum(other.key == one.key for other in records) > 9)
    own = [one for one in records if one.key == key]
    for record in own[-6:]:
        drop(history, record)

    assert "state" in kinds_at(judged(history), own[-7])


def test_a_customer_without_state_is_named(sound):
    history = copied(sound)
    records = history.topics["crash-customers-changelog"][0]
    key = records[0].key
    records[:] = [record for record in records if record.key != key]

    assert judged(history).found["state"] == 1


def test_what_the_broker_acknowledged_and_does_not_have_is_lost(sound):
    acknowledged = {("touchpoints", 0, 10_000_000): 0}

    assert judged(sound, acknowledged=acknowledged).found["lost"] == 1


def test_what_was_acknowledged_without_a_place_is_looked_for_in_its_partition(sound):
    """A repeat that the broker knew from before it died is acknowledged like that."""
    record = sound.topics["touchpoints"][0][0]
    there = {("touchpoints", 0, -1): zlib.crc32(record.value)}
    elsewhere = {("touchpoints", 0, -1): 1}

    assert judged(sound, acknowledged=there).violations == []
    assert judged(sound, acknowledged=elsewhere).found["lost"] == 1


def test_the_report_names_topic_partition_and_offset_of_each_violation(sound):
    history = copied(sound)
    repeated = again(history, command(history, lambda one: one["type"] == "message.send"))

    document = json.loads(json.dumps(judged(history).as_json()))

    assert document["passed"] is False
    assert document["violations"][0] | {"what": ""} == {
        "kind": "doubled",
        "what": "",
        "topic": repeated.topic,
        "partition": repeated.partition,
        "offset": repeated.offset,
    }


def test_a_reader_that_stands_before_an_open_transaction_is_told_where(sound):
    history = copied(sound)
    history.standing = [("commands.email", 1, 77)]

    report = judged(history)

    assert report.found["lost"] == 1
    assert report.violations[0].place == ("commands.email", 1, 77)
