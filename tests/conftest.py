"""One real Kafka for all tests, and names that no two tests share.

A test that asks for `kafka` gets a broker: the one in ORCHESTRATOR_TEST_BOOTSTRAP_SERVERS, else one
in Docker where a daemon answers, else the embedded one. Under pytest-xdist the controlling process
starts it when the first worker asks, so all share it and it ends with the run.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.broker import EmbeddedBroker, Listener
from orchestrator.broker.lock import KAFKA_VERSION
from orchestrator.broker.properties import cluster_of_one
from orchestrator.broker.ready import answers

if TYPE_CHECKING:
    from collections.abc import Iterator

GIVEN = "ORCHESTRATOR_TEST_BOOTSTRAP_SERVERS"
START_SECONDS_MAX = 110  # Below the time-out of a test, so that the reason is told.


@dataclass(frozen=True, slots=True)
class Kafka:
    """What a test needs to know about the shared broker. Nobody stops it."""

    bootstrap_servers: str


@dataclass(frozen=True, slots=True)
class SecureKafka:
    """A broker behind TLS and passwords; `admin` may do everything, `guest` nothing."""

    bootstrap_servers: str
    ca_file: Path
    admin: tuple[str, str]
    guest: tuple[str, str]


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Kafka]:
    """The broker that all tests share; use your own topics and app id on it."""
    given = os.environ.get(GIVEN)
    shared = getattr(request.config, "workerinput", {}).get("shared_dir")
    if given:
        yield Kafka(given)
    elif shared:
        yield Kafka(ask_controller(Path(shared)))
    else:
        with any_broker() as address:
            yield Kafka(address)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker for one test, which may kill it."""
    with EmbeddedBroker(tmp_path / "kafka", heap_mb=256) as broker:
        yield broker


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """A broker that wants TLS and SCRAM, and checks what a user may do."""
    admin, guest = ("admin", "admin-secret"), ("guest", "guest-secret")
    folder = tmp_path_factory.mktemp("secure")
    ca_file = folder / "ca.pem"
    listener = Listener(
        name="SECURE",
        protocol="SASL_SSL",
        properties=tls_properties(folder, ca_file)
        | {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        },
        scram_users=dict([admin, guest]),
    )
    authorizer = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",
    }
    with EmbeddedBroker(
        folder / "data", heap_mb=256, listeners=[listener], properties=authorizer
    ) as broker:
        yield SecureKafka(broker.address_of("SECURE"), ca_file, admin, guest)


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that no other test has."""
    return f"t{uuid.uuid4().hex[:8]}."


@pytest.fixture
def app_id() -> str:
    """An application, and so a consumer group, that no other test has."""
    return f"app-{uuid.uuid4().hex[:8]}"


BROKER_FIXTURES = frozenset({"kafka", "own_broker", "secure_kafka"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a broker, so that `-m "not kafka"` is the quick part."""
    for item in items:
        if BROKER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


class SharedBroker:
    """Runs in the xdist controller: starts a broker when a worker wants one.

    Workers come and go, and what a worker starts dies with it; the controller outlives them.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="orchestrator-tests-")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node) -> None:
        node.workerinput["shared_dir"] = self._folder.name

    def pytest_unconfigure(self) -> None:
        self._over.set()
        self._thread.join()
        self._folder.cleanup()

    def _serve(self) -> None:
        folder = Path(self._folder.name)
        while not (folder / "wanted").exists():
            if self._over.wait(0.1):
                return
        try:
            with any_broker() as address:
                tell(folder / "address", address)
                self._over.wait()
        except Exception as error:
            tell(folder / "failed", f"{type(error).__name__}: {error}")
            raise


def pytest_configure(config: pytest.Config) -> None:
    """Offer the shared broker where there will be workers to share it."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SharedBroker())


def tell(path: Path, text: str) -> None:
    """Write a file that a reader sees whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def ask_controller(folder: Path) -> str:
    """Say that a broker is wanted, and wait for its address."""
    (folder / "wanted").touch()
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if (folder / "failed").exists():
            pytest.fail((folder / "failed").read_text(encoding="utf-8"))
        if (folder / "address").exists():
            return (folder / "address").read_text(encoding="utf-8")
        time.sleep(0.1)
    pytest.fail(f"no broker after {START_SECONDS_MAX} s")


@contextlib.contextmanager
def any_broker() -> Iterator[str]:
    """Run a broker in Docker if that works at once, else the embedded one."""
    with contextlib.ExitStack() as stack:
        address = None
        if docker_answers():
            try:
                address = stack.enter_context(docker_broker())
            except Exception as error:  # noqa: BLE001 - Docker fails in many ways; all mean: embedded.
                warnings.warn(f"no broker in Docker ({error}); embedded instead", stacklevel=1)
        yield address or stack.enter_context(EmbeddedBroker()).bootstrap_servers


def docker_answers() -> bool:
    """Whether a daemon is there, asked by the library that testcontainers uses."""
    import docker

    try:
        docker.from_env(timeout=5).ping()
    except (docker.errors.DockerException, OSError):
        return False
    return True


@contextlib.contextmanager
def docker_broker() -> Iterator[str]:
    """Run the same Kafka from Apache's image."""
    from testcontainers.core.container import DockerContainer

    port = EmbeddedBroker.free_port()
    values = cluster_of_one() | {
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": "1@localhost:9093",
    }
    container = DockerContainer(f"apache/kafka:{KAFKA_VERSION}").with_bind_ports(9092, port)
    for name, value in values.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with container:
        address = f"127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS_MAX / 2
        while not answers(address):
            if time.monotonic() > deadline:
                raise TimeoutError("Kafka in Docker does not answer")
            time.sleep(0.2)
        yield address


def tls_properties(folder: Path, ca_file: Path) -> dict[str, str]:
    """Make a CA and a certificate of the broker, and say to Kafka where they are."""
    import trustme
    from cryptography.hazmat.primitives import serialization

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca_file))
    issued = authority.issue_cert("127.0.0.1", "localhost")
    # Kafka reads PKCS#8 only.
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    store = folder / "broker.pem"
    store.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    )
    return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(store)}
