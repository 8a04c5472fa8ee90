"""A worker that must not go on says why and ends; it never skips."""

import shutil
import subprocess
import sys

from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewPartitions,
    ResourcePatternType,
    ResourceType,
)

from tests.runtime.deployment import JOURNEYS, PARTITIONS, Deployment, cart, wait_until


def ended(worker, code):
    """Wait for a worker's end, and return what it said."""
    wait_until(lambda: worker.poll() is not None, "end of the worker")
    assert worker.returncode == code, worker.log.read_text()
    return worker.log.read_text()


def test_a_second_worker_in_a_slot_is_refused(deployment):
    deployment.start("a")

    said = ended(deployment.start("a", ready=False), 2)

    assert "slot" in said
    assert "in use" in said


def test_a_worker_does_not_start_on_a_grown_input_topic(deployment):
    deployment.start()
    client = AdminClient(deployment.client)
    grown = NewPartitions(f"{deployment.prefix}touchpoints", PARTITIONS + 2)
    for future in client.create_partitions([grown]).values():
        future.result(20)

    said = ended(deployment.start("b", ready=False), 1)

    assert "partition count is 5, should be 3" in said


def test_events_that_retention_removed_stop_the_worker(deployment):
    first = deployment.start()
    deployment.produce(cart("ana"), partitioner="murmur2_random")
    wait_until(lambda: "ana" in deployment.templates(), "first message")
    first.terminate()
    first.wait(20)
    more = [cart(f"c{n}") for n in range(30)]
    deployment.produce(*more, partitioner="murmur2_random")
    topic = f"{deployment.prefix}touchpoints"
    all_of_it = [TopicPartition(topic, p, -1) for p in range(PARTITIONS)]
    client = AdminClient(deployment.client)
    for future in client.delete_records(all_of_it).values():
        future.result(20)

    said = ended(deployment.start(ready=False), 1)

    assert "nothing was skipped" in said


def test_a_journey_changed_under_its_version_is_refused(deployment, tmp_path):
    deployment.start("a").terminate()
    changed = tmp_path / "journeys"
    shutil.copytree(JOURNEYS, changed)
    file = changed / "post_purchase.yaml"
    file.write_text(file.read_text().replace("wait: 3s", "wait: 4s"))

    said = ended(deployment.start("b", ready=False, journeys=changed), 1)

    assert "post_purchase@1" in said
    assert "raise the version" in said


def test_a_finding_in_the_journeys_stops_it_before_any_broker_is_asked(tmp_path):
    folder = tmp_path / "journeys"
    shutil.copytree(JOURNEYS, folder)
    (folder / "post_purchase.yaml").write_text("name: [\n")

    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "worker"],
        env={"ORCHESTRATOR_JOURNEYS": str(folder), "ORCHESTRATOR_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
    )

    assert done.returncode == 1
    assert "post_purchase.yaml:" in done.stderr


def test_a_right_that_is_taken_away_stops_the_worker_and_is_named(
    secure_kafka, topic_prefix, app_id, tmp_path
):
    admin, login = rights_of_guest(secure_kafka, topic_prefix, app_id)
    deployment = Deployment(
        secure_kafka.bootstrap_servers, topic_prefix, app_id, tmp_path, client=admin, **login
    )
    client = AdminClient(deployment.client)
    deployment.start()
    denied = f"{topic_prefix}commands.email.promotional"
    change(client.create_acls, [right("TOPIC", denied, "DENY", "WRITE")])
    deployment.produce(cart("ana"), partitioner="murmur2_random")

    said = ended(deployment.workers[0], 1)

    assert f"lacks the right to Write to {denied}" in said
    assert "guest-secret" not in said


def test_a_topic_of_ours_that_is_deleted_under_a_worker_is_named(deployment):
    worker = deployment.start()
    gone = f"{deployment.prefix}commands.email.promotional"
    change(AdminClient(deployment.client).delete_topics, [gone])
    deployment.produce(cart("ana"), partitioner="murmur2_random")

    said = ended(worker, 70)
    deployment.start()

    assert f"{gone}: no such topic any more" in said
    wait_until(lambda: "ana" in deployment.templates(), "the message, in a new topic")


def rights_of_guest(kafka, topic_prefix, app_id):
    """Let the guest do everything here; return the admin's client and the guest's settings."""
    secure = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "ssl.ca.location": str(kafka.ca_file),
    }
    admin = secure | {"sasl.username": kafka.admin[0], "sasl.password": kafka.admin[1]}
    client = AdminClient(admin | {"bootstrap.servers": kafka.bootstrap_servers})
    kinds = [("TOPIC", topic_prefix), ("GROUP", app_id), ("TRANSACTIONAL_ID", app_id)]
    change(client.create_acls, [right(kind, name, pattern="PREFIXED") for kind, name in kinds])
    return admin, {
        "security_protocol": "SASL_SSL",
        "sasl_username": kafka.guest[0],
        "sasl_password": kafka.guest[1],
        "ssl_cafile": kafka.ca_file,
    }


def right(kind, name, permission="ALLOW", operation="ALL", pattern="LITERAL"):
    return AclBinding(
        ResourceType[kind], name, ResourcePatternType[pattern], "User:guest", "*",
        AclOperation[operation], AclPermissionType[permission],
    )  # fmt: skip


def change(what, things):
    for future in what(things).values():
        future.result(20)
