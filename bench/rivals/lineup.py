"""Who is compared, with which settings, and what each needs on the machine.

Every system has a column with the defaults of its documentation and one tuned for latency by
documented settings; the difference between the two is `settings` here and stands in the report.
The guarantee is part of the name: exactly-once is compared with exactly-once.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from bench.systems import ROOT
from orchestrator.broker.artifacts import java

if TYPE_CHECKING:
    from bench.systems import Deployment

HERE: Final = Path(__file__).resolve().parent
JOURNEYS: Final = HERE / "journeys"
STREAMS: Final = HERE / "streams"
QUIX_PYTHON: Final = ROOT / ".venv-rivals" / "bin" / "python"
JVM_OPTIONS: Final = ("-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
Settings = dict[str, Any]
PREFIX: Final = "{prefix}"
"""Stands in a setting for the prefix of the topics."""

EXACTLY_ONCE: Final = "exactly once"
AT_LEAST_ONCE: Final = "at least once"


@dataclass(frozen=True, slots=True)
class Contestant:
    """One column: which program, with which settings.

    `commit_ms` is how long a default may let results wait before it makes them visible; whoever
    waits longer by design is not called slow for it when the highest rate is looked for.
    `session_seconds` is the silence after which its group gives a process up. `alone` says why a
    second process must not join; empty for who shares the work. `skipping` are documented settings
    that let it go on after a record that it cannot process.
    """

    name: str
    kind: str
    guarantee: str
    settings: Settings = field(default_factory=dict)
    commit_ms: int = 0
    heap_mb: int = 1_024
    session_seconds: float = 6.0
    alone: str = ""
    skipping: Settings = field(default_factory=dict)

    @property
    def is_jvm(self) -> bool:
        """Whether it wants a longer warm-up."""
        return self.kind == "streams"

    def lacks(self) -> str:
        """Return what the machine has to have for it, or nothing when it is all there."""
        if self.kind == "streams" and not streams_jars():
            return "Maven 3.8 or newer and a JDK 17 or newer (mvn and javac on the PATH)"
        if self.kind == "quix" and not QUIX_PYTHON.exists():
            return (
                "the packages of bench/rivals/requirements.txt, which `make bench-rivals` installs"
            )
        return ""

    def program(self, deployment: Deployment, folder: Path) -> tuple[str, tuple[str, ...]]:
        """Return the program and its arguments; `folder` is for states and files."""
        match self.kind:
            case "ours":
                return sys.executable, ("-m", "orchestrator", "worker")
            case "streams":
                heap = f"{self.heap_mb}m"
                options = (*JVM_OPTIONS, f"-Xms{heap}", f"-Xmx{heap}")
                properties = self._properties(deployment, folder)
                start = ("-cp", streams_jars(), "bench.streams.Main", str(properties))
                return str(java()), (*options, *start)
            case "quix":
                return str(QUIX_PYTHON), ("-m", "bench.rivals.quix")
            case "faust":
                return sys.executable, (
                    *("-m", "bench.rivals.stock_faust", "worker", "--without-web"),
                )
        return sys.executable, ("-m", f"bench.rivals.{self.kind}")

    def variables(self, folder: Path) -> dict[str, str]:
        """Return what the program gets by the environment, beside the deployment's settings."""
        return {
            "BENCH_JOB": "px",
            "BENCH_STATE_DIR": str(folder / "state"),
            "BENCH_SETTINGS": orjson.dumps(self.settings).decode(),
        }

    def _properties(self, deployment: Deployment, folder: Path) -> Path:
        """Write the application's properties: where it is, and the column's settings."""
        properties = {
            "bootstrap.servers": deployment.bootstrap_servers,
            "application.id": deployment.app_id,
            "state.dir": str(folder / "state"),
            "bench.topic.prefix": deployment.prefix,
        }
        settings = properties | self.settings
        lines = [
            f"{key}={value}".replace(PREFIX, deployment.prefix) for key, value in settings.items()
        ]
        path = folder / "streams.properties"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path


