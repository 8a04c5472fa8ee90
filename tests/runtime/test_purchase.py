"""A purchase ends the promotion and starts what follows it, whoever produced it and however."""

import asyncio
import subprocess

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from orchestrator.broker.process import java_command
from tests.runtime.deployment import Deployment, cart, purchase, wait_until

PURCHASED = ["cart_first", "thank_you"]


def told(deployment, customer):
    return lambda: PURCHASED[1] in deployment.templates().get(customer, [])


def assert_promotion_ended(deployment, customer):
    """The promotion's open e-mail is cancelled, the enrollment fenced, the audience left."""
    wait_until(told(deployment, customer), "thank-you")

    assert deployment.log_entries(customer).count("exit") == 1
    lane = [
        v for k, v, _ in deployment.read("commands.email.promotional") if k == customer.encode()
    ]
    assert [command["type"] for command in lane] == ["message.send", "message.cancel"]
    assert lane[1]["data"]["cancels"] == [lane[0]["id"]]
    fences = [v for k, v, _ in deployment.read("fences") if k == customer.encode()]
    assert fences[-1]["enrollments"][0]["enrollment"] == lane[0]["data"]["enrollment"]
    ads = [
        v["type"]
        for k, v, _ in deployment.read("commands.ads.promotional")
        if k == customer.encode()
    ]
    assert ads == ["audience.add", "audience.remove"]


def by_console_producer(deployment, event):
    command = java_command(
        "org.apache.kafka.tools.ConsoleProducer",
        "--bootstrap-server",
        deployment.bootstrap_servers,
        "--topic",
        f"{deployment.prefix}touchpoints",
        "--reader-property",
        "parse.key=true",
        "--reader-property",
        "key.separator=|",
    )
    line = event["subject"].encode() + b"|" + orjson.dumps(event) + b"\n"
    subprocess.run(command, input=line, check=True, timeout=60, capture_output=True)


def by_librdkafka_default(deployment, event):
    deployment.produce(event)


def by_aiokafka(deployment, event):
    async def send():
        async with AIOKafkaProducer(bootstrap_servers=deployment.bootstrap_servers) as producer:
            await producer.send_and_wait(
                f"{deployment.prefix}touchpoints", orjson.dumps(event), event["subject"].encode()
            )

    asyncio.run(send())


@pytest.mark.parametrize("produce", [by_console_producer, by_librdkafka_default, by_aiokafka])
def test_a_purchase_ends_the_promotion_whoever_produces_it(deployment, produce):
    deployment.start()
    customers = [f"ana-{n}" for n in range(4)]
    deployment.produce(*map(cart, customers), partitioner="murmur2_random")
    wait_until(lambda: len(deployment.templates()) == len(customers), "first messages")

    for customer in customers:
        produce(deployment, purchase(customer))

    for customer in customers:
        assert_promotion_ended(deployment, customer)


def test_an_aborted_transaction_of_a_producer_has_no_effect(deployment):
    deployment.start()
    producer = deployment.producer(**{"transactional.id": deployment.app_id + "-shop"})
    producer.init_transactions(20)
    for customer, commit in (("eva", False), ("ana", True)):
        producer.begin_transaction()
        producer.produce(
            f"{deployment.prefix}touchpoints", key=customer, value=orjson.dumps(purchase(customer))
        )
        producer.flush(20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)

    wait_until(lambda: "ana" in deployment.templates(), "thank-you")

    assert "eva" not in deployment.templates()
    assert deployment.log_entries("eva") == []


def test_a_purchase_has_its_effect_over_tls_with_a_login(
    secure_kafka, topic_prefix, app_id, tmp_path
):
    user, password = secure_kafka.admin
    client = {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(secure_kafka.ca_file),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }
    deployment = Deployment(
        secure_kafka.bootstrap_servers,
        topic_prefix,
        app_id,
        tmp_path,
        client,
        security_protocol="SASL_SSL",
        ssl_cafile=secure_kafka.ca_file,
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username=user,
        sasl_password=password,
    )
    try:
        worker = deployment.start()
        deployment.produce(cart("ana"), purchase("ana"), partitioner="murmur2_random")

        assert_promotion_ended(deployment, "ana")
        assert password not in worker.log.read_text()
    finally:
        deployment.stop()


def test_a_bad_record_stops_nobody_and_is_kept(deployment):
    deployment.start()
    producer = Producer(deployment.client | {"acks": "all"})
    topic = f"{deployment.prefix}touchpoints"
    bad = [b"{", b'{"specversion":"1.0"}', b"\xff\xfe", b"[" * 100_000, b"NaN"]
    for value in bad:
        producer.produce(topic, key="ana", value=value, headers=[("who", b"fuzz")])
    producer.produce(topic, key="ana", value=None)
    producer.flush(20)
    deployment.produce(purchase("ana"), partitioner="murmur2_random")

    wait_until(lambda: "ana" in deployment.templates(), "thank-you")

    wait_until(lambda: len(deployment.read("dead-letters")) == len(bad) + 1, "dead letters")
    letters = deployment.read("dead-letters")
    assert {headers["dl_reason"] for _, _, headers in letters} == {
        b"invalid_json",
        b"schema",
        b"empty_value",
    }
    assert all(headers.get("who") == b"fuzz" for _, value, headers in letters if value is not None)
