"""The supervisor of the crash run restarts what dies, wakes what sleeps, and keeps a true diary."""

from __future__ import annotations

import signal
import sys
import time

from bench.crash import fleet as fleets
from bench.crash.fleet import Fleet

WORKER = """
import os, signal, sys, time
print('{"event":"ready"}', flush=True)
name, _, rest = os.environ["ORCHESTRATOR_FAILPOINT"].partition(":")
if name == "assigned":
    os.kill(os.getpid(), signal.SIGKILL if rest.endswith("kill") else signal.SIGSTOP)
time.sleep(60)
"""


def fleet_of(tmp_path, slots=1) -> Fleet:
    command = (sys.executable, "-c", WORKER)
    fleet = Fleet(tmp_path, {}, slots, command=command, tell=lambda _: None)
    fleet.start()
    return fleet


def until(condition, seconds=10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_a_killed_worker_is_started_again(tmp_path):
    fleet = fleet_of(tmp_path)
    slot = fleet.slots[0]
    try:
        assert until(lambda: fleet.ready(slot))
        first = slot.process.pid
        assert fleet.signal(slot, signal.SIGKILL, "test")

        assert until(lambda: fleet.ready(slot) and slot.process.pid != first)
    finally:
        fleet.close()
    assert fleet.diary.exit_codes[-signal.SIGKILL] == 1


def test_a_kill_at_a_failpoint_counts_as_reached_and_is_met_once(tmp_path):
    fleet = fleet_of(tmp_path)
    slot = fleet.slots[0]
    try:
        assert until(lambda: fleet.ready(slot))
        fleet.arm(slot, "assigned:1:kill", signal.SIGKILL)

        assert until(lambda: fleet.diary.hits.get("assigned:kill") == 1)
        assert until(lambda: slot.process is not None and fleet.ready(slot))
        assert slot.failpoint == ""
    finally:
        fleet.close()


def test_a_worker_that_stopped_itself_is_seen_and_woken(tmp_path, monkeypatch):
    monkeypatch.setattr(fleets, "STOPPED_SECONDS", 0.5)
    fleet = fleet_of(tmp_path)
    slot = fleet.slots[0]
    try:
        assert until(lambda: fleet.ready(slot))
        fleet.arm(slot, "assigned:1:stop", signal.SIGTERM)

        assert until(lambda: fleet.diary.hits.get("assigned:stop") == 1)
        assert not fleet.ready(slot)
        assert until(lambda: slot.stopped_at is None and fleet.ready(slot))
    finally:
        fleet.close()


def test_no_worker_outlives_the_fleet(tmp_path):
    fleet = fleet_of(tmp_path, slots=2)
    assert until(lambda: all(fleet.ready(slot) for slot in fleet.slots))

    fleet.close()

    assert all(slot.process.poll() is not None for slot in fleet.slots)
