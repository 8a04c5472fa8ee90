"""`python -m bench.faults.worker`: `orchestrator worker`, in the role that its slot plays in a row.

`Scene.play` writes roles, one file for each slot, in a folder that `FAULTS_ROLES` names; a worker
without one is as any other. A role may give settings of its own, another wall clock, another format
of the state, a cgroup, and ballast that is taken on when a file appears.
"""

# What a role changes is changed by a name of its own, and only in the process that shall have it.
# ruff: noqa: PLC0415, SLF001

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

_CLOCK_SECONDS: Final = 0.05
_BALLAST_BYTES: Final = 8 * 1024 * 1024
NEXT_FORMAT: Final = 2
EXTENSION: Final = "row-16"


def main() -> None:
    """Take on the slot's role, and be a worker."""
    role = _role()
    os.environ.update(role.get("environment", {}))
    for cgroup in role.get("cgroups", ()):
        Path(cgroup, "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    if "clock" in role:
        _follow_clock(Path(role["clock"]))
    if "ballast" in role:
        _await_ballast(Path(role["ballast"]))
    if role.get("wider"):
        _write_one_field_more()
    if role.get("next_format"):
        _write_next_format()
    from orchestrator.cli import main as orchestrator

    sys.argv = ["orchestrator", "worker"]
    orchestrator()


def _role() -> dict[str, Any]:
    folder, slot = os.environ.get("FAULTS_ROLES"), os.environ.get("ORCHESTRATOR_SLOT")
    path = Path(folder or ".", f"{slot}.json")
    if not folder or not path.exists():
        return {}
    role: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return role


def _follow_clock(path: Path) -> None:
    """Add to the wall clock the seconds that stand in a file, which may change at any time."""
    wall, wall_ns = time.time, time.time_ns
    added = [0.0]

    def look() -> None:
        while True:
            text = path.read_text(encoding="ascii") if path.exists() else ""
            added[0] = float(text or 0)
            time.sleep(_CLOCK_SECONDS)

    time.time = lambda: wall() + added[0]
    time.time_ns = lambda: wall_ns() + int(added[0] * 1e9)
    threading.Thread(target=look, daemon=True).start()
    _stamp_by_that_clock()


def _stamp_by_that_clock() -> None:
    """Let the stamps of records follow: the client's own take the time past Python."""
    from aiokafka.producer import message_accumulator
    from aiokafka.record import default_records

    class Stamping(default_records.DefaultRecordBatchBuilder):  # type: ignore[misc]
        def append(self, offset: int, timestamp: int | None, *rest: Any, **more: Any) -> Any:
            at_ms = int(time.time() * 1000) if timestamp is None else timestamp
            return super().append(offset, at_ms, *rest, **more)

    default_records.DefaultRecordBatchBuilder = Stamping
    message_accumulator.DefaultRecordBatchBuilder = Stamping


def _await_ballast(path: Path) -> None:
    """Grow until the kernel says no, from when a file is there; a thread, so work goes on."""

    def grow() -> None:
        ballast = []
        while not path.exists():
            time.sleep(_CLOCK_SECONDS)
        path.unlink()
        while True:
            ballast.append(b"x" * _BALLAST_BYTES)

    threading.Thread(target=grow, daemon=True).start()


def _write_one_field_more() -> None:
    """Be a release whose state has one field more at its end, and an extension, in one format."""
    from msgspec import msgpack, structs

    from orchestrator.core.encoded import state

    class Wider:
        def encode(self, customer: Any) -> bytes:
            extensions = {**customer.extensions, EXTENSION: b"kept"}
            wider = structs.replace(customer, extensions=extensions)
            return msgpack.encode([*structs.astuple(wider), "of a later release"])

    state._encoder = Wider()


def _write_next_format() -> None:
    """Be a release with a format of its own, which also reads the present one."""
    from orchestrator.core.encoded import state

    present, following = state._FORMAT_BYTE, bytes((NEXT_FORMAT,))

    def check(value: bytes) -> None:
        if value[:1] not in {present, following}:
            raise state.UnknownStateFormat(f"state format {value[:1]!r}")

    state.STATE_FORMAT, state._FORMAT_BYTE = NEXT_FORMAT, following
    state.check_state_format = check


if __name__ == "__main__":
    main()
