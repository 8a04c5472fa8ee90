"""A worker that dies at any point of a commit loses nothing and doubles nothing."""

import itertools
import signal
import time
from pathlib import Path

import pytest

from orchestrator.failpoint import WORKER as NAMES
from tests.runtime.deployment import cart, event, purchase, wait_until

CUSTOMERS = [f"c{n}" for n in range(20)]
FINAL = ["cart_first", "review", "thank_you"]
DURING_START = {"assigned", "recovery_started", "recovery_loaded"}
# Reached by waits, revocations and merges (test_identity), which these tests do not place.
ELSEWHERE = {"revoked", "timer_decided"} | {
    name for name in NAMES if name.startswith(("absorbed_", "survivor_"))
}
IN_WORK = [name for name in NAMES if name not in DURING_START | ELSEWHERE]


def everything_happened(deployment):
    """Whether every customer got every message, and none twice."""
    return lambda: deployment.templates() == dict.fromkeys(CUSTOMERS, FINAL)


def sequences_have_no_gap(deployment):
    found = {}
    for lane in ("email", "push", "ads"):
        for suffix in ("", ".promotional"):
            for key, value, _ in deployment.read(f"commands.{lane}{suffix}"):
                found.setdefault(key, []).append(value["data"]["sequence"])
    return all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in found.values())


def commit_until(deployment, true, what):
    """Let one commit follow the other until it is true: few may have sufficed for what was told."""
    numbers = itertools.count()

    def after_one_more():
        if not true():
            deployment.produce(event("product.viewed", f"view-{next(numbers)}", "c0", sku="tent-9"))
        return true()

    wait_until(after_one_more, what)


@pytest.mark.parametrize("failpoint", IN_WORK)
def test_a_kill_between_two_steps_of_a_commit_loses_and_doubles_nothing(deployment, failpoint):
    worker = deployment.start(failpoint=f"{failpoint}:4")
    deployment.produce(*map(cart, CUSTOMERS), partitioner="murmur2_random")
    for customer in CUSTOMERS:
        deployment.produce(purchase(customer), partitioner="murmur2_random")
    commit_until(deployment, lambda: worker.poll() is not None, "death at the failpoint")

    assert worker.returncode == -signal.SIGKILL
    deployment.start()

    wait_until(everything_happened(deployment), "everything once")
    assert sequences_have_no_gap(deployment)


@pytest.mark.parametrize("failpoint", sorted(DURING_START))
def test_a_kill_while_taking_over_is_taken_over(deployment, failpoint):
    deployment.start("a").kill()
    deployment.produce(*map(cart, CUSTOMERS), partitioner="murmur2_random")
    worker = deployment.start("b", ready=False, failpoint=failpoint)
    wait_until(lambda: worker.poll() is not None, "death at the failpoint")
    deployment.produce(*map(purchase, CUSTOMERS), partitioner="murmur2_random")

    deployment.start("c")

    wait_until(everything_happened(deployment), "everything once")


def test_a_wait_survives_the_worker_and_fires_without_any_traffic(deployment):
    worker = deployment.start()
    deployment.produce(*map(cart, CUSTOMERS), partitioner="murmur2_random")
    deployment.produce(*map(purchase, CUSTOMERS), partitioner="murmur2_random")
    wait_until(lambda: len(deployment.templates()) == len(CUSTOMERS), "first messages")
    worker.kill()
    worker.wait()

    deployment.start()

    wait_until(everything_happened(deployment), "the waits")


def is_stopped(process):
    """Whether the kernel has stopped a process, as SIGSTOP does."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_worker_that_was_given_up_changes_nothing_when_it_wakes(deployment):
    zombie = deployment.start("a", failpoint="after_acks:3:stop")
    deployment.produce(*map(cart, CUSTOMERS), partitioner="murmur2_random")
    for customer in CUSTOMERS:
        deployment.produce(purchase(customer), partitioner="murmur2_random")
    commit_until(deployment, lambda: is_stopped(zombie), "a worker that stands still")
    deployment.start("b")
    wait_until(everything_happened(deployment), "everything once")

    zombie.send_signal(signal.SIGCONT)
    wait_until(lambda: zombie.poll() is not None, "end of the zombie")

    assert zombie.returncode == 70
    assert deployment.templates() == dict.fromkeys(CUSTOMERS, FINAL)


def test_a_worker_that_is_told_to_stop_leaves_at_once_and_hands_over(deployment):
    worker = deployment.start("a")
    deployment.produce(*map(cart, CUSTOMERS), partitioner="murmur2_random")
    wait_until(lambda: len(deployment.templates()) == len(CUSTOMERS), "first messages")
    deployment.start("b")
    started = time.monotonic()
    worker.terminate()
    worker.wait(20)

    assert worker.returncode == 0
    assert time.monotonic() - started < 10
    deployment.produce(*map(purchase, CUSTOMERS), partitioner="murmur2_random")
    wait_until(everything_happened(deployment), "everything once")
