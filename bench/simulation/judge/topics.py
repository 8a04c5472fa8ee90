"""The topics of a history, read once for all judges: plain documents, by customer and by place."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.core.encoded.state import decode_customer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.crash.judge.history import History, Place, Record
    from bench.simulation.shops import Shop
    from orchestrator.core.customer import Customer


@lru_cache(maxsize=65_536)
def millis(text: str) -> int:
    """Read an instant."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


class Line:
    """One decided input, as the journey log tells it."""

    __slots__ = ("cause", "customer", "entries", "kind", "now_ms", "outcome", "paused", "record")

    def __init__(self, record: Record) -> None:
        document = orjson.loads(record.value or b"")
        self.record = record
        self.customer: str = document["customer"]
        self.now_ms = millis(document["now"])
        self.cause: dict[str, Any] = document["cause"]
        self.kind: str = self.cause["kind"]
        self.outcome: str = document["outcome"]
        self.entries: list[dict[str, Any]] = document["entries"]
        self.paused: list[dict[str, Any]] = document.get("paused", [])

    @property
    def place(self) -> Place:
        """Where the record stood that was decided."""
        return (self.cause["topic"], self.cause["partition"], self.cause["offset"])

    @property
    def occurred_ms(self) -> int:
        """When that happened which is the cause."""
        if self.kind == "event":
            return min(millis(self.cause["time"]), self.now_ms)
        return self.now_ms

    @property
    def event(self) -> str:
        """The type of the event that is the cause; empty when none is."""
        return str(self.cause["type"]) if self.kind == "event" else ""


class Topics:
    """Everything that one history has left."""

    def __init__(self, history: History, shop: Shop) -> None:
        names = shop.names
        self.history, self.shop, self.names = history, shop, names
        self.plans = {name: plan for (name, _), plan in shop.rules.journeys.plans.items()}
        self.lines: defaultdict[str, list[Line]] = defaultdict(list)
        for record in history.of(names.journey_log):
            line = Line(record)
            self.lines[line.customer].append(line)
        self.commands: list[tuple[Record, dict[str, Any]]] = [
            (record, orjson.loads(record.value or b""))
            for topic in history.command_topics()
            for record in history.of(topic)
        ]
        self.fences: list[tuple[str, dict[str, Any]]] = [
            ((record.key or b"").decode(), one)
            for record in history.of(names.fences)
            if record.value is not None
            for one in orjson.loads(record.value)["enrollments"]
        ]
        self.values: dict[str, bytes] = {}
        for record in history.of(names.changelog):
            if record.key is not None and record.key[0] < 0xFE and record.value is not None:
                self.values[record.key.decode()] = record.value
        self.states: dict[str, Customer] = {
            one: decode_customer(value) for one, value in self.values.items()
        }
        self._places = {
            (topic, index, record.offset): record
            for topic in names.inputs
            for index, records in history.topics[topic].items()
            for record in records
        }

    def of_kind(self, *kinds: str) -> Iterator[tuple[str, Line]]:
        """Yield the lines that have a cause of these kinds."""
        for customer, lines in self.lines.items():
            for line in lines:
                if line.kind in kinds:
                    yield customer, line

    def inputs(self) -> Iterator[tuple[Place, Record]]:
        """Yield every record that the workers had to read."""
        yield from self._places.items()

    def record(self, place: Place) -> Record | None:
        """Return the record of an input topic at a place; None when no committed reader sees it."""
        return self._places.get(place)

    def origin(self, place: Place) -> Place:
        """Return where the record at a place stood first."""
        record = self._places.get(place)
        topic = record.header("fw_topic") if record is not None else None
        if place[0] != self.names.forward or topic is None or record is None:
            return place
        return topic, int(record.header("fw_partition") or 0), int(record.header("fw_offset") or 0)

    def is_promotional(self, journey: str) -> bool:
        """Whether a journey advertises."""
        return self.plans[journey].promotional
