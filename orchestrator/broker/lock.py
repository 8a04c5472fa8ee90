"""Writes the list of jars that make up one Kafka: name, size and SHA-256 of each.

Run by a maintainer for a new version (`make lock`), never at run time. Walking the POMs takes a
quarter of a minute and trusts whatever the repository answers; the list makes the first start
short and refuses a jar that is not the one we tested.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib import resources
from typing import TYPE_CHECKING

import jgo
import msgspec

if TYPE_CHECKING:
    from pathlib import Path

KAFKA_VERSION = "4.3.1"

# The binding that writes the broker's log to stderr; the same version as Kafka's slf4j-api.
_SLF4J_VERSION = "2.0.17"


class Jar(msgspec.Struct, frozen=True):
    """One file of the class path."""

    artifact: str  # group:artifact:version, as Maven writes it
    sha256: str
    size_bytes: int


class Lock(msgspec.Struct, frozen=True):
    """All files of one Kafka, in the order of the class path."""

    kafka: str
    jars: tuple[Jar, ...]


def read_lock(version: str = KAFKA_VERSION) -> Lock:
    """Read the list that was committed for a version."""
    text = resources.files("orchestrator.broker").joinpath(f"kafka-{version}.json").read_bytes()
    return msgspec.json.decode(text, type=Lock)


def resolve_lock(version: str = KAFKA_VERSION) -> Lock:
    """Walk the dependencies in the Maven repository and hash each file."""
    endpoint = f"org.apache.kafka:kafka_2.13:{version}+org.slf4j:slf4j-simple:{_SLF4J_VERSION}"
    # The console producer and consumer need nothing of what stands in the POM of the tools.
    tools = [
        artifact
        for artifact in jgo.resolve(f"org.apache.kafka:kafka-tools:{version}")
        if artifact.artifactId == "kafka-tools"
    ]
    jars = []
    for artifact in (*jgo.resolve(endpoint), *tools):
        path: Path = artifact.resolve()
        content = path.read_bytes()
        jars.append(
            Jar(
                artifact=f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}",
                sha256=hashlib.sha256(content).hexdigest(),
                size_bytes=len(content),
            )
        )
    return Lock(kafka=version, jars=tuple(sorted(jars, key=lambda jar: jar.artifact)))


if __name__ == "__main__":
    version = sys.argv[1] if len(sys.argv) > 1 else KAFKA_VERSION
    document = msgspec.to_builtins(resolve_lock(version))
    sys.stdout.write(json.dumps(document, indent=1) + "\n")
