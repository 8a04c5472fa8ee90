"""Follows the journey log while a run is on: is anything decided, and who still waits."""

from __future__ import annotations

import json
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, TopicPartition

if TYPE_CHECKING:
    from bench.crash.judge.history import Names


class Pulse:
    """A reader of the journey log in a thread of its own. Times are monotonic seconds.

    It is quiet when nothing was decided for `quiet_seconds` and no wait is left; or, if given,
    when the last one should have been over `patience_seconds` ago: then the judge asks for it.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        names: Names,
        *,
        quiet_seconds: float,
        patience_seconds: float = math.inf,
    ) -> None:
        self._quiet_seconds = quiet_seconds
        self._patience_ms = 1_000 * patience_seconds
        self.lines = 0
        self.changed_at = time.monotonic()
        self.beats: list[tuple[float, int]] = []
        """When something was read, and how many lines there were then."""
        self.customers: set[str] = set()
        """Everybody about whom something was decided."""
        self._waiting: dict[tuple[str, str], int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(bootstrap_servers, names))
        self._thread.start()

    def waiting(self) -> int:
        """Return how many enrollments stand in a wait."""
        return len(self._waiting)

    def is_quiet(self) -> bool:
        """Whether nothing was decided for a while and nobody waits, or not for much longer."""
        quiet = time.monotonic() - self.changed_at > self._quiet_seconds
        return quiet and (not self._waiting or self._overdue())

    def _overdue(self) -> bool:
        last_ms = max(self._waiting.values(), default=0)
        return time.time() * 1000 > last_ms + self._patience_ms

    def since(self, began: float) -> int:
        """Return how many lines were read after this instant."""
        before = max((lines for at, lines in self.beats if at < began), default=0)
        return self.lines - before

    def stop(self) -> None:
        """Stop following."""
        self._over.set()
        self._thread.join()

    def _run(self, bootstrap_servers: str, names: Names) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "pulse",
                "log_level": 0,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "reconnect.backoff.max.ms": 500,
            }
        )
        places = [TopicPartition(names.journey_log, one, 0) for one in range(names.partitions)]
        consumer.assign(places)
        while not self._over.is_set():
            messages = [one for one in consumer.consume(2_000, timeout=0.2) if one.error() is None]
            for message in messages:
                self._take(json.loads(message.value()))
            if messages:
                self.changed_at = time.monotonic()
                self.beats.append((self.changed_at, self.lines))
        consumer.close()

    def _take(self, line: dict[str, Any]) -> None:
        self.lines += 1
        self.customers.add(line["customer"])
        for entry in line["entries"]:
            key = (line["customer"], entry.get("enrollment", ""))
            if entry["kind"] == "moved":
                self._waiting[key] = entry["wake_at_ms"]
            elif entry["kind"] == "held":
                self._waiting[key] = entry["until_ms"]
            elif entry["kind"] in {"ended", "handed_over"}:
                self._waiting.pop(key, None)
            elif entry["kind"] == "taken_over" and entry["wake_at_ms"] is not None:
                self._waiting[key] = entry["wake_at_ms"]
            elif entry["kind"] == "customer_erased":
                # Their ends are told without the keys of carts and orders.
                gone = [one for one in self._waiting if one[0] == line["customer"]]
                for one in gone:
                    del self._waiting[one]
