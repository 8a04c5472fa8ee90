"""What the tests of operations share: a worker's metrics after some work, and promtool."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.model.progress import Behind
from orchestrator.api.model.tasks import Queue
from orchestrator.api.telemetry import Telemetry
from orchestrator.core.command import Command, CommandClass, CommandType
from orchestrator.core.customer import Cause, Customer
from orchestrator.core.decision import (
    Decision,
    DuplicateFound,
    Ended,
    EndReason,
    Entered,
    EntryRefused,
    MergedInto,
    Outcome,
    Refusal,
    SendRefused,
)
from orchestrator.core.pauses import Pause
from orchestrator.metrics import GroupStats, InputStatus, Metrics, PartitionStatus, StandbyStatus

NOW_MS = 1_700_000_000_000
ANA = Customer("ana")


def decision(*entries: Any, commands: tuple[Command, ...] = (), **fields: Any) -> Decision:
    fields.setdefault("outcome", Outcome.APPLIED)
    return Decision(customer=ANA, now_ms=NOW_MS, entries=entries, commands=commands, **fields)


def command(channel: str = "email", command_class: str = "transactional") -> Command:
    return Command(
        id="c-1",
        type=CommandType.MESSAGE_SEND,
        customer="ana",
        time_ms=NOW_MS,
        channel=channel,
        command_class=CommandClass(command_class),
        mode="test",
        journey="post_purchase",
        journey_version=1,
        step="thank_you",
        enrollment="post_purchase/1001#1",
        caused_by=Cause("/shop", "ord-1001"),
        sequence=1,
        expires_at_ms=NOW_MS + 1,
        delivery="at_least_once",
    )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(
        event_types=("purchase", "product.viewed"),
        channels=("email", "push"),
        journeys=("post_purchase", "cart_abandonment"),
        state_bytes_max=1_000,
    )


@pytest.fixture
def worked(metrics: Metrics) -> Metrics:
    """Return metrics of a worker to which everything that is counted has happened once."""
    stats = GroupStats()
    purchase = decision(
        Ended("cart_abandonment/7#1", "cart_abandonment", 1, EndReason.EXIT),
        Entered("post_purchase/1001#1", "post_purchase", 1),
        EntryRefused("post_purchase", 1, Refusal.REENTRY),
        MergedInto("bea"),
        DuplicateFound("email", ("bea",)),
        SendRefused("post_purchase/1001#1", "post_purchase", "ask", "push", Refusal.EXPIRED),
        commands=(command(),),
        exits_dropped=1,
    )
    stats.decided("purchase", purchase, recorded_ms=NOW_MS - 20, seconds=0.00003)
    stats.wait_decided(decision(), late_ms=4, seconds=0.00002)
    stats.visited("cart_abandonment", decision(), seconds=0.00002)
    stats.dead_letter("schema", "purchase")
    stats.forwarded("partition", "purchase")
    stats.ignored("orders")
    stats.state_written(900)
    stats.produced(5, 4_000)
    stats.capped += 1
    metrics.observe_group(stats, committed_ms=NOW_MS, transaction_seconds=0.004)
    metrics.transaction_failed("fenced")
    metrics.assigned(generation=3)
    metrics.recovered(records=10, seconds=0.2)
    metrics.takeover_waited(1.5)
    metrics.waiting(12)
    metrics.paused([Pause("channel/sms", "eva", "number is blocked", kill=True)])
    metrics.built(version="0.1.0", journeys="ab" * 32, mode="test", partitions=8)
    inputs = (InputStatus("touchpoints", 40, 2, NOW_MS),)
    status = PartitionStatus(0, 1, 900, 1, 0, 7, inputs, 1, NOW_MS - 60_000)
    behind = InputStatus("erp.orders", 9, 3, NOW_MS)
    copy = StandbyStatus(1, 900, 5)
    metrics.watch(lambda: (status,), lambda: ((12, behind),), lambda: (copy,))
    return metrics


@pytest.fixture
def answered() -> Telemetry:
    """Return the metrics of an API process to which everything has happened once."""
    telemetry = Telemetry()
    telemetry.answered("/v1/customers/{customer_id}/next-best", "GET", 200, 0.004)
    telemetry.applied([NOW_MS - 20], now_ms=NOW_MS)
    telemetry.took_in("accepted")
    telemetry.asked("offer.requested", "granted", 0.1)
    telemetry.tasks([Queue("complaints", 3, 1, NOW_MS)])
    telemetry.watch(lambda: Behind({"journey-log": 4}, 0.2))
    telemetry.ready.set(1)
    return telemetry


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by name and sorted labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
    }


@pytest.fixture
def read() -> Any:
    """Return a reader of one sample: `read(metrics, name, label="value")`."""

    def value(metrics: Metrics, name: str, **labels: str) -> float:
        return samples(metrics)[name, tuple(sorted(labels.items()))]

    return value


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return promtool: on the PATH, else out of Debian's package, kept in the cache."""
    found = shutil.which("promtool")
    if found:
        return found
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = home / "orchestrator" / "promtool"
    if not kept.exists():
        _unpack_promtool(kept, tmp_path_factory.mktemp("promtool"))
    return str(kept)


def _unpack_promtool(target: Path, workspace: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("promtool is not on the PATH, and there is no apt-get to fetch it with")
    fetched = subprocess.run(
        ["apt-get", "download", "prometheus"],
        cwd=workspace,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    packages = list(workspace.glob("prometheus_*.deb"))
    if fetched.returncode or not packages:
        pytest.skip(f"promtool: apt-get download prometheus: {fetched.stderr.strip()[-200:]}")
    subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(workspace)], check=True, timeout=60)
    target.parent.mkdir(parents=True, exist_ok=True)
    # A move is atomic only within a file system, and other runs may look at the same time.
    staged = target.with_suffix(f".{os.getpid()}")
    shutil.copy(workspace / "usr" / "bin" / "promtool", staged)
    staged.replace(target)
