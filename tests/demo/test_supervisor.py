"""The supervisor restarts whoever dies, and gives up only on wrong settings."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.demo.supervisor import Supervisor, WorkerState, backoff_seconds
from orchestrator.errors import OrchestratorError, UsageError

READY = 'import sys; print(\'{"event": "ready"}\', file=sys.stderr, flush=True); '
SLEEP = READY + "import time; time.sleep(60)"


def python(code):
    return [sys.executable, "-c", code]


async def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def test_a_worker_that_gave_itself_up_is_started_again(tmp_path):
    """Exit code 70 means: restart me. The second life is healthy."""
    marker = tmp_path / "first-life"
    code = (
        f"import pathlib, sys; p = pathlib.Path({str(marker)!r})\n"
        "if not p.exists(): p.touch(); sys.exit(70)\n" + SLEEP
    )
    states = []
    supervisor = Supervisor({"0": python(code)}, on_change=lambda w: states.append(w.state))
    running = asyncio.create_task(supervisor.run())
    await supervisor.ready(20)

    assert supervisor.workers["0"].restarts == 1
    assert states == [
        WorkerState.STARTING,
        WorkerState.DIED,
        WorkerState.STARTING,
        WorkerState.READY,
    ]

    await supervisor.stop()
    await asyncio.wait_for(running, 5)
    assert supervisor.workers["0"].state is WorkerState.STOPPED


async def test_a_wrong_setting_stops_everything_and_says_which():
    """Exit code 2 is not restarted; the worker's last words are the message; nobody is left."""
    wrong = "import sys; print('--partitions: 0 is refused', file=sys.stderr); sys.exit(2)"
    supervisor = Supervisor({"0": python(wrong), "1": python(SLEEP)})

    with pytest.raises(UsageError, match="--partitions: 0 is refused"):
        await asyncio.wait_for(supervisor.run(), 20)

    assert supervisor.workers["0"].starts == 1
    process = supervisor.workers["1"].process
    assert process is None or process.returncode is not None


async def test_a_worker_killed_with_9_comes_back():
    """A power cut of one worker is noticed and repaired; the other one is not touched."""
    supervisor = Supervisor({"0": python(SLEEP), "1": python(SLEEP)})
    running = asyncio.create_task(supervisor.run())
    await supervisor.ready(20)
    other = supervisor.workers["1"].pid

    killed = supervisor.kill("0")
    await wait_until(lambda: supervisor.workers["0"].pid != killed)
    await supervisor.ready(20)

    assert supervisor.workers["0"].restarts == 1
    assert supervisor.workers["1"].pid == other
    await supervisor.stop()
    await asyncio.wait_for(running, 5)


async def test_stopping_asks_before_it_kills():
    """SIGTERM first: a worker may finish its transaction and leave with code 0."""
    code = (
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        + READY
        + "signal.pause()"
    )
    supervisor = Supervisor({"0": python(code)})
    running = asyncio.create_task(supervisor.run())
    await supervisor.ready(20)

    await supervisor.stop()
    await asyncio.wait_for(running, 5)

    assert supervisor.workers["0"].exit_code == 0


async def test_workers_do_not_outlive_a_cancelled_supervisor():
    """Whoever cancels the supervisor leaves no process behind."""
    supervisor = Supervisor({"0": python(SLEEP)})
    running = asyncio.create_task(supervisor.run())
    await supervisor.ready(20)
    pid = supervisor.workers["0"].pid

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIG_DFL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_workers_die_with_a_supervisor_that_is_killed():
    """Nobody could stop them any more, and the next supervisor would find their slots taken."""
    code = (
        "import asyncio, sys\n"
        "from orchestrator.demo.supervisor import Supervisor\n"
        "async def main():\n"
        f"    supervisor = Supervisor({{'0': [sys.executable, '-c', {SLEEP!r}]}})\n"
        "    running = asyncio.create_task(supervisor.run())\n"
        "    await supervisor.ready(20)\n"
        "    print(supervisor.workers['0'].pid, flush=True)\n"
        "    await running\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 5

    while time.monotonic() < deadline and is_alive(worker):
        time.sleep(0.02)

    assert not is_alive(worker)


def is_alive(pid):
    """Whether a process runs; one that waits to be collected by its parent does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


async def test_a_worker_that_is_never_ready_is_named_with_its_last_words():
    code = (
        "import sys, time; print('waiting for the moon', file=sys.stderr, flush=True); "
        "time.sleep(60)"
    )
    supervisor = Supervisor({"0": python(code)})
    running = asyncio.create_task(supervisor.run())
    await wait_until(lambda: supervisor.workers["0"].last_lines)

    with pytest.raises(OrchestratorError, match=r"worker 0.*waiting for the moon"):
        await supervisor.ready(0.1)

    await supervisor.stop()
    await asyncio.wait_for(running, 5)


def test_the_first_restart_is_immediate_and_the_later_ones_wait_longer():
    waits = [backoff_seconds(deaths) for deaths in range(1, 9)]

    assert waits[0] == 0
    assert waits == sorted(waits)
    assert waits[-1] == 10
