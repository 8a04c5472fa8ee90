"""The snippets of the documentation run as they stand, against a real broker.

A producer's record must be an event for the codec and, where the snippet says so, at its customer's
home; a consumer must show what was committed and nothing of what was aborted. A tool that is not on
this machine skips its snippets.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from orchestrator.broker.artifacts import cache_dir, class_path
from orchestrator.core.command import Command, CommandClass, CommandType
from orchestrator.core.customer import Cause
from orchestrator.protocol.codec import command_headers, decode_event, encode_command
from orchestrator.protocol.home import home_partition

SNIPPETS = Path(__file__).parents[2] / "docs" / "snippets"
PARTITIONS = 4
CUSTOMERS = ("ana", "ñandú-3")
SECONDS_MAX = 60


def python(name: str) -> list[str]:
    return [sys.executable, str(SNIPPETS / "python" / name)]


def java(name: str) -> list[str]:
    """Launch a source file, which needs a JDK and not only a JRE."""
    if shutil.which("java") is None:
        pytest.skip("no java on the PATH")
    modules = subprocess.run(
        ["java", "--list-modules"], capture_output=True, text=True, check=False
    )
    if "jdk.compiler" not in modules.stdout:
        pytest.skip("the java on the PATH has no compiler")
    options = ["-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp", class_path()]
    return ["java", *options, str(SNIPPETS / "java" / name)]


def node(name: str) -> list[str]:
    """Run beside the packages that `package.json` names, installed once into the cache."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node with npm on the PATH")
    folder = cache_dir() / "node-snippets"
    folder.mkdir(parents=True, exist_ok=True)
    for file in (SNIPPETS / "node").iterdir():
        shutil.copy(file, folder)
    if not (folder / "node_modules" / "kafkajs").is_dir():
        npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
        done = subprocess.run(npm, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install kafkajs: {done.stderr.strip()[-200:]}")
    return ["node", str(folder / name)]


def kcat(name: str) -> list[str]:
    if shutil.which("kcat") is None:
        pytest.skip("no kcat on the PATH")
    return [str(SNIPPETS / "kcat" / name)]


def run(command: list[str], *arguments: str) -> str:
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
        env=os.environ | {"PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def topic(kafka, topic_prefix) -> str:
    name = f"{topic_prefix}snippets"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for made in admin.create_topics([NewTopic(name, PARTITIONS, 1)]).values():
        made.result(20)
    return name


def records(bootstrap_servers: str, topic: str) -> list:
    """Return everything on the topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, index, 0) for index in range(PARTITIONS)])
    found = []
    ended = 0
    while ended < PARTITIONS:
        message = consumer.poll(20)
        assert message is not None
        if message.error() is None:
            found.append(message)
        else:
            assert message.error().code() == KafkaError._PARTITION_EOF
            ended += 1
    consumer.close()
    return found


PRODUCERS = [
    (python, "produce_confluent.py", True),
    (python, "produce_confluent.py", False),
    (python, "produce_aiokafka.py", True),
    (java, "Produce.java", True),
    (node, "produce.mjs", True),
    (kcat, "produce.sh", True),
]


@pytest.mark.parametrize(
    ("tool", "name", "at_home"),
    PRODUCERS,
    ids=[f"{name}-{'home' if home else 'anywhere'}" for _, name, home in PRODUCERS],
)
def test_a_producer_sends_an_event_home(kafka, topic, tool, name, at_home) -> None:
    # Two customers say more about a partitioner, but other tools start more slowly.
    customers = CUSTOMERS if tool is python else CUSTOMERS[-1:]
    other = [] if at_home else ["consistent_random"]
    for customer in customers:
        run(tool(name), kafka.bootstrap_servers, topic, customer, *other)

    sent = records(kafka.bootstrap_servers, topic)

    events = [
        decode_event(
            message.key(),
            message.value(),
            message.headers() or [],
            event_bytes_max=10_000,
            record_time_ms=message.timestamp()[1],
        )
        for message in sent
    ]
    assert sorted(event.subject for event in events) == sorted(customers)
    assert {(event.source, event.id, event.type) for event in events} == {
        ("/shop", "ord-1001", "purchase")
    }
    if at_home:
        homes = [home_partition(event.subject.encode(), PARTITIONS) for event in events]
        assert [message.partition() for message in sent] == homes


def command(number: int) -> Command:
    return Command(
        id=f"command-{number}",
        type=CommandType.MESSAGE_SEND,
        customer="ana",
        time_ms=0,
        channel="email",
        command_class=CommandClass.TRANSACTIONAL,
        mode="test",
        journey="post_purchase",
        journey_version=1,
        step="thank_you",
        enrollment="post_purchase/1001#1",
        caused_by=Cause("/shop", "ord-1001"),
        sequence=number,
        expires_at_ms=1,
        delivery="at_least_once",
    )


@pytest.mark.parametrize(
    ("tool", "name"),
    [
        (python, "consume_confluent.py"),
        (python, "consume_aiokafka.py"),
        (java, "Consume.java"),
        (node, "consume.mjs"),
        (kcat, "consume.sh"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_consumer_shows_committed_commands_only(kafka, topic, topic_prefix, tool, name) -> None:
    ready = tool(name)
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic_prefix}
    )
    producer.init_transactions(20)
    for number, committed in ((1, False), (2, True), (3, False), (4, True)):
        one = command(number)
        producer.begin_transaction()
        producer.produce(topic, key="ana", value=encode_command(one), headers=command_headers(one))
        producer.flush()
        if committed:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)

    shown = run(ready, kafka.bootstrap_servers, topic, "2")

    assert [f"command-{number}" in shown for number in (1, 2, 3, 4)] == [False, True, False, True]
    assert len(shown.splitlines()) == 2


def test_the_page_shows_each_snippet_as_it_is() -> None:
    page = (SNIPPETS.parent / "clients.md").read_text(encoding="utf-8")
    files = [
        path for path in SNIPPETS.glob("*/*") if path.suffix in {".py", ".java", ".mjs", ".sh"}
    ]

    assert len(files) == 10
    for file in files:
        name = file.relative_to(SNIPPETS.parent)
        shown = page.partition(f"`{name}`\n\n```")[2].partition("\n")[2].partition("```\n")[0]
        assert shown == file.read_text(encoding="utf-8"), f"docs/clients.md shows another {name}"
