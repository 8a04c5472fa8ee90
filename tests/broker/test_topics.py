"""Topics on a real broker: created once, drift is told, a moved home is refused."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from bench.senders.channel import envelope
from orchestrator.broker import java_command
from orchestrator.clients.security import check_connection, client_options
from orchestrator.core.language.shop import Channel
from orchestrator.errors import DependencyError
from orchestrator.protocol.topics import Topics
from orchestrator.runtime.admin import TopicReport, ensure_topics, inspect_topics
from orchestrator.sender import Delivered, Sender
from orchestrator.sender.names import Names
from orchestrator.sender.preparation import prepare
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.sender import Command, Outcome
    from tests.conftest import Kafka, SecureKafka

CHANNELS = {"email": Channel(kind="message", address_ref="profile.email", partitions=3)}
ROOT = Path(__file__).parents[2]
_OTHER_CHANNEL = re.compile(r"(commands|attempts)\.(?!email)")


def settings_for(kafka: Kafka, topic_prefix: str, app_id: str, **more: Any) -> Settings:
    return Settings.load(
        bootstrap_servers=kafka.bootstrap_servers,
        topic_prefix=topic_prefix,
        app_id=app_id,
        partitions=more.pop("partitions", 4),
        **more,
    )


@pytest.fixture
def settings(kafka: Kafka, topic_prefix: str, app_id: str) -> Settings:
    return settings_for(kafka, topic_prefix, app_id)


async def inspected_when(
    settings: Settings, topics: Topics, reached: Callable[[TopicReport], bool]
) -> TopicReport:
    """Look until the broker knows what its controller has acknowledged."""
    report: TopicReport | DependencyError | None = None
    for _ in range(50):
        try:
            report = await inspect_topics(settings, topics, create=False)
        except DependencyError as error:
            report = error
        else:
            if reached(report):
                return report
        await asyncio.sleep(0.2)
    pytest.fail(f"not reached: {report}")


async def test_missing_topics_are_created_as_the_contract_says(settings: Settings):
    topics = Topics.of(settings, CHANNELS)
    first = await ensure_topics(settings, topics)
    second = await ensure_topics(settings, topics)

    assert set(first.created) == {topic.name for topic in topics.all}
    assert (second.created, second.drift, second.refused) == ((), (), ())
    assert second.partitions[f"{settings.topic_prefix}touchpoints"] == 4
    assert second.partitions[f"{settings.topic_prefix}commands.email.promotional"] == 3
    assert second.partitions[f"{settings.topic_prefix}{settings.app_id}-customers-changelog"] == 4


async def test_many_workers_may_create_the_same_topics_at_once(settings: Settings):
    topics = Topics.of(settings, CHANNELS)
    reports = await asyncio.gather(*(ensure_topics(settings, topics) for _ in range(4)))

    assert sum(len(report.created) for report in reports) == len(topics.all)


async def test_a_changed_partition_count_is_refused_and_nothing_is_created(
    kafka: Kafka, settings: Settings, topic_prefix: str, app_id: str
):
    await ensure_topics(settings, Topics.of(settings, CHANNELS))
    larger = settings_for(kafka, topic_prefix, app_id, partitions=8)
    more_channels = CHANNELS | {"sms": Channel(kind="message", partitions=3)}

    with pytest.raises(DependencyError, match="partition count is 4, should be 8"):
        await ensure_topics(larger, Topics.of(larger, more_channels))
    report = await inspect_topics(settings, Topics.of(settings, more_channels), create=False)
    assert {topic.name for topic in report.missing} == {
        f"{topic_prefix}commands.sms",
        f"{topic_prefix}commands.sms.promotional",
    }


async def test_drift_is_told_and_left_alone(settings: Settings):
    topics = Topics.of(settings, CHANNELS)
    await ensure_topics(settings, topics)
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    await admin.alter_configs(
        [
            ConfigResource(
                ConfigResourceType.TOPIC, topics.journey_log, configs={"retention.ms": "60000"}
            )
        ]
    )
    await admin.create_partitions({topics.commands("email"): NewPartitions(total_count=5)})
    await admin.close()
    expected = {
        f"{topics.journey_log}: retention.ms is 60000, should be 7776000000",
        f"{topics.commands('email')}: partition count is 5, should be 3",
    }
    report = await inspected_when(
        settings, topics, lambda report: expected <= {str(one) for one in report.drift}
    )

    assert report.refused == ()
    assert topics.names(report.partitions).command_partitions == {
        topics.commands("email"): 5,
        topics.commands("email", promotional=True): 3,
    }


async def test_an_input_that_the_broker_compacts_is_refused(settings: Settings):
    topics = Topics.of(settings, CHANNELS)
    await ensure_topics(settings, topics)
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    await admin.alter_configs(
        [
            ConfigResource(
                ConfigResourceType.TOPIC, topics.inputs[0], configs={"cleanup.policy": "compact"}
            )
        ]
    )
    await admin.close()
    await inspected_when(settings, topics, lambda report: bool(report.refused))

    with pytest.raises(DependencyError, match=r"cleanup\.policy is compact, should be delete"):
        await ensure_topics(settings, topics)


def secure_settings(kafka: SecureKafka, login: tuple[str, str], tmp_path: Path) -> Settings:
    password = tmp_path / "password"
    password.write_text(login[1] + "\n")
    return Settings.load(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol="SASL_SSL",
        sasl_username=login[0],
        sasl_password_file=password,
        ssl_cafile=kafka.ca_file,
        topic_prefix=f"{login[0]}.",
        app_id=f"app-{login[0]}",
        partitions=2,
    )


async def test_every_client_gets_through_tls_and_a_password(
    secure_kafka: SecureKafka, tmp_path: Path
):
    settings = secure_settings(secure_kafka, secure_kafka.admin, tmp_path)
    topics = Topics.of(settings, CHANNELS)
    await ensure_topics(settings, topics)
    options = client_options(settings)
    async with AIOKafkaProducer(**options) as producer:
        await producer.send_and_wait(topics.inputs[0], b"hello")
    async with AIOKafkaConsumer(
        topics.inputs[0], auto_offset_reset="earliest", **options
    ) as consumer:
        record = await consumer.getone()

    assert record.value == b"hello"


async def test_a_wrong_password_is_one_clear_line_without_the_password(
    secure_kafka: SecureKafka, tmp_path: Path
):
    settings = secure_settings(secure_kafka, ("admin", "wr0ng-s3cret"), tmp_path)

    with pytest.raises(DependencyError, match="refuses the login of 'admin'") as caught:
        await check_connection(settings)
    assert "wr0ng-s3cret" not in str(caught.value)
    assert "wr0ng-s3cret" not in repr(settings)


def test_the_command_line_tells_a_wrong_password_without_it(secure_kafka: SecureKafka):
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "topics", "--log-level", "debug"],
        env={
            "PATH": "",
            "ORCHESTRATOR_BOOTSTRAP_SERVERS": secure_kafka.bootstrap_servers,
            "ORCHESTRATOR_SECURITY_PROTOCOL": "SASL_SSL",
            "ORCHESTRATOR_SASL_USERNAME": "admin",
            "ORCHESTRATOR_SASL_PASSWORD": "wr0ng-s3cret",
            "ORCHESTRATOR_SSL_CAFILE": str(secure_kafka.ca_file),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "refuses the login of 'admin'" in done.stderr.splitlines()[-1]
    assert "wr0ng-s3cret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ssl_cafile": None}, "certificate is not trusted"),
        ({"security_protocol": "SASL_PLAINTEXT"}, "security_protocol"),
        ({"sasl_mechanism": "PLAIN"}, "does not know sasl_mechanism PLAIN"),
        ({"bootstrap_servers": "127.0.0.1:1"}, "nobody listens there"),
    ],
)
async def test_each_way_to_be_kept_out_names_what_to_change(
    secure_kafka: SecureKafka, tmp_path: Path, change: dict[str, Any], told: str
):
    good = secure_settings(secure_kafka, secure_kafka.admin, tmp_path)

    with pytest.raises(DependencyError, match=told):
        await check_connection(good.model_copy(update=change))


async def test_a_denied_right_is_named(secure_kafka: SecureKafka, tmp_path: Path):
    settings = secure_settings(secure_kafka, secure_kafka.guest, tmp_path)

    with pytest.raises(DependencyError, match="lacks the right to Describe"):
        await ensure_topics(settings, Topics.of(settings, CHANNELS))


async def test_the_rights_of_the_plan_are_enough_and_the_topics_as_well(
    secure_kafka: SecureKafka, tmp_path: Path
):
    """Carry out the printed plan as admin; then the guest may work, there and nowhere else."""
    plan = planned(secure_kafka, topic_prefix="planned.", app_id="planned")
    # One line of each kind by the tool that it names, which takes seconds to start.
    for line in (plan[0], plan[-2], plan[-1]):
        await run_with_kafkas_tool(line, admin_login(secure_kafka, tmp_path))
    carry_out(plan[1:-2], secure_kafka)
    settings = secure_settings(secure_kafka, secure_kafka.guest, tmp_path).model_copy(
        update={"topic_prefix": "planned.", "app_id": "planned", "journeys": ROOT / "journeys"}
    )
    topics = Topics.of(settings, {"email": Channel(kind="message", partitions=8)})
    report = await inspected_when(settings, topics, lambda report: not report.missing)

    assert (report.drift, report.refused) == ((), ())
    async with (
        AIOKafkaProducer(transactional_id="planned-0-tx0", **client_options(settings)) as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait(topics.commands("email"), json.dumps({}).encode())
        await producer.send_and_wait(topics.changelog, b"state", key=b"ana")
    other = settings.model_copy(update={"topic_prefix": "other."})
    with pytest.raises(DependencyError, match="lacks the right"):
        await ensure_topics(other, Topics.of(other, CHANNELS))


async def test_the_rights_of_the_plan_are_enough_for_a_sender(
    secure_kafka: SecureKafka, tmp_path: Path
):
    """Carry out the printed plan as admin; then the guest may deliver the channel's commands."""
    plan = planned(
        secure_kafka, topic_prefix="sent.", app_id="sent", principal_option="--sender-principal"
    )
    carry_out(plan, secure_kafka)
    settings = secure_settings(secure_kafka, secure_kafka.guest, tmp_path).model_copy(
        update={"topic_prefix": "sent.", "app_id": "sent"}
    )
    admin = settings_of_admin(settings, secure_kafka, tmp_path)
    command = orjson.dumps(envelope(now_ms=time.time() * 1000))
    async with AIOKafkaProducer(**client_options(admin)) as producer:
        await producer.send_and_wait("sent.commands.email.promotional", command, key=b"ana")
    delivered = asyncio.Event()

    async def deliver(_: Command) -> Outcome:
        delivered.set()
        return Delivered()

    sender = Sender(settings, "email", deliver)
    running = asyncio.create_task(sender.run())
    await asyncio.wait(
        [running, asyncio.create_task(delivered.wait())],
        timeout=60,
        return_when=asyncio.FIRST_COMPLETED,
    )
    sender.stop()
    await running

    assert delivered.is_set()