FAST_SESSION: Final = {"consumer.session.timeout.ms": 6000, "consumer.heartbeat.interval.ms": 1500}
SESSION_SECONDS: Final = {"clients": 45.0, "faust": 60.0, "aiokafka": 10.0}
"""What the defaults of Kafka's own and librdkafka's consumers, of Faust and of aiokafka are."""
STREAMS_SKIPPING: Final = {
    "processing.exception.handler": (
        "org.apache.kafka.streams.errors.LogAndContinueProcessingExceptionHandler"
    ),
    "errors.dead.letter.queue.topic.name": f"{PREFIX}dead-letters",
}
QUIX_SKIPPING: Final = {"on_processing_error": "skip"}
ONE_ID: Final = "all its processes would have one transactional id, and fence each other"
STREAMS_EOS: Final = {"processing.guarantee": "exactly_once_v2"}
STREAMS_TUNED: Final = {
    "commit.interval.ms": 5,
    "poll.ms": 2,
    "producer.linger.ms": 0,
    "bench.store": "memory",
    **FAST_SESSION,
}
QUIX_TUNED: Final = {
    "commit_interval": 0.005,
    "consumer_poll_timeout": 0.005,
    "producer_extra_config": {"linger.ms": 0},
    "consumer_extra_config": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1500},
}
LOOP_TUNED: Final = {
    "producer": {"linger.ms": 0, "socket.nagle.disable": True},
    "consumer": {
        "fetch.wait.max.ms": 50,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1500,
    },
}

CONTESTANTS: Final = {
    one.name: one
    for one in (
        Contestant("ours", "ours", EXACTLY_ONCE),
        Contestant("confluent-loop", "confluent_loop", EXACTLY_ONCE, LOOP_TUNED, alone=ONE_ID),
        Contestant("aiokafka-floor", "floor", EXACTLY_ONCE, alone=ONE_ID),
        Contestant(
            "streams-eos-tuned",
            "streams",
            EXACTLY_ONCE,
            STREAMS_EOS | STREAMS_TUNED,
            commit_ms=5,
            skipping=STREAMS_SKIPPING,
        ),
        Contestant(
            "streams-eos-default",
            "streams",
            EXACTLY_ONCE,
            STREAMS_EOS,
            commit_ms=100,
            session_seconds=SESSION_SECONDS["clients"],
            skipping=STREAMS_SKIPPING,
        ),
        Contestant(
            "quix-eos-tuned",
            "quix",
            EXACTLY_ONCE,
            {"processing_guarantee": "exactly-once"} | QUIX_TUNED,
            commit_ms=5,
            skipping=QUIX_SKIPPING,
        ),
        Contestant(
            "quix-eos-default",
            "quix",
            EXACTLY_ONCE,
            {"processing_guarantee": "exactly-once"},
            commit_ms=5_000,
            session_seconds=SESSION_SECONDS["clients"],
            skipping=QUIX_SKIPPING,
        ),
        Contestant("stock-faust", "faust", AT_LEAST_ONCE, session_seconds=SESSION_SECONDS["faust"]),
        Contestant(
            "aiokafka-loop",
            "aiokafka_loop",
            AT_LEAST_ONCE,
            session_seconds=SESSION_SECONDS["aiokafka"],
            alone="it reads its states at the start only, not when partitions come to it",
        ),
        Contestant(
            "streams-alo-default",
            "streams",
            AT_LEAST_ONCE,
            session_seconds=SESSION_SECONDS["clients"],
            skipping=STREAMS_SKIPPING,
        ),
        Contestant(
            "quix-alo-default",
            "quix",
            AT_LEAST_ONCE,
            session_seconds=SESSION_SECONDS["clients"],
            skipping=QUIX_SKIPPING,
        ),
    )
}


def streams_jars() -> str:
    """Return the class path of the Kafka Streams program, or nothing when it was not built."""
    jars = [
        *(STREAMS / "target").glob("px-streams-*.jar"),
        *(STREAMS / "target/jars").glob("*.jar"),
    ]
    return ":".join(map(str, jars)) if len(jars) > 1 else ""


def build_streams() -> None:
    """Build it when Maven is there and a source is younger than the jar; else leave it."""
    jar = next((STREAMS / "target").glob("px-streams-*.jar"), None)
    sources = [STREAMS / "pom.xml", *(STREAMS / "src").rglob("*.java")]
    if jar and jar.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return
    maven = shutil.which("mvn")
    if maven and shutil.which("javac"):
        done = subprocess.run(
            [maven, "-q", "-B", "package"], cwd=STREAMS, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"Kafka Streams cannot be built:\n{done.stdout[-2_000:]}")


def differences() -> list[str]:
    """Return for each system what its columns set, for the report."""
    lines = []
    for one in CONTESTANTS.values():
        told = _settings(one.settings) or "nothing: defaults"
        more = f"; `-skipping` adds {_settings(one.skipping)}" if one.skipping else ""
        lines.append(f"- {one.name} ({one.guarantee}): {told}{more}")
    return lines


def _settings(settings: Settings) -> str:
    return ", ".join(f"`{key}={_told(value)}`" for key, value in settings.items())


def _told(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
