"""The settings of the embedded broker: Kafka's defaults, but for a cluster of one.

`process.py` writes them beside the data. Time-outs of groups and transactions are left as they
come, because takeover is promised and measured with the broker's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HOST = "127.0.0.1"

# A cluster of one cannot keep three copies of its internal topics. Topics are made by
# `orchestrator topics`, never by a typing error. The 3 s that a broker waits for more members
# of a new group are for production, where many start together.
_OF_ONE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}

# When only its controller runs, to fence the broker. Kafka wants two heartbeats in a session.
_OF_ITS_CONTROLLER = {
    "process.roles": "controller",
    "broker.session.timeout.ms": "1000",
    "broker.heartbeat.interval.ms": "500",
}


@dataclass(frozen=True, slots=True)
class Listener:
    """One more door of the broker, for clients that bring TLS or a password."""

    name: str
    protocol: str  # SSL, SASL_PLAINTEXT or SASL_SSL
    # Properties without the prefix `listener.name.<name>.`, as Kafka documents them.
    properties: Mapping[str, str] = field(default_factory=dict)
    # SCRAM-SHA-512 users and their passwords; PLAIN users stand in a JAAS property.
    scram_users: Mapping[str, str] = field(default_factory=dict)
    port: int = 0


def cluster_of_one() -> dict[str, str]:
    """Return what differs from Kafka's defaults wherever one broker runs alone."""
    return dict(_OF_ONE)


def render(
    *,
    data_dir: Path,
    ports: Mapping[str, int],
    extra: Sequence[Listener],
    more: Mapping[str, str],
    controller_only: bool = False,
) -> str:
    """Write a server.properties; `ports` names the port of every listener."""
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    protocols |= {listener.name: listener.protocol for listener in extra}
    doors = {name: f"{name}://{HOST}:{ports[name]}" for name in protocols}
    values = _OF_ONE | {
        "controller.quorum.voters": f"1@{HOST}:{ports['CONTROLLER']}",
        "listeners": ",".join(doors.values()),
        "advertised.listeners": ",".join(
            door for name, door in doors.items() if name != "CONTROLLER"
        ),
        "listener.security.protocol.map": ",".join(
            f"{name}:{protocol}" for name, protocol in protocols.items()
        ),
        "log.dirs": str(data_dir / "log"),
    }
    for listener in extra:
        prefix = f"listener.name.{listener.name.lower()}."
        values |= {prefix + name: value for name, value in listener.properties.items()}
    values |= more
    if controller_only:
        values |= _OF_ITS_CONTROLLER | {"listeners": doors["CONTROLLER"]}
        del values["advertised.listeners"], values["inter.broker.listener.name"]
    # A backslash starts an escape in Java's format, and a line break ends the value.
    return "".join(
        f"{name}={value.replace(chr(92), chr(92) * 2).replace(chr(10), chr(92) + 'n')}\n"
        for name, value in values.items()
    )
