"""What a sender tells Prometheus, on a registry of its own, with labels from closed lists.

`docs/senders.md` says what each metric means to an operator; a test keeps the page and this equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from orchestrator.sender.rules.verdict import DROP_REASONS

if TYPE_CHECKING:
    from collections.abc import Callable

LANES: Final = ("transactional", "promotional")
OUTCOMES: Final = ("delivered", "bounced", "failed", "dropped", "retried", "ignored")
_UNKNOWN: Final = "unknown"
_OTHER: Final = "other"
_CALL_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CHECK_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class Telemetry:
    """The metrics of one sender."""

    def __init__(self, channel: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._channel = channel
        self._commands = Counter(
            "orchestrator_sender_commands_total",
            "What became of commands; reason is the contract's, or other.",
            ("channel", "lane", "outcome", "reason"),
            registry=self.registry,
        )
        self._calls = Histogram(
            "orchestrator_sender_call_seconds",
            "From the call of the provider to its answer.",
            ("channel", "lane"),
            buckets=_CALL_SECONDS,
            registry=self.registry,
        )
        self._checks = Histogram(
            "orchestrator_sender_check_seconds",
            "Reading cancels, fences, pauses and attempts up to their ends before a call.",
            ("channel", "lane"),
            buckets=_CHECK_SECONDS,
            registry=self.registry,
        )
        self._dead_letters = Counter(
            "orchestrator_sender_dead_letters_total",
            "Records that are no commands.",
            ("channel", "lane"),
            registry=self.registry,
        )
        self._gauges = {
            name: Gauge(
                f"orchestrator_sender_{name}", text, ("channel", "lane"), registry=self.registry
            )
            for name, text in (
                ("in_hand", "Commands read and not final."),
                ("held", "Commands that a pause holds."),
                ("oldest_age_seconds", "Age of the oldest record that is not final."),
            )
        }
        self._in_flight = Gauge(
            "orchestrator_sender_calls_in_flight",
            "Calls under way.",
            ("channel",),
            registry=self.registry,
        )

    def count(self, lane: str, outcome: str, reason: str = "") -> None:
        """Count what became of a command."""
        known = reason in DROP_REASONS or reason in {"", _UNKNOWN}
        self._commands.labels(self._channel, lane, outcome, reason if known else _OTHER).inc()

    def called(self, lane: str, seconds: float) -> None:
        """Note how long the provider took."""
        self._calls.labels(self._channel, lane).observe(seconds)

    def checked(self, lane: str, seconds: float) -> None:
        """Note how long it took to be up to date."""
        self._checks.labels(self._channel, lane).observe(seconds)

    def dead_letter(self, lane: str) -> None:
        """Count a record that is no command."""
        self._dead_letters.labels(self._channel, lane).inc()

    def watch(self, name: str, lane: str, value: Callable[[], float]) -> None:
        """Ask `value` for a gauge at every scrape."""
        self._gauges[name].labels(self._channel, lane).set_function(value)

    def watch_in_flight(self, value: Callable[[], float]) -> None:
        """Ask `value` for the number of calls at every scrape."""
        self._in_flight.labels(self._channel).set_function(value)
