"""One Apache Kafka in a process of its own: start it, kill it, start it again.

Used by `cli/broker.py`, the demo, the benchmarks and the tests' fixture. `artifacts.py` brings the
jars and the Java, `properties.py` the settings; this file owns the process. The broker is the real
one, so what holds here holds in production, but for there being one of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Self

from orchestrator.broker.artifacts import class_path, java
from orchestrator.broker.properties import HOST, Listener, render
from orchestrator.broker.ready import answers
from orchestrator.errors import DependencyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Kafka's own choices in kafka-run-class.sh; the heap is what the embedded one was tried with.
_JAVA_OPTIONS = (
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    # Kafka's buffers use what this Java warns about in every log.
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
)
# Formatting a directory lasts a second, most of it the start of the JVM: compile less.
_SHORT_RUN_OPTIONS = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

# Below 32768 the kernel hands out no port to outgoing connections. Above it, a client that keeps
# dialling a killed broker can be given that very port, connect to itself and block the restart.
_PORTS = range(20_000, 32_000)

_POLL_SECONDS = 0.1
_START_ATTEMPTS_MAX = 3
# A JVM and a session of a second, on a machine that is full.
_FENCE_SECONDS_MAX = 30.0
_FENCING = "Fencing broker"
_PR_SET_PDEATHSIG = 1  # From linux/prctl.h.


class EmbeddedBroker:
    """A broker with its data in one directory; without a directory, in a temporary one.

    `features` are levels of the cluster's features other than those of its release, as
    `transaction.version`. A context manager: it is up inside, and stopped after. It dies with this
    process.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        port: int = 0,
        heap_mb: int = 512,
        listeners: Sequence[Listener] = (),
        properties: Mapping[str, str] | None = None,
        features: Mapping[str, int] | None = None,
    ) -> None:
        self._temporary = data_dir is None
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="orchestrator-kafka-"))
        self._heap_mb = heap_mb
        self._listeners = tuple(listeners)
        self._properties = dict(properties or {})
        self._features = dict(features or {})
        self._given_ports = {"PLAINTEXT": port, "CONTROLLER": 0}
        self._given_ports |= {listener.name: listener.port for listener in listeners}
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Address of the listener without TLS or password."""
        return self.address_of("PLAINTEXT")

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        if self._process is None:
            raise UsageError("the broker is not running")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """What the broker wrote; only warnings and errors."""
        return self.data_dir / "broker.log"

    def address_of(self, listener: str) -> str:
        """host:port of a listener; known once the broker was started."""
        if listener not in self._ports:
            raise UsageError(f"listener {listener}: the broker was never started with it")
        return f"{HOST}:{self._ports[listener]}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, timeout_seconds: float = 120.0) -> None:
        """Start and return when a client gets an answer; ports stay the same over restarts."""
        if self.is_running():
            return
        jars = class_path()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        first_start = not self._ports
        for attempt in range(1, _START_ATTEMPTS_MAX + 1):
            if first_start:
                self._ports = _choose_ports(self._given_ports)
            self._write_properties()
            self._format(jars)
            if self._was_cut_off():
                self._fence(jars)
            self._process = self._spawn(jars)
            try:
                self._wait_until_ready(time.monotonic() + timeout_seconds)
            except DependencyError:
                self._end(signal.SIGKILL)
                # Another process may have taken a port between our look and the broker's.
                taken = "Address already in use" in self._last_log_lines()
                if not (taken and first_start) or attempt == _START_ATTEMPTS_MAX:
                    raise
            else:
                return

    def stop(self) -> None:
        """Stop as an operator would; temporary data is removed."""
        self._end(signal.SIGTERM)
        if self._temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def kill9(self) -> None:
        """End it without a word, as a power cut would; the data stays."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop if it still runs, and start again on the same data and ports."""
        self._end(signal.SIGTERM)
        self.start()

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Block until the broker ends by itself, and return its exit code."""
        if self._process is None:
            raise UsageError("the broker is not running")
        return self._process.wait()

    @staticmethod
    def free_port() -> int:
        """Find a port that no outgoing connection will be given; for who starts other servers."""
        return _free_port(set())

    def _was_cut_off(self) -> bool:
        """Whether the broker that had the data before, alone, has left without a word.

        Where there are other brokers, they fence it and lead what it led.
        """
        if "controller.quorum.voters" in self._properties:
            return False
        log = self.data_dir / "log"
        silent = self._properties.get("controlled.shutdown.enable") == "false"
        left_in_order = (log / ".kafka_cleanshutdown").exists() and not silent
        return any(log.glob("*/*.log")) and not left_in_order

    def _fence(self, jars: str) -> None:
        """Let the controller, for once alone, see that the broker is gone.

        The only broker of a cluster that comes back before its session is over still reads that it
        leads everything. It resumes the commits that it had prepared, is fenced then, finds no
        leader for their partitions, takes them for deleted, and notes the commits as complete
        without a marker: they stay open for ever (Kafka 4.3.1). Who comes back fenced resumes them.
        """
        path = self.data_dir / "controller.properties"
        self._write_properties(path.name, controller_only=True)
        noted = self.data_dir / "fencing.log"
        noted.unlink(missing_ok=True)
        command = self._command(jars, path, "-Dorg.slf4j.simpleLogger.log.org.apache.kafka=info")
        process = _spawn_tied_to_us(command, noted)
        deadline = time.monotonic() + _FENCE_SECONDS_MAX
        while _FENCING not in noted.read_text(encoding="utf-8", errors="replace"):
            # One that was fenced before has nothing to be told.
            if time.monotonic() > deadline or process.poll() is not None:
                break
            time.sleep(_POLL_SECONDS)
        process.terminate()
        process.wait()

    def _write_properties(
        self, name: str = "server.properties", *, controller_only: bool = False
    ) -> None:
        path = self.data_dir / name
        # Listeners may carry passwords.
        path.touch(mode=0o600)
        path.write_text(
            render(
                data_dir=self.data_dir,
                ports=self._ports,
                extra=self._listeners,
                more=self._properties,
                controller_only=controller_only,
            ),
            encoding="utf-8",
        )

    def _format(self, jars: str) -> None:
        """Give the directory its identity; one that has it keeps it."""
        if (self.data_dir / "log" / "meta.properties").exists():
            return
        identity = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        command = [
            *(str(java()), *_SHORT_RUN_OPTIONS, "-cp", jars, "kafka.tools.StorageTool", "format"),
            *("--config", str(self.data_dir / "server.properties")),
            # A cluster id must not begin with a hyphen, which the tool takes for an option.
            *("--cluster-id", identity.replace("-", "A")),
        ]
        for name, level in self._features.items():
            command += ["--feature", f"{name}={level}"]
        for listener in self._listeners:
            for user, password in listener.scram_users.items():
                command += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
        if done.returncode != 0:
            raise DependencyError(f"cannot format {self.data_dir}: {_tail(done.stderr)}")

    def _command(self, jars: str, properties: Path, *options: str) -> list[str]:
        heap = (f"-Xmx{self._heap_mb}m", f"-Xms{self._heap_mb}m")
        start = ("-cp", jars, "kafka.Kafka", str(properties))
        return [str(java()), *_JAVA_OPTIONS, *heap, *options, *start]

    def _spawn(self, jars: str) -> subprocess.Popen[bytes]:
        command = self._command(jars, self.data_dir / "server.properties")
        return _spawn_tied_to_us(command, self.log_path)

    def _wait_until_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if not self.is_running():
                raise DependencyError(f"the broker ended at its start: {self._last_log_lines()}")
            if answers(self.bootstrap_servers):
                return
            time.sleep(_POLL_SECONDS)
        raise DependencyError(f"the broker does not answer: {self._last_log_lines()}")

    def _last_log_lines(self) -> str:
        with contextlib.suppress(OSError):
            return _tail(self.log_path.read_text(encoding="utf-8", errors="replace"))
        return ""

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def java_command(main_class: str, *arguments: str) -> list[str]:
    """Command line of one of Kafka's own tools, such as its console producer."""
    return [str(java()), *_SHORT_RUN_OPTIONS, "-cp", class_path(), main_class, *arguments]


