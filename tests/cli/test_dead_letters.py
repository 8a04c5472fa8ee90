"""`orchestrator dead-letters` on a real broker: what it shows, what it hides, what it puts back."""

from __future__ import annotations

import json
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from orchestrator.cli import run
from orchestrator.protocol.codec import dead_letter_headers
from orchestrator.protocol.outputs import Position

NOW_MS = int(time.time() * 1000)
SECRET = b'{"mail":"ana@example.org"'


class Shop:
    """The topics of one test and the command line pointed at them."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.servers = bootstrap_servers
        self.prefix = prefix
        admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        names = (f"{prefix}touchpoints", f"{prefix}dead-letters")
        for made in admin.create_topics([NewTopic(name, 2, 1) for name in names]).values():
            made.result(20)

    def dead_letter(
        self,
        key,
        value,
        reason,
        *,
        topic="touchpoints",
        age_ms=0,
        headers=(),
        codec="none",
        commit=True,
    ) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.servers,
                "transactional.id": self.prefix,
                "compression.type": codec,
            }
        )
        producer.init_transactions(20)
        # A transaction leaves a marker behind the record, as the worker's do.
        producer.begin_transaction()
        producer.produce(
            f"{self.prefix}dead-letters",
            key=key,
            value=value,
            partition=0,
            timestamp=NOW_MS - age_ms,
            headers=dead_letter_headers(
                headers,
                reason=reason,
                detail="data.order_id: is missing",
                origin=Position(f"{self.prefix}{topic}", 1, 17, NOW_MS),
                now_ms=NOW_MS - age_ms,
            ),
        )
        if commit:
            producer.commit_transaction(20)
            return
        producer.flush(20)
        self.open_producer = producer  # Whoever forgets it aborts it.

    def call(self, *arguments: str) -> int:
        return run(
            [
                "dead-letters",
                *arguments,
                "--bootstrap-servers",
                self.servers,
                "--topic-prefix",
                self.prefix,
            ]
        )

    def touchpoints(self) -> list[tuple]:
        """Return key, value, headers and time of everything on the input topic."""
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": "reader", "enable.auto.commit": False}
        )
        found = []
        for index in range(2):
            place = TopicPartition(f"{self.prefix}touchpoints", index, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=20)
            consumer.assign([place])
            while len([one for one in found if one[0] == index]) < end:
                message = consumer.poll(10)
                assert message is not None
                assert message.error() is None
                found.append(
                    (
                        index,
                        message.key(),
                        message.value(),
                        message.headers(),
                        message.timestamp()[1],
                    )
                )
        consumer.close()
        return [one[1:] for one in found]


@pytest.fixture
def shop(kafka, topic_prefix) -> Shop:
    return Shop(kafka.bootstrap_servers, topic_prefix)


def test_a_list_says_why_and_where_from_but_shows_no_values(shop, capsys) -> None:
    shop.dead_letter(b"ana", SECRET, "invalid_json")

    assert shop.call("list") == 0

    shown = capsys.readouterr().out
    assert "invalid_json" in shown
    assert f"from {shop.prefix}touchpoints/1/17: data.order_id: is missing" in shown
    assert "1 shown of 1 dead letters (invalid_json 1)" in shown
    assert "example.org" not in shown
    assert shop.call("list", "--values") == 0
    assert "ana@example.org" in capsys.readouterr().out


def test_a_list_can_be_filtered_limited_and_read_by_machines(shop, capsys) -> None:
    shop.dead_letter(b"a", b"1", "schema", age_ms=7_200_000)
    shop.dead_letter(b"b", b"2", "schema")
    shop.dead_letter(b"c", None, "empty_value")

    def listed(*options: str) -> list[dict]:
        assert shop.call("list", "--json", *options) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [one["dl_reason"] for one in listed()] == ["schema", "schema", "empty_value"]
    assert [one["dl_reason"] for one in listed("--limit", "1")] == ["empty_value"]
    assert len(listed("--reason", "schema", "--since", "1h")) == 1
    (letter,) = listed("--reason", "empty_value", "--values")
    assert (letter["key_base64"], letter["value_base64"]) == ("Yw==", None)
    assert "key_base64" not in listed("--limit", "1")[0]


def test_a_replay_puts_back_what_was_there_and_only_when_told_to(shop, capsys) -> None:
    shop.dead_letter(b"ana", b"\xff\x00", "schema", headers=[("x", b"\xfe"), ("y", None)])
    shop.dead_letter(None, b"other", "invalid_json")

    assert shop.call("replay", "--reason", "schema") == 0
    assert "would put back: 1 dead letters (schema 1)" in capsys.readouterr().out
    assert shop.touchpoints() == []

    assert shop.call("replay", "--reason", "schema", "--yes") == 0
    assert "put back: 1 dead letters (schema 1)" in capsys.readouterr().out
    assert shop.touchpoints() == [(b"ana", b"\xff\x00", [("x", b"\xfe"), ("y", None)], NOW_MS)]


def test_a_replay_never_writes_outside_of_the_input_topics(shop, capsys) -> None:
    shop.dead_letter(b"ana", b"1", "schema", topic="journey-log")

    assert shop.call("replay", "--yes") == 1
    assert "left: 1 from" in capsys.readouterr().out
    assert shop.call("replay", "--yes", "--to", f"{shop.prefix}journey-log") == 2
    assert "is not an input topic" in capsys.readouterr().err
    assert shop.touchpoints() == []

    assert shop.call("replay", "--yes", "--to", f"{shop.prefix}touchpoints") == 0
    assert [one[0] for one in shop.touchpoints()] == [b"ana"]


def test_records_are_read_however_they_are_compressed(shop, capsys) -> None:
    """The client reads all but gzip by a library of its own, which must be installed."""
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    for codec in codecs:
        shop.dead_letter(b"ana", codec.encode() * 200, "schema", codec=codec)

    assert shop.call("list", "--values") == 0
    shown = capsys.readouterr().out
    assert [codec for codec in codecs if codec * 200 in shown] == list(codecs)


def test_letters_behind_an_open_transaction_are_told_of(shop, capsys) -> None:
    shop.dead_letter(b"ana", b"1", "schema")
    shop.dead_letter(b"ben", b"2", "schema", commit=False)

    assert shop.call("list") == 0
    shown = capsys.readouterr()
    assert "1 shown" in shown.out
    assert "dead-letters/0: from offset 2 to 3 cannot be read: a transaction is open" in shown.err


def test_what_stands_in_the_way_is_one_line(shop, capsys) -> None:
    shop.prefix += "nowhere."

    assert shop.call("list") == 1
    assert "does not exist; run `orchestrator topics`" in capsys.readouterr().err
    assert shop.call("list", "--since", "yesterday") == 2
    assert "--since" in capsys.readouterr().err
