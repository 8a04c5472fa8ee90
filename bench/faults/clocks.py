"""The row about clocks: those of workers jump by hours and days; events from 1970 and 2060.

The worker reads its wall clock through Python's `time` module, which its role replaces
(`bench.faults.worker`): no libfaketime, and the broker's clock stays right. The journey log is
stamped by the broker here, so that the judge has a clock to trust.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from bench.crash.judge.history import home_of
from bench.crash.load import producing
from bench.crash.plan import STRUCTURED, rfc3339
from bench.faults.case import Row
from bench.faults.scene import LONELY, PARTITIONS, Scene
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from bench.crash.judge.records import Violation
    from bench.faults.case import Case

HOUR: Final = 3_600
DAY: Final = 24 * HOUR
JUMPS: Final = (
    (1, 0, HOUR),
    (7, 0, -HOUR),
    (13, 0, DAY),
    (19, 0, -DAY),
    (25, 1, HOUR),
    (35, 0, 0),
    (35, 1, 0),
)
"""Second, slot, and by how many seconds its wall clock is wrong from then on."""
RESTART_AT: Final = 28
WRONG_EVENTS: Final = 25


def clocks(case: Case) -> None:
    """Let the clocks of both workers jump, one restart with a wrong clock, and send odd times."""
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        scene.create_topics()
        _stamp_by_broker(scene, scene.names.journey_log)
        files = [case.folder / f"clock-{one.name}" for one in scene.fleet.slots]
        for slot, path in zip(scene.fleet.slots, files, strict=True):
            path.write_text("0", encoding="ascii")
            scene.play(slot, {"clock": str(path)})
        scene.start_workers()
        scene.start_load()
        scene.at(3)
        odd = _send_odd_times(scene)
        # A clock that is an hour ahead would believe them: that is two faults at once.
        assert scene.pulse is not None
        case.wait("the odd times to be decided", lambda: odd <= scene.pulse.customers, 40)
        began = time.monotonic() - scene.began
        restarted = False
        for second, number, seconds in JUMPS:
            if second > RESTART_AT and not restarted:
                scene.at(began + RESTART_AT)
                scene.restart(scene.fleet.slots[1], why="with a wrong clock")
                restarted = True
            scene.at(began + second)
            files[number].write_text(str(seconds), encoding="ascii")
            case.tell(f"clock of slot-{number}: {seconds:+d} s")
        scene.settle()
        scene.judge(excused=lambda violation: _capped(scene, violation))
        case.saw(
            f"both clocks wrong by an hour or a day, in turn, one start with a wrong one; "
            f"{2 * WRONG_EVENTS} events from 1970 and 2060, {WRONG_EVENTS} records stamped half an "
            f"hour ahead: {case.figures['waits_fired']:,} waits fired, each once and none early"
        )


def _stamp_by_broker(scene: Scene, topic: str) -> None:
    entry = ConfigEntry(
        "message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for done in scene.admin().incremental_alter_configs([resource]).values():
        done.result(30)


def _capped(scene: Scene, violation: Violation) -> bool:
    """Whether it says that a record stamped half an hour ahead did not carry the clock with it."""
    assert scene.history is not None
    if violation.what != "decided with a clock behind its own event" or not violation.place:
        return False
    topic, partition, offset = violation.place
    records = scene.history.topics[topic][partition]
    keys = [one.key or b"" for one in records if one.offset == offset]
    return keys[0].startswith(b"odd-ahead")


def _send_odd_times(scene: Scene) -> set[str]:
    """Send events that happened in 1970 and 2060, and records stamped ahead; return by whom."""
    assert scene.load is not None
    load = scene.load
    producer = Producer(producing(scene.bootstrap_servers))
    now_ms = time.time_ns() // 1_000_000
    for number in range(WRONG_EVENTS):
        for name, at, stamp_ms in (
            ("1970", "1970-01-01T00:00:00Z", now_ms),
            ("2060", "2060-01-01T00:00:00Z", now_ms),
            ("ahead", rfc3339(now_ms), now_ms + HOUR * 500),
        ):
            customer = f"odd-{name}-{number}"
            items = [{"sku": "sku-1", "quantity": 1, "price": "1.00"}]
            data: dict[str, Any] = {"order_id": customer, "total": "1.00", "currency": "EUR"}
            body = {
                "specversion": "1.0",
                "id": customer,
                "source": "/odd",
                "type": "purchase",
                "subject": customer,
                "time": at,
                "data": {**data, "items": items},
            }
            producer.produce(
                scene.names.input_topics[0],
                json.dumps(body),
                customer,
                partition=home_of(customer, PARTITIONS),
                headers=list(STRUCTURED),
                timestamp=stamp_ms,
                on_delivery=lambda error, message: None if error else load.keep(message),
            )
    producer.flush(20)
    names = ("1970", "2060", "ahead")
    return {f"odd-{name}-{number}" for name in names for number in range(WRONG_EVENTS)}


ROWS: Final = (
    Row(
        12,
        "clock jumps; events from 1970 and from the future",
        "the workers' own clock replaced in the process: +1 h, -1 h, +1 d, -1 d, and at a start",
        "waits neither lost nor early nor twice; time never goes back for a customer",
        clocks,
    ),
)
