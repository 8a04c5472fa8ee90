"""Rows about what lies on disks: a full one, and a changelog compacted during recovery."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final, Self

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from bench.crash.judge.history import home_of, read_history
from bench.crash.judge.records import newest_states, state_of
from bench.crash.plan import rfc3339
from bench.faults.case import NotHere, Row
from bench.faults.scene import LONELY, PARTITIONS, Scene
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from pathlib import Path

    from bench.crash.judge.history import History
    from bench.faults.case import Case

DISK_MB: Final = 320
ERASED: Final = 30
# Kafka refuses segments below a megabyte, so they are cut by time.
AGGRESSIVE: Final = {
    "segment.ms": "500",
    "min.cleanable.dirty.ratio": "0.001",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "500",
    "delete.retention.ms": "0",
}


class SmallDisk:
    """A file system in memory with a bound. A context manager."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m", "tmpfs"]
        try:
            subprocess.run([*mount, str(self.folder)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise NotHere(f"needs the right to mount a tmpfs: {error}") from None
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)

    def fill(self) -> int:
        """Take all that is left; return how many bytes that were."""
        taken = 0
        with (self.folder / "ballast").open("ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        taken += ballast.write(b"\0" * size)
        return taken

    def free(self) -> None:
        """Give it back."""
        (self.folder / "ballast").unlink()


def full_disk(case: Case) -> None:
    """Fill the broker's disk under load, wait until it has stopped, and make room again."""
    with (
        SmallDisk(case.folder / "disk", DISK_MB) as disk,
        EmbeddedBroker(disk.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        scene.begin()
        scene.at(10)
        taken = disk.fill()
        case.tell(f"{taken >> 20} MiB taken: the disk is full ({errno.errorcode[errno.ENOSPC]})")
        stopped = case.wait("the broker to stop", lambda: not broker.is_running(), 45)
        case.tell(f"the broker has stopped after {stopped:.1f} s")
        case.pause(4)
        disk.free()
        assert scene.pulse is not None
        back = time.monotonic()
        broker.start()
        case.wait("decisions", lambda: scene.pulse.since(back) > 50, 60)
        scene.settle()
        scene.judge()
        case.saw(
            f"the broker's log directory full: it stopped after {stopped:.1f} s, workers exited "
            f"{dict(scene.fleet.diary.exit_codes)}; with room and a restart all went on. Workers "
            "keep nothing on disk: their state is in memory, and their changelog in Kafka"
        )


def compaction(case: Case) -> None:
    """Let the broker compact the changelog all the time, and recover from it again and again."""
    properties = LONELY | {"log.cleaner.backoff.ms": "100"}
    with (
        EmbeddedBroker(case.folder / "broker", properties=properties) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        scene.create_topics()
        _configure(scene, scene.names.changelog)
        scene.start_workers()
        scene.start_load()
        scene.at(8)
        first, second = scene.fleet.slots
        scene.fleet.arm(first, "recovery_started:1:stop", signal.SIGKILL)
        case.wait("a stop in recovery", lambda: scene.fleet.diary.hits, 40)
        scene.fleet.signal(second, signal.SIGKILL, "while the other one recovers")
        case.wait("both to be ready", lambda: all(map(scene.fleet.ready, (first, second))), 50)
        scene.fleet.arm(second, "recovery_loaded:1:kill", signal.SIGKILL)
        scene.settle()
        scene.judge()
        assert scene.history is not None
        kept = scene.history.topics[scene.names.changelog]
        written = sum(records[-1].offset + 1 for records in kept.values() if records)
        left = sum(len(records) for records in kept.values())
        case.demand("the changelog was compacted", holds=left < written / 2)
        _erase(scene)
        case.saw(f"{left:,} of {written:,} offsets of the changelog were left when it was judged")
        _lose_events(scene)


def _configure(scene: Scene, topic: str) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in AGGRESSIVE.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for done in scene.admin().incremental_alter_configs([resource]).values():
        done.result(30)


def _tell(scene: Scene, customer: str, kind: str, event_id: str, **data: object) -> None:
    producer = Producer({"bootstrap.servers": scene.bootstrap_servers, "log_level": 0})
    body = {
        "specversion": "1.0",
        "id": event_id,
        "source": "/row11",
        "type": kind,
        "subject": customer,
        "time": rfc3339(time.time_ns() // 1_000_000),
        "data": data,
    }
    home = home_of(customer, PARTITIONS)
    topic = scene.names.input_topics[0]
    producer.produce(topic, json.dumps(body), customer, partition=home)
    producer.flush(20)


def _sequences(history: History) -> dict[str, list[int]]:
    """Return the sequence numbers of every customer's commands, in order."""
    found: dict[str, list[int]] = {}
    for topic in history.command_topics():
        for record in history.of(topic):
            value = json.loads(record.value or b"{}")
            found.setdefault(value["subject"], []).append(value["data"]["sequence"])
    return {customer: sorted(numbers) for customer, numbers in found.items()}


def _absorbed(history: History) -> set[str]:
    """Return the ids that have turned out to be somebody else's."""
    return {
        customer
        for customer, _, value in newest_states(history)
        if state_of(value).merged_into is not None
    }


def _erase(scene: Scene) -> None:
    """Erase people, kill everybody, recover from tombstones, and let the erased buy again."""
    case, pulse = scene.case, scene.pulse
    assert pulse is not None
    history = read_history(scene.bootstrap_servers, scene.names)
    before = _sequences(history)
    # What an absorbed id is told is its survivor's, under the survivor's numbers.
    people = sorted(before.keys() - _absorbed(history))[: 2 * ERASED]
    erased = people[:ERASED]
    began = time.monotonic()
    for customer in erased:
        _tell(scene, customer, "customer.erased", f"erase-{customer}")
    case.wait("the erasures", lambda: pulse.since(began) >= ERASED, 20)
    case.pause(2)
    for slot in scene.fleet.slots:
        scene.fleet.signal(slot, signal.SIGKILL, "after the erasures")
    case.pause(1)
    scene.wait_ready()
    for customer in people:
        items = [{"sku": "sku-row-11", "quantity": 1, "price": "1.00"}]
        order = {"order_id": f"again-{customer}", "total": "1.00", "currency": "EUR"}
        _tell(scene, customer, "purchase", f"again-{customer}", **order, items=items)
    case.wait("the purchases", lambda: pulse.since(began) >= 3 * ERASED, 30)
    case.pause(1)
    after = _sequences(read_history(scene.bootstrap_servers, scene.names))
    for customer in people:
        numbers = after[customer]
        new = len(numbers) - len(before[customer])
        if numbers != list(range(1, len(numbers) + 1)) or not new:
            case.found(f"{customer}: sequences {numbers[-5:]} after {before[customer][-2:]}")
    case.saw(
        f"{ERASED} customers erased, all workers killed, state built from compacted tombstones: "
        f"they and {ERASED} others bought again, and their sequences went on without a gap"
    )


def _lose_events(scene: Scene) -> None:
    """Let retention remove events that nobody has decided: a worker must not go on."""
    case = scene.case
    for slot in scene.fleet.slots:
        slot.wanted = False
        scene.fleet.signal(slot, signal.SIGTERM, "for good")
    fleet = scene.fleet
    case.wait("the end of all", lambda: all(one.process is None for one in fleet.slots), 20)
    for number in range(40):
        _tell(scene, f"late-{number}", "store.visited", f"late-{number}")
    topic = scene.names.input_topics[0]
    all_of_it = [TopicPartition(topic, number, -1) for number in range(PARTITIONS)]
    for done in scene.admin().delete_records(all_of_it).values():
        done.result(20)
    done = scene.orchestrator("worker")
    told = (done.stdout + done.stderr).strip().splitlines()[-1:]
    refused = done.returncode == 1 and "nothing was skipped" in done.stdout + done.stderr
    case.demand(f"a worker whose events are gone stops with 1: {told}", holds=refused)
    case.saw("events that retention removed before they were decided: exit 1, nothing skipped")


ROWS: Final = (
    Row(
        9,
        "full disk",
        "the broker's directory on a tmpfs with a size, filled under load; then room again",
        "fail-stop, then everything as before; nothing acknowledged is lost",
        full_disk,
    ),
    Row(
        11,
        "compaction in recovery; tombstones; events that retention removed",
        "changelog cut and compacted all the time; workers stopped and killed in recovery",
        "state is what the log says; erased people start afresh and their sequence goes on; lost "
        "events stop the worker",
        compaction,
        seconds_max=180.0,
    ),
)
