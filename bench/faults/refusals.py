"""Rows in which a worker must stop, say why, and skip nothing: rights, topics, partitions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    NewPartitions,
    ResourcePatternType,
    ResourceType,
)

from bench.faults.case import Row
from bench.faults.scene import CHANNELS, LONELY, PARTITIONS, Scene
from orchestrator.broker import EmbeddedBroker, Listener

if TYPE_CHECKING:
    from bench.crash.judge.history import History
    from bench.crash.judge.records import Violation
    from bench.faults.case import Case

USER: Final = "worker"
PASSWORD: Final = "w0rker-s3cret"
DENIED_SECONDS: Final = 16.0
"""Longer than a commit may take."""
AUTHORIZER: Final = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
SCRAM: Final = {
    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "scram-sha-512.sasl.jaas.config": (
        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    ),
}


def _binding(
    kind: ResourceType,
    name: str,
    permission: AclPermissionType = AclPermissionType.ALLOW,
    operation: AclOperation = AclOperation.ALL,
) -> AclBinding:
    pattern = ResourcePatternType.LITERAL
    return AclBinding(kind, name, pattern, f"User:{USER}", "*", operation, permission)


def denied(case: Case) -> None:
    """Take the right to write commands away under load; delete a command topic."""
    listener = Listener("SECURE", "SASL_PLAINTEXT", properties=SCRAM, scram_users={USER: PASSWORD})
    broker = EmbeddedBroker(
        case.folder / "broker", listeners=[listener], properties=LONELY | AUTHORIZER
    )
    with broker:
        login = {
            "ORCHESTRATOR_BOOTSTRAP_SERVERS": broker.address_of("SECURE"),
            "ORCHESTRATOR_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "ORCHESTRATOR_SASL_USERNAME": USER,
            "ORCHESTRATOR_SASL_PASSWORD": PASSWORD,
        }
        with Scene(case, broker.bootstrap_servers, settings=login) as scene:
            _deny(scene)


def _deny(scene: Scene) -> None:
    case, admin = scene.case, scene.admin()
    everything = [
        _binding(ResourceType.TOPIC, "*"),
        _binding(ResourceType.GROUP, "*"),
        _binding(ResourceType.TRANSACTIONAL_ID, "*"),
        _binding(ResourceType.BROKER, "kafka-cluster"),
    ]
    for done in admin.create_acls(everything).values():
        done.result(20)
    scene.create_topics()
    scene.start_workers()
    email = f"{scene.names.commands_prefix}email"
    ads = [f"{scene.names.commands_prefix}ads{lane}" for lane in ("", ".promotional")]
    for done in admin.delete_topics(ads).values():
        done.result(20)
    case.tell("the topics for audiences are deleted")
    # Nobody reports on audiences, so the senders do not miss them.
    scene.start_load(channels=[channel for channel in CHANNELS if channel != "ads"])

    def again() -> bool:
        return set(ads) <= set(admin.list_topics(timeout=10).topics)

    took = case.wait("the topics to be there again", again, 40)
    codes = dict(scene.fleet.diary.exit_codes)
    missing = _reasons(scene, "no such topic")
    case.demand("workers name the topic that is missing", holds=missing)
    case.saw(f"topics of a channel deleted: exits {codes}, {missing}, made again by {took:.0f} s")
    case.wait(
        "a ready worker", lambda: any(scene.fleet.ready(one) for one in scene.fleet.slots), 40
    )
    forbidden = _binding(ResourceType.TOPIC, email, AclPermissionType.DENY, AclOperation.WRITE)
    for done in admin.create_acls([forbidden]).values():
        done.result(20)
    case.tell(f"no right to write to {email}")
    deaths = sum(slot.deaths for slot in scene.fleet.slots)
    case.pause(DENIED_SECONDS)
    stopped = sum(slot.deaths for slot in scene.fleet.slots) - deaths
    every = AclBindingFilter(
        ResourceType.TOPIC,
        email,
        ResourcePatternType.LITERAL,
        f"User:{USER}",
        "*",
        AclOperation.WRITE,
        AclPermissionType.DENY,
    )
    for gone in admin.delete_acls([every]).values():
        gone.result(20)
    case.tell("it has the right again")
    reasons = _reasons(scene, "lacks the right")
    case.demand("workers stop when they may not write", holds=stopped >= 1)
    case.demand("they name the reason", holds=reasons)
    scene.settle()
    scene.judge()
    said = "".join(scene.log_of(slot) for slot in scene.fleet.slots)
    case.demand("no password in a log", holds=PASSWORD not in said)
    case.saw(f"right to write denied for {DENIED_SECONDS:.0f} s: {stopped} stops, {reasons}")


def _reasons(scene: Scene, about: str) -> list[str]:
    """Return why workers have given up, as far as it is about this."""
    said = "".join(scene.log_of(slot) for slot in scene.fleet.slots)
    lines = map(_parsed, said.splitlines())
    ends = {line["error"] for line in lines if line.get("event") == "worker gives up"}
    return sorted(end for end in ends if about in end)


def _parsed(line: str) -> dict[str, str]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def grown(case: Case) -> None:
    """Give the input topic more partitions under load."""
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        scene.begin()
        scene.at(10)
        topic = scene.names.input_topics[0]
        grown_to = NewPartitions(topic, PARTITIONS + 2)
        for done in scene.admin().create_partitions([grown_to]).values():
            done.result(20)
        case.tell(f"{topic} has {PARTITIONS + 2} partitions now")
        _send_astray(scene, topic)
        case.pause(3)
        scene.restart(scene.fleet.slots[0], why="for a rebalance")

        def refused() -> bool:
            logs = [scene.log_of(slot) for slot in scene.fleet.slots]
            return all("must never change" in log or "should be 8" in log for log in logs)

        took = case.wait("all workers to refuse", refused, 60)
        assert scene.load is not None
        case.wait("the end of the load", scene.load.over.is_set)
        scene.end_load()
        said = "".join(scene.log_of(slot) for slot in scene.fleet.slots)
        running = "partition count must never change" in said
        case.demand("a running worker names the partition count", holds=running)
        starting = f"partition count is {PARTITIONS + 2}, should be {PARTITIONS}" in said
        case.demand("a starting worker names the partition count", holds=starting)
        scene.judge(excused=_undecided, change=_without_the_new)
        assert scene.history is not None
        for record in scene.history.of(scene.names.journey_log):
            cause = json.loads(record.value or b"{}")["cause"]
            if cause.get("topic") == topic and cause["partition"] >= PARTITIONS:
                case.found("a record of a new partition was decided", record.place)
        case.saw(
            f"all workers stopped with 1 within {took:.0f} s of the next rebalance, and say which "
            "topic has how many; what was not decided is left where it is"
        )


def _send_astray(scene: Scene, topic: str) -> None:
    """Send a purchase where the default partitioner would put some customers now."""
    producer = Producer({"bootstrap.servers": scene.bootstrap_servers, "log_level": 0})
    items = [{"sku": "sku-1", "quantity": 1, "price": "1.00"}]
    data = {"order_id": "astray", "total": "1.00", "currency": "EUR", "items": items}
    body = {"specversion": "1.0", "id": "astray", "source": "/shop", "type": "purchase"}
    body |= {"subject": "astray", "time": "2026-11-22T10:00:00Z"}
    producer.produce(topic, json.dumps({**body, "data": data}), "astray", partition=PARTITIONS)
    producer.flush(20)


def _without_the_new(history: History) -> History:
    """Leave the new partitions out: the judge knows homes by the count that was agreed."""
    topic = history.names.input_topics[0]
    kept = {n: records for n, records in history.topics[topic].items() if n < PARTITIONS}
    history.topics[topic] = kept
    return history


def _undecided(violation: Violation) -> bool:
    """Whether it says only that somebody stopped: records not taken, waits not over."""
    return violation.what == "a consumed record left no trace" or violation.what.endswith(
        "never woke up"
    )


ROWS: Final = (
    Row(
        19,
        "command topic missing; right to write denied",
        "topics deleted; DENY by StandardAuthorizer for 12 s",
        "workers stop with the reason and skip nothing; they go on when it is mended",
        denied,
    ),
    Row(
        22,
        "partition count of the input grown",
        "partitions added under load, one worker restarted",
        "refused by running and by starting workers, with the reason; nothing decided wrongly",
        grown,
    ),
)
