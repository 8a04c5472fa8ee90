"""Keeps workers running: whoever dies is started again, except for a wrong setting (exit code 2).

`orchestrator run` and `orchestrator demo` start their workers through it. It knows processes and
exit codes, no Kafka: the worker is crash-only, so "restart it" is the whole medicine. On machines
of a company the same is done by systemd, compose or Kubernetes (see `deploy/`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from orchestrator.broker import tie_to_parent
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.settings import ENVIRONMENT_PREFIX, SECRETS

if TYPE_CHECKING:
    from orchestrator.settings import Settings

# The first restart is immediate: a worker that gave itself up (exit code 70) is healthy again as
# soon as it recovers. Only one that keeps dying waits, so that it does not eat the machine.
BACKOFF_SECONDS: Final = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
# A worker that lived this long has earned an immediate restart again.
HEALTHY_SECONDS: Final = 30.0
# Longer than the worker's own graceful stop, which waits for one transaction.
STOP_SECONDS: Final = 15.0
EXIT_USAGE: Final = 2
WORKER_COMMAND: Final = (sys.executable, "-m", "orchestrator", "worker")
API_COMMAND: Final = (sys.executable, "-m", "orchestrator", "api")
API_SLOT: Final = "api"
LINE_BYTES_MAX: Final = 1 << 20
LAST_LINES: Final = 20


class WorkerState(StrEnum):
    """Where a supervised process stands."""

    STARTING = "starting"
    READY = "ready"  # It said so itself: its partitions are recovered.
    DIED = "died"  # Waiting to be started again.
    STOPPED = "stopped"  # On purpose.


@dataclass(slots=True)
class Worker:
    """One slot and the process in it. Read by the picture, written only by the supervisor.

    `name` is what people call it: a process of another kind than a worker has its own.
    """

    slot: str
    command: tuple[str, ...]
    name: str
    state: WorkerState = WorkerState.STARTING
    pid: int | None = None
    starts: int = 0
    exit_code: int | None = None
    partitions: int = 0
    process: asyncio.subprocess.Process | None = None
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    @property
    def restarts(self) -> int:
        """How often it had to be started again."""
        return max(0, self.starts - 1)

    def last_words(self) -> str:
        """Return the last thing that it said: for exit code 2 this is the reason."""
        return self.last_lines[-1] if self.last_lines else "it said nothing"


OnLine = Callable[[Worker, str, Mapping[str, Any]], None]
OnChange = Callable[[Worker], None]


def parse_line(line: str) -> Mapping[str, Any]:
    """Return the fields of a structured log line; a plain line gives none."""
    if not line.startswith("{"):
        return {}
    try:
        fields = json.loads(line)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def backoff_seconds(deaths_in_a_row: int) -> float:
    """Return how long the next restart waits after so many deaths without a healthy life."""
    return BACKOFF_SECONDS[min(deaths_in_a_row, len(BACKOFF_SECONDS)) - 1]


class Supervisor:
    """Starts one process for each slot and keeps it running until `stop`.

    `on_line` hears every line of a worker's stderr, `on_change` every change of its state; both
    are called on the event loop and must be quick. `log` receives the raw lines.
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        environments: Mapping[str, Mapping[str, str]] | None = None,
        names: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
        on_change: OnChange | None = None,
        log: IO[str] | None = None,
    ) -> None:
        self.workers = {
            slot: Worker(slot, tuple(command), (names or {}).get(slot, f"worker {slot}"))
            for slot, command in commands.items()
        }
        self._environments = dict(environments or {})
        self._on_line = on_line
        self._on_change = on_change
        self._log = log
        self._stopping = asyncio.Event()
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Keep every worker running until `stop`.

        Raises UsageError with the worker's own words when one exits with code 2: a wrong setting
        does not get better by a restart.
        """
        keepers = [asyncio.create_task(self._keep(worker)) for worker in self.workers.values()]
        try:
            await asyncio.gather(*keepers)
        finally:
            self._stopping.set()
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await asyncio.gather(*(self._end(worker) for worker in self.workers.values()))

    async def stop(self) -> None:
        """Ask every worker to finish what it holds, and wait until all have."""
        self._stopping.set()
        await asyncio.gather(*(self._end(worker) for worker in self.workers.values()))

    def kill(self, slot: str) -> int | None:
        """Send SIGKILL to the worker of a slot, as a power cut would; return its pid."""
        worker = self.workers[slot]
        if worker.process is None or worker.process.returncode is not None:
            return None
        worker.process.kill()
        return worker.process.pid

    async def ready(self, timeout_seconds: float) -> None:
        """Return when every worker has said that it is ready. Raises when they take too long."""
        try:
            async with asyncio.timeout(timeout_seconds), self._changed:
                await self._changed.wait_for(
                    lambda: all(w.state is WorkerState.READY for w in self.workers.values())
                )
        except TimeoutError:
            late = [w for w in self.workers.values() if w.state is not WorkerState.READY]
            words = "; ".join(f"{w.name} ({w.state}): {w.last_words()}" for w in late)
            raise OrchestratorError(f"not ready after {timeout_seconds:.0f} s: {words}") from None

    async def _keep(self, worker: Worker) -> None:
        deaths_in_a_row = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            await self._start(worker)
            code = await self._wait(worker)
            if self._stopping.is_set():
                await self._stopped(worker)
                return
            if code == EXIT_USAGE:
                await self._stopped(worker)
                raise UsageError(f"{worker.name}: {worker.last_words()}")
            lived = time.monotonic() - began
            deaths_in_a_row = 1 if lived >= HEALTHY_SECONDS else deaths_in_a_row + 1
            await self._change(worker, WorkerState.DIED)
            with suppress(TimeoutError):
                async with asyncio.timeout(backoff_seconds(deaths_in_a_row)):
                    await self._stopping.wait()

    async def _start(self, worker: Worker) -> None:
        # A process group of its own: Ctrl-C in the terminal reaches only the supervisor, which
        # stops the workers before the broker.
        worker.process = await asyncio.create_subprocess_exec(
            *worker.command,
            env={**os.environ, **self._environments.get(worker.slot, {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,
            # A supervisor that is killed leaves no worker behind: whoever starts it again would
            # find its slots taken.
            preexec_fn=tie_to_parent(),
            limit=LINE_BYTES_MAX,
        )
        worker.pid = worker.process.pid
        worker.starts += 1
        worker.exit_code = None
        worker.partitions = 0
        await self._change(worker, WorkerState.STARTING)

    async def _wait(self, worker: Worker) -> int:
        process = worker.process
        assert process is not None
        assert process.stderr is not None
        async for raw in process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            if not line:
                continue
            worker.last_lines.append(line)
            if self._log is not None:
                self._log.write(f"{worker.slot} {line}\n")
                self._log.flush()
            fields = parse_line(line)
            if fields.get("event") == "ready":
                # It says so again whenever it was given other partitions.
                worker.partitions = len(fields.get("partitions", ()))
                await self._change(worker, WorkerState.READY)
            if self._on_line is not None:
                self._on_line(worker, line, fields)
        worker.exit_code = await process.wait()
        return worker.exit_code

    async def _change(self, worker: Worker, state: WorkerState) -> None:
        worker.state = state
        if self._on_change is not None:
            self._on_change(worker)
        async with self._changed:
            self._changed.notify_all()

    async def _stopped(self, worker: Worker) -> None:
        # Both who keeps a worker and who ends it may be first to see its end.
        if worker.state is not WorkerState.STOPPED:
            await self._change(worker, WorkerState.STOPPED)

    async def _end(self, worker: Worker) -> None:
        process = worker.process
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        worker.exit_code = process.returncode
        await self._stopped(worker)


def supervise_workers(
    settings: Settings,
    count: int,
    *,
    on_line: OnLine | None = None,
    on_change: OnChange | None = None,
    log: IO[str] | None = None,
) -> Supervisor:
    """Return a supervisor of so many workers of one deployment, not yet running.

    They are named by number, and the metrics port of the first is counted on.
    """
    slots = [str(number) for number in range(count)]
    return Supervisor(
        dict.fromkeys(slots, WORKER_COMMAND),
        environments={
            slot: worker_environment(settings)
            | {
                f"{ENVIRONMENT_PREFIX}SLOT": slot,
                f"{ENVIRONMENT_PREFIX}METRICS_PORT": str(
                    settings.metrics_port and settings.metrics_port + int(slot)
                ),
            }
            for slot in slots
        },
        on_line=on_line,
        on_change=on_change,
        log=log,
    )


def supervise_api(
    settings: Settings, own: Mapping[str, object], *, on_line: OnLine, on_change: OnChange
) -> Supervisor:
    """Return a supervisor of the API of a deployment, not yet running; `own` are its settings."""
    variables = {f"{ENVIRONMENT_PREFIX}{name.upper()}": str(value) for name, value in own.items()}
    return Supervisor(
        {API_SLOT: API_COMMAND},
        environments={API_SLOT: worker_environment(settings) | variables},
        names={API_SLOT: "the API"},
        on_line=on_line,
        on_change=on_change,
    )


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the settings as variables, so that a worker sees what its supervisor was given.

    Only what was set travels; a secret that stands in a file is read there again.
    """
    variables: dict[str, str] = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is None or (name in SECRETS and getattr(settings, f"{name}_file") is not None):
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, tuple):
            value = ",".join(value)
        variables[ENVIRONMENT_PREFIX + name.upper()] = str(value)
    return variables
