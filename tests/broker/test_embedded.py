"""The embedded broker: starts on a bare machine, keeps its data, dies with whom it belongs to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from orchestrator.broker import EmbeddedBroker, artifacts
from orchestrator.broker.artifacts import Progress, class_path
from orchestrator.broker.lock import Jar, Lock, read_lock
from orchestrator.broker.ready import answers
from orchestrator.errors import DependencyError, UsageError

if TYPE_CHECKING:
    from tests.conftest import Kafka

pytestmark = [pytest.mark.kafka]


def bare_environment(tmp_path: Path) -> dict[str, str]:
    """Return our environment with a PATH on which there is no java, mvn or docker."""
    empty = tmp_path / "bin"
    empty.mkdir()
    hidden = {"PATH", "JAVA_HOME", "M2_HOME", "DOCKER_HOST"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"PATH": str(empty), "PYTHONUNBUFFERED": "1"}


def start_broker_command(*options: str, **more: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "broker", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


async def create_topic(bootstrap_servers: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()


async def test_what_was_acknowledged_survives_a_kill_and_a_restart(own_broker: EmbeddedBroker):
    address = own_broker.bootstrap_servers
    await create_topic(address, "kept")
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        await producer.send_and_wait("kept", b"before")
    own_broker.kill9()

    assert not own_broker.is_running()
    assert not answers(address)
    own_broker.restart()

    assert own_broker.bootstrap_servers == address
    async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as reader:
        reader.assign([TopicPartition("kept", 0)])
        record = await reader.getone()
    assert record.value == b"before"
    # Who comes back with its old session open loses the markers of commits that it had prepared.
    assert "Fencing broker" in (own_broker.data_dir / "fencing.log").read_text()


@pytest.mark.parametrize(
    ("properties", "fenced_first"),
    [({}, True), ({"controller.quorum.voters": "1@127.0.0.1:1,2@127.0.0.1:2"}, False)],
    ids=["the only one", "one of several"],
)
def test_only_a_lone_broker_needs_to_be_fenced_before_it_comes_back(
    tmp_path: Path, properties, fenced_first
):
    """Others fence theirs, and would not find its controller."""
    partition = tmp_path / "log" / "topic-0"
    partition.mkdir(parents=True)
    (partition / "00000000000000000000.log").touch()

    assert EmbeddedBroker(tmp_path, properties=properties)._was_cut_off() is fenced_first


def test_a_second_start_downloads_and_formats_nothing(own_broker: EmbeddedBroker):
    """What is left is the start of the JVM: 3 s alone on two cores."""
    identity = own_broker.data_dir / "log" / "meta.properties"
    jars = [Path(jar) for jar in class_path().split(os.pathsep)]
    before = (identity.read_text(), [jar.stat().st_mtime_ns for jar in jars])
    own_broker.stop()
    own_broker.start()

    assert (identity.read_text(), [jar.stat().st_mtime_ns for jar in jars]) == before


async def test_a_topic_is_not_made_by_a_typing_error(kafka: Kafka):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    await admin.describe_topics(["typing-error"])
    names = await admin.list_topics()
    await admin.close()

    assert "typing-error" not in names


def test_the_command_prints_its_address_and_stops_cleanly_at_ctrl_c(tmp_path: Path):
    command = start_broker_command("--port", "0", env=bare_environment(tmp_path))
    address = command.stdout.readline().strip()

    assert answers(address)
    command.send_signal(signal.SIGINT)
    _, told = command.communicate(timeout=30)
    assert command.returncode == 0, told
    assert "Traceback" not in told
    assert not answers(address)


def test_the_broker_dies_with_its_parent_even_after_kill_9(tmp_path: Path):
    command = start_broker_command("--port", "0", "--data-dir", str(tmp_path / "data"))
    address = command.stdout.readline().strip()
    assert answers(address)
    command.kill()
    command.communicate()
    deadline = time.monotonic() + 10
    while answers(address) and time.monotonic() < deadline:
        time.sleep(0.1)

    assert not answers(address)


def test_a_taken_port_is_refused_with_its_number(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(UsageError, match=f"--port: {port} is taken"):
            EmbeddedBroker(tmp_path / "data", port=port).start()


def test_a_broker_that_cannot_start_says_why(tmp_path: Path):
    broker = EmbeddedBroker(tmp_path / "data", properties={"num.io.threads": "none"})

    with pytest.raises(DependencyError, match=r"num\.io\.threads"):
        broker.start()


@pytest.fixture
def small_kafka(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lock:
    """Download two of Kafka's smallest jars in place of all, into an empty cache."""
    jars = sorted(read_lock().jars, key=lambda jar: jar.size_bytes)[:2]
    lock = Lock("4.3.1", tuple(jars))
    monkeypatch.setattr(artifacts, "read_lock", lambda _version: lock)
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path / "cache"))
    return lock


def test_many_may_download_into_an_empty_cache_at_once(small_kafka: Lock):
    with ThreadPoolExecutor(4) as pool:
        paths = {future.result() for future in [pool.submit(class_path) for _ in range(4)]}

    assert len(paths) == 1
    for path in paths.pop().split(os.pathsep):
        assert Path(path).stat().st_size in {jar.size_bytes for jar in small_kafka.jars}


def test_a_jar_with_another_content_never_enters_the_cache(
    small_kafka: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = small_kafka.jars[0]
    forged = Jar(first.artifact, "0" * 64, first.size_bytes)
    monkeypatch.setattr(artifacts, "read_lock", lambda _version: Lock("4.3.1", (forged,)))

    with pytest.raises(DependencyError, match="is not the one we tested"):
        class_path()
    assert not list((tmp_path / "cache").rglob("*.jar"))


def test_progress_in_a_log_is_a_few_lines(capsys: pytest.CaptureFixture[str]):
    progress = Progress("Kafka", 1000)
    for _ in range(1000):
        progress.add(1)
    progress.close()

    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("0 % of 0 MB")
    assert "100 %" in lines[-1]
    assert len(lines) == 5
