"""Reading stretches of a log in bulk: all that is committed, nothing else, and no end missed."""

from __future__ import annotations

import time

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from pydantic import SecretStr

from orchestrator.clients.bulk import Stretch, read_stretches
from orchestrator.clients.security import bulk_options
from orchestrator.errors import DependencyError
from orchestrator.settings import ConnectionSettings

COMMITTED, ABORTED = True, False
PARTITIONS = 3


def create(options, topic):
    admin = AdminClient(options)
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(20)


def write(options, topic, transactions):
    """Write (partition, key, value) in transactions, each ended in the way that stands first."""
    producer = Producer(options | {"transactional.id": topic})
    producer.init_transactions(30)
    for outcome, records in transactions:
        producer.begin_transaction()
        for partition, key, value in records:
            producer.produce(topic, value, key, partition)
        producer.flush(20)
        if outcome is COMMITTED:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)


def ends_of(options, topic):
    """Return the end of each partition, markers included."""
    places = {TopicPartition(topic, index): OffsetSpec.latest() for index in range(PARTITIONS)}
    admin = AdminClient(options)
    found = admin.list_offsets(places)
    return {place.partition: future.result(20).offset for place, future in found.items()}


def read(options, stretches):
    """Return what is read as (partition, offset, key, value)."""
    found = []
    deadline = time.monotonic() + 30
    for records in read_stretches(options, "nobody", stretches):
        found += [(one.partition(), one.offset(), one.key(), one.value()) for one in records]
        assert time.monotonic() < deadline, "the end was missed"
        if not records:
            time.sleep(0.002)
    return found


def test_what_is_committed_is_read_from_where_one_was_to_the_end(kafka, topic_prefix):
    options = {"bootstrap.servers": kafka.bootstrap_servers}
    topic = f"{topic_prefix}log"
    create(options, topic)
    write(
        options,
        topic,
        [
            (COMMITTED, [(0, b"ana", b"1"), (0, b"ben", b"1"), (1, b"eva", b"1")]),
            (ABORTED, [(0, b"ana", b"lost"), (1, b"eva", b"lost")]),
            (COMMITTED, [(0, b"ana", None), (1, b"eva", b"2")]),
            (ABORTED, [(0, b"ben", b"lost"), (1, b"eva", b"lost")]),
        ],
    )
    ends = ends_of(options, topic)

    found = read(
        options,
        [
            Stretch(topic, 0, 0, ends[0]),
            Stretch(topic, 1, 1, ends[1]),
            Stretch(topic, 2, 0, ends[2]),
        ],
    )

    assert sorted(found) == [
        (0, 0, b"ana", b"1"),
        (0, 1, b"ben", b"1"),
        (0, 5, b"ana", None),
        (1, 4, b"eva", b"2"),
    ]


def test_a_stretch_that_holds_markers_alone_has_an_end(kafka, topic_prefix):
    options = {"bootstrap.servers": kafka.bootstrap_servers}
    topic = f"{topic_prefix}log"
    create(options, topic)
    write(options, topic, [(ABORTED, [(0, b"ana", b"lost")])])
    end = ends_of(options, topic)[0]

    assert end == 2
    assert read(options, [Stretch(topic, 0, 1, end)]) == []
    assert read(options, [Stretch(topic, 0, end, end)]) == []


def test_it_reads_behind_tls_and_a_login_and_says_what_it_may_not_read(secure_kafka, topic_prefix):
    def options_of(login):
        return bulk_options(
            ConnectionSettings(
                bootstrap_servers=secure_kafka.bootstrap_servers,
                security_protocol="SASL_SSL",
                ssl_cafile=secure_kafka.ca_file,
                sasl_mechanism="SCRAM-SHA-512",
                sasl_username=login[0],
                sasl_password=SecretStr(login[1]),
            )
        )

    admin, guest = options_of(secure_kafka.admin), options_of(secure_kafka.guest)
    topic = f"{topic_prefix}log"
    create(admin, topic)
    write(admin, topic, [(COMMITTED, [(0, b"ana", b"1")])])
    stretch = Stretch(topic, 0, 0, 2)

    assert read(admin, [stretch]) == [(0, 0, b"ana", b"1")]
    with pytest.raises(DependencyError, match=r"Group authorization failed.*; nothing was skipped"):
        read(guest, [stretch])


@pytest.mark.parametrize("keyfile", ["key.pem", None])
def test_a_certificate_of_ours_and_a_name_that_is_not_checked_are_told(tmp_path, keyfile):
    for name in ("ca.pem", "own.pem", "key.pem"):
        (tmp_path / name).touch()
    settings = ConnectionSettings(
        bootstrap_servers="kafka:9093",
        security_protocol="SSL",
        ssl_cafile=tmp_path / "ca.pem",
        ssl_certfile=tmp_path / "own.pem",
        ssl_keyfile=keyfile and tmp_path / keyfile,
        ssl_key_password=SecretStr("open"),
        ssl_check_hostname=False,
    )

    assert bulk_options(settings) == {
        "bootstrap.servers": "kafka:9093",
        "security.protocol": "SSL",
        "ssl.endpoint.identification.algorithm": "none",
        "ssl.ca.location": str(tmp_path / "ca.pem"),
        "ssl.certificate.location": str(tmp_path / "own.pem"),
        "ssl.key.location": str(tmp_path / (keyfile or "own.pem")),
        "ssl.key.password": "open",
    }
