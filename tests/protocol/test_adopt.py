"""Journeys that change while a worker runs: never in the middle of a group, and nobody is lost."""

import orjson
import pytest

from orchestrator.core.pauses import Pause
from orchestrator.errors import DependencyError, InvariantViolated
from orchestrator.protocol.commit.meta import JOURNEYS_KEY, META_KEY, decode_meta
from orchestrator.protocol.commit.transaction import TopicPartition
from tests.core.builders import journey, send, shop_of, wait
from tests.protocol.simulated import NAMES, journey_log, one_worker, rules, visit_store

FIRST = journey("hello", "store.visited", [wait("w", "1m"), send("old")], kind="service")
SECOND = journey("hello", "store.visited", [send("new")], kind="service", version=2)
BEFORE, AFTER = shop_of(FIRST), shop_of(FIRST, SECOND)


def visited(cluster, customer, number):
    visit_store(cluster, customer, f"v{number}")


def templates(cluster):
    return sorted(
        orjson.loads(record.value)["data"]["template"]
        for topic in NAMES.command_partitions
        for record in cluster.committed(topic)
    )


def test_who_is_inside_goes_on_and_who_comes_gets_the_new_version():
    cluster, worker = one_worker(BEFORE)
    visited(cluster, "ana", 1)
    cluster.work_on()
    assert worker.machine.drained
    worker.machine.adopt(rules(AFTER))
    visited(cluster, "ben", 2)
    cluster.settle()

    assert templates(cluster) == ["new", "old"]
    hashes = {e["definitions"] for entries in journey_log(cluster).values() for e in entries}
    assert AFTER.content_hash in hashes


def test_journeys_never_change_in_the_middle_of_a_group():
    cluster, worker = one_worker(BEFORE)
    visited(cluster, "ana", 1)
    while not worker.machine.open_inputs:
        worker.act("fetch", 0)
        worker.machine.decide(1, worker.clocks())

    with pytest.raises(InvariantViolated):
        worker.machine.adopt(rules(AFTER))


def test_content_changed_under_a_version_is_refused_and_nothing_changes():
    changed = shop_of(journey("hello", "store.visited", [send("else")], kind="service"))
    cluster, worker = one_worker(BEFORE)

    with pytest.raises(DependencyError, match="hello@1 changed its content"):
        worker.machine.adopt(rules(changed))

    visited(cluster, "ana", 1)
    cluster.settle()
    assert templates(cluster) == ["old"]


def test_the_partitions_records_name_the_new_journeys_with_the_next_transaction():
    cluster, worker = one_worker(BEFORE)
    worker.machine.adopt(rules(AFTER))
    visited(cluster, "ana", 1)
    cluster.settle()

    place = TopicPartition(NAMES.changelog, 0)
    newest = {record.key: record.value for record in cluster.broker.logs[place].committed(0)}
    named = {
        decode_meta(value, where="test").content_hash
        for key, value in newest.items()
        if key == META_KEY
    }
    recorded = [
        record.value for record in cluster.committed(NAMES.changelog) if record.key == JOURNEYS_KEY
    ]
    assert named <= {AFTER.content_hash, BEFORE.content_hash}
    assert any(b"hello@2" in value for value in recorded)


def test_what_is_paused_stays_paused_when_journeys_change():
    cluster, worker = one_worker(BEFORE)
    cluster.pause((Pause("global", "eva", "stop"),))
    worker.read_control()
    worker.machine.adopt(rules(AFTER))
    visited(cluster, "ana", 1)
    cluster.work_on()
    assert templates(cluster) == []

    cluster.pause(())
    cluster.settle()

    assert templates(cluster) == ["new"]


def test_what_is_paused_never_changes_in_the_middle_of_a_group():
    cluster, worker = one_worker(BEFORE)
    visited(cluster, "ana", 1)
    while not worker.machine.open_inputs:
        worker.act("fetch", 0)
        worker.machine.decide(1, worker.clocks())

    with pytest.raises(InvariantViolated):
        worker.machine.pause(cluster.pauses)