def _tail(text: str) -> str:
    """Return the last lines that say something; a Java stack trace says where, not what."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("\tat ")]
    return " | ".join(lines[-5:])


def _choose_ports(given: Mapping[str, int]) -> dict[str, int]:
    """Keep the ports that were asked for, and find free ones for the others."""
    chosen: dict[str, int] = {}
    for name, port in given.items():
        if port and not _is_free(port):
            raise UsageError(f"--port: {port} is taken on {HOST}; allowed: a free port, 0 for any")
        chosen[name] = port or _free_port(set(chosen.values()) | set(given.values()))
    return chosen


def _free_port(taken: set[int]) -> int:
    # Each process draws in its own order, so that many starting at once rarely meet.
    for port in random.SystemRandom().sample(_PORTS, 200):
        if port not in taken and _is_free(port):
            return port
    raise DependencyError(f"no free port among {_PORTS.start} to {_PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of a broker that just ended linger; they keep nobody from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _spawn_tied_to_us(command: Sequence[str], log_path: Path) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when we die, however we die.

    Linux ties it to the *thread* that started it, so the thread stays until the process ends.
    """
    started: list[subprocess.Popen[bytes] | OSError] = []
    ready = threading.Event()
    tie = tie_to_parent()

    def hold() -> None:
        try:
            with log_path.open("ab") as log:
                process = subprocess.Popen(  # noqa: S603 - our own command
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C is for us; we then stop the broker in order.
                    start_new_session=True,
                    preexec_fn=tie,  # noqa: PLW1509 - It makes one system call, resolved before.
                )
        except OSError as error:
            started.append(error)
            ready.set()
            return
        started.append(process)
        ready.set()
        process.wait()

    threading.Thread(target=hold, name="embedded-broker", daemon=True).start()
    ready.wait()
    if isinstance(started[0], OSError):
        raise DependencyError(f"cannot start the broker: {started[0]}")
    return started[0]


def tie_to_parent() -> Callable[[], None] | None:
    """Return what a child calls before it becomes a program, so that it dies when we do.

    Linux only; elsewhere there is nothing to call.
    """
    if sys.platform != "linux":
        return None
    parent = os.getpid()
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            # We died between the fork and the call.
            os._exit(1)

    return tie
