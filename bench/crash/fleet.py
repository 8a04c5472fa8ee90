"""Workers as processes, and the supervisor that restarts every one that dies, as `deploy/` does.

A worker can be told a failpoint at its next start; it then kills or stops itself there. The fleet
sees both, continues a stopped one after the session timeout has passed, and keeps a diary of
everything, so that a report can say which faults really happened.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESTART_SECONDS: Final = (0.3, 0.5, 1.0, 2.0, 4.0, 8.0)
"""A worker that dies young again and again waits longer: three of them eat two cores otherwise."""
YOUNG_SECONDS: Final = 15.0
STOPPED_SECONDS: Final = 9.0
"""How long a stopped worker sleeps: past the session timeout of 6 s, so others own its part."""
WORKER_COMMAND: Final = (sys.executable, "-m", "orchestrator", "worker")


@dataclass(slots=True)
class Slot:
    """One worker's place: its name stays over restarts, its process does not."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    log: Path | None = None
    log_start: int = 0
    failpoint: str = ""
    """What the running process was told; empty for most."""
    next_failpoint: str = ""
    expected_kill: bool = False
    wanted: bool = True
    restart_at: float = 0.0
    stopped_at: float | None = None
    started_at: float = 0.0
    deaths: int = 0
    young_deaths: int = 0


@dataclass(slots=True)
class Diary:
    """What happened when, in seconds since the fleet was made."""

    entries: list[tuple[float, str, str]] = field(default_factory=list)
    exit_codes: dict[int, int] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    """Failpoint and action, and how often it was really reached."""


class Fleet:
    """Keeps the workers of all slots running until `close`."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        slots: int,
        *,
        command: Sequence[str] = WORKER_COMMAND,
        stopped_seconds: float = STOPPED_SECONDS,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.diary = Diary()
        self._folder = folder
        self._environment = environment
        self._command = tuple(command)
        self.stopped_seconds = stopped_seconds
        self._tell = tell
        self._started = time.monotonic()
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self.slots = [Slot(f"slot-{number}") for number in range(slots)]
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start all workers and the supervision."""
        for slot in self.slots:
            self._spawn(slot)
        self._thread.start()

    def note(self, who: str, what: str) -> None:
        """Write into the diary, and show it."""
        at = time.monotonic() - self._started
        self.diary.entries.append((round(at, 2), who, what))
        self._tell(f"{at:7.1f} s  {who}: {what}")

    def signal(self, slot: Slot, number: signal.Signals, why: str) -> bool:
        """Send a signal to a slot's process; False when there is none to send it to."""
        with self._lock:
            process = slot.process
            if process is None or process.poll() is not None or slot.stopped_at is not None:
                return False
            if number is signal.SIGKILL:
                slot.expected_kill = True
            self.note(slot.name, f"{number.name} ({why})")
            process.send_signal(number)
            return True

    def arm(self, slot: Slot, failpoint: str, number: signal.Signals) -> None:
        """Let the next process of a slot meet a failpoint; the present one ends for it."""
        with self._lock:
            slot.next_failpoint = failpoint
            self.signal(slot, number, f"to start again with {failpoint}")

    def ready(self, slot: Slot) -> bool:
        """Return whether the slot's process runs and has said that it recovered its partitions."""
        with self._lock:
            process = slot.process
            if process is None or process.poll() is not None or slot.stopped_at is not None:
                return False
        return b'"ready"' in self.said(slot)

    def said(self, slot: Slot) -> bytes:
        """Return what the slot's present process has written to its log."""
        if slot.log is None or not slot.log.exists():
            return b""
        with slot.log.open("rb") as log:
            log.seek(slot.log_start)
            return log.read()

    def close(self) -> None:
        """Stop supervising and end all workers, gracefully where they let us."""
        self._closing.set()
        self._thread.join()
        for slot in self.slots:
            process = slot.process
            if process is None or process.poll() is not None:
                continue
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for slot in self.slots:
            if slot.process is None:
                continue
            try:
                slot.process.wait(20)
            except subprocess.TimeoutExpired:
                self.note(slot.name, "did not stop on SIGTERM within 20 s")
                slot.process.kill()
                slot.process.wait()

    def program_of(self, slot: Slot) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return what a slot runs, and what stands in its environment beside our own."""
        return self._command, {
            **self._environment,
            "ORCHESTRATOR_FAILPOINT": slot.failpoint,
        }

    def _spawn(self, slot: Slot) -> None:
        slot.failpoint, slot.next_failpoint = slot.next_failpoint, ""
        slot.expected_kill, slot.stopped_at = False, None
        slot.log = self._folder / f"{slot.name}.log"
        command, more = self.program_of(slot)
        environment = {**os.environ, **more, "ORCHESTRATOR_SLOT": slot.name}
        with slot.log.open("ab") as log:
            slot.log_start = log.tell()
            slot.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        slot.started_at = time.monotonic()

    def _supervise(self) -> None:
        while not self._closing.wait(0.1):
            for slot in self.slots:
                with self._lock, contextlib.suppress(ProcessLookupError):
                    self._look_after(slot)

    def _look_after(self, slot: Slot) -> None:
        now = time.monotonic()
        process = slot.process
        if process is None:
            if slot.wanted and now >= slot.restart_at:
                self._spawn(slot)
            return
        code = process.poll()
        if code is not None:
            self._buried(slot, code)
        elif slot.stopped_at is not None:
            if now - slot.stopped_at > self.stopped_seconds:
                self.note(slot.name, "SIGCONT")
                slot.stopped_at = None
                process.send_signal(signal.SIGCONT)
        elif _is_stopped(process.pid):
            slot.stopped_at = now
            if slot.failpoint:
                self._hit(slot)

    def _buried(self, slot: Slot, code: int) -> None:
        slot.deaths += 1
        self.diary.exit_codes[code] = self.diary.exit_codes.get(code, 0) + 1
        if code == -signal.SIGKILL and slot.failpoint and not slot.expected_kill:
            self._hit(slot)
        else:
            self.note(slot.name, f"exit code {code}")
        slot.process, slot.failpoint = None, ""
        now = time.monotonic()
        # Only who ends by itself, for want of a broker or a slot, gains by waiting.
        young = code > 0 and now - slot.started_at < YOUNG_SECONDS
        slot.young_deaths = min(slot.young_deaths + 1, len(RESTART_SECONDS) - 1) if young else 0
        slot.restart_at = now + RESTART_SECONDS[slot.young_deaths]

    def _hit(self, slot: Slot) -> None:
        name, *_, action = slot.failpoint.split(":")
        hit = f"{name}:{action}"
        self.diary.hits[hit] = self.diary.hits.get(hit, 0) + 1
        self.note(slot.name, f"reached {slot.failpoint}")
        slot.failpoint = ""


def _is_stopped(process_id: int) -> bool:
    """Return whether the kernel says that the process is stopped."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] == "T"
