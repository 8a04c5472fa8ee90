"""Three brokers on one machine that are one cluster: KRaft, three copies, two of them in sync.

Each is an `EmbeddedBroker` and a controller too; any of them may be killed and started again.
"""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self

from orchestrator.broker import EmbeddedBroker, java_command

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BROKERS: Final = 3
_HEAP_MB: Final = 320


class Cluster:
    """A context manager: all are up inside. Brokers are known by their number, from 0."""

    def __init__(self, folder: Path) -> None:
        self._plain = [EmbeddedBroker.free_port() for _ in range(BROKERS)]
        self._quorum = [EmbeddedBroker.free_port() for _ in range(BROKERS)]
        if len({*self._plain, *self._quorum}) < 2 * BROKERS:
            raise RuntimeError("two brokers drew one port; run it again")
        identity = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A")
        self.brokers = [self._broker(folder / f"broker-{one}", one) for one in range(BROKERS)]
        with ThreadPoolExecutor(BROKERS) as pool:
            list(pool.map(lambda broker: self._format(broker, identity), self.brokers))

    @property
    def bootstrap_servers(self) -> str:
        """The addresses of all of them."""
        return ",".join(f"127.0.0.1:{port}" for port in self._plain)

    def __enter__(self) -> Self:
        self.start(range(BROKERS))
        return self

    def __exit__(self, *_: object) -> None:
        # Without a quorum the last two would wait for one, and nobody needs what they hold.
        for broker in self.brokers:
            broker.kill9()

    def start(self, numbers: Iterable[int]) -> None:
        """Start these at the same time: one alone has no quorum, and is never ready."""
        with ThreadPoolExecutor(BROKERS) as pool:
            list(pool.map(lambda number: self.brokers[number].start(), list(numbers)))

    def kill(self, *numbers: int) -> None:
        """End these without a word."""
        for number in numbers:
            self.brokers[number].kill9()

    def _broker(self, folder: Path, number: int) -> EmbeddedBroker:
        plain, quorum = self._plain[number], self._quorum[number]
        voters = [f"{one + 1}@127.0.0.1:{port}" for one, port in enumerate(self._quorum)]
        properties = {
            "node.id": str(number + 1),
            "controller.quorum.voters": ",".join(voters),
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{quorum}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain}",
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "transaction.state.log.num.partitions": "8",
            "share.coordinator.state.topic.replication.factor": "3",
            "share.coordinator.state.topic.min.isr": "2",
            # Three brokers start beside each other on two cores: a second's silence is no death.
            "broker.session.timeout.ms": "6000",
        }
        return EmbeddedBroker(folder, port=plain, heap_mb=_HEAP_MB, properties=properties)

    @staticmethod
    def _format(broker: EmbeddedBroker, identity: str) -> None:
        """Give all of them one identity before each would take one of its own."""
        number = broker.data_dir.name.rpartition("-")[2]
        broker.data_dir.mkdir(parents=True)
        config = broker.data_dir / "format.properties"
        config.write_text(
            "process.roles=broker,controller\n"
            f"node.id={int(number) + 1}\n"
            f"controller.quorum.voters={int(number) + 1}@127.0.0.1:1\n"
            "controller.listener.names=CONTROLLER\n"
            "listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            f"log.dirs={broker.data_dir / 'log'}\n",
            encoding="utf-8",
        )
        command = java_command("kafka.tools.StorageTool", "format", "--config", str(config))
        done = subprocess.run(
            [*command, "--cluster-id", identity], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"cannot format {broker.data_dir}: {done.stdout}{done.stderr}")