def settings_of_admin(settings: Settings, kafka: SecureKafka, tmp_path: Path) -> Settings:
    login = secure_settings(kafka, kafka.admin, tmp_path)
    return settings.model_copy(
        update={"sasl_username": login.sasl_username, "sasl_password": login.sasl_password}
    )


async def test_what_senders_remember_is_created_as_a_sender_would(settings: Settings):
    """A worker's own look leaves it alone: it needs no rights there."""
    await ensure_topics(settings, Topics.of(settings, CHANNELS))
    topics = Topics.of(settings, CHANNELS, senders=True)
    first = await inspect_topics(settings, topics, create=True)
    found = await prepare(settings, Names.of(settings, "email"))

    attempts = f"{settings.topic_prefix}attempts.email"
    assert first.created == (attempts,)
    assert (first.drift, first.refused) == ((), ())
    assert found[attempts] == 3


async def test_what_a_sender_has_created_is_no_drift(settings: Settings):
    await ensure_topics(settings, Topics.of(settings, CHANNELS))
    await prepare(settings, Names.of(settings, "email"))
    report = await inspect_topics(
        settings, Topics.of(settings, CHANNELS, senders=True), create=True
    )

    assert (report.created, report.drift, report.refused) == ((), (), ())


def planned(
    kafka: SecureKafka, *, topic_prefix: str, app_id: str, principal_option: str = "--principal"
) -> list[list[str]]:
    """Print a plan; keep what is for the guest, of the input, the email channel and what is ours.

    `principal_option` says as what the guest is to work.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "orchestrator", "topics", "--plan", "--partitions", "2"),
            *("--bootstrap-servers", kafka.bootstrap_servers, principal_option, "User:guest"),
            *("--topic-prefix", topic_prefix, "--app-id", app_id, "--replication-factor", "1"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.splitlines() if not line.startswith("#")]
    return [
        line
        for line in lines
        if ("--allow-principal" not in line or "User:guest" in line)
        and not any(_OTHER_CHANNEL.search(word) for word in line)
    ]


def admin_login(kafka: SecureKafka, tmp_path: Path) -> Path:
    login = tmp_path / "client.properties"
    login.write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n"
        f"ssl.truststore.location={kafka.ca_file}\n"
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="{kafka.admin[0]}" password="{kafka.admin[1]}";\n'
    )
    return login


async def run_with_kafkas_tool(line: list[str], login: Path) -> None:
    tools = {
        "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
        "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    }
    process = await asyncio.create_subprocess_exec(
        *java_command(tools[line[0]], *line[1:], "--command-config", str(login)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def carry_out(plan: list[list[str]], kafka: SecureKafka) -> None:
    """Do what the lines say by another client, in one go."""
    admin = AdminClient(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": kafka.admin[0],
            "sasl.password": kafka.admin[1],
            "ssl.ca.location": str(kafka.ca_file),
        }
    )
    topics, rights = [], []
    for tool, *words in plan:
        options = list(pairwise(words))
        first = dict(reversed(options))
        if tool == "kafka-topics.sh":
            config = dict(value.split("=", 1) for name, value in options if name == "--config")
            topics.append(NewTopic(first["--topic"], int(first["--partitions"]), 1, config=config))
        else:
            kind = "--topic" if "--topic" in first else "--group"
            rights += [
                AclBinding(
                    ResourceType[kind.removeprefix("--").upper()],
                    first[kind],
                    ResourcePatternType.LITERAL,
                    first["--allow-principal"],
                    "*",
                    AclOperation[ACL_OPERATIONS[operation]],
                    AclPermissionType.ALLOW,
                )
                for name, operation in options
                if name == "--operation"
            ]
    for done in (*admin.create_topics(topics).values(), *admin.create_acls(rights).values()):
        done.result(30)
    # The controller has accepted them; the broker, which is asked here, learns of them after that.
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY,
        AclPermissionType.ANY,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not set(rights) <= set(admin.describe_acls(everything).result(30)):
        assert time.monotonic() < deadline, "the broker does not learn of the rights"
        time.sleep(0.05)


ACL_OPERATIONS = {
    "Read": "READ",
    "Write": "WRITE",
    "Describe": "DESCRIBE",
    "DescribeConfigs": "DESCRIBE_CONFIGS",
}
