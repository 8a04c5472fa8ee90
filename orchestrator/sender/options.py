"""How a sender behaves, apart from where the broker is. The defaults suit an e-mail provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything about one sender that is not a setting of the deployment.

    Raises UsageError for a value that cannot be.
    """

    allowed: AbstractSet[str] = frozenset()
    """Customer ids whom commands in `test` mode may reach."""
    in_flight_max: int = 16
    """Calls of the provider at one time; of them, a quarter is kept for the first lane."""
    per_second: float | None = None
    """Calls a second that the provider allows; None is no limit."""
    call_seconds: float = 30.0
    """After this a call counts as not answered."""
    in_hand_max: int = 20_000
    """Commands of one lane that wait, are held, or are ready; more stay on the topic."""
    retry_seconds: float = 1.0
    """Wait before the second try; it doubles with each further one."""
    retry_seconds_max: float = 300.0
    """The longest wait between two tries."""
    metrics_port: int = 0
    """Port of /metrics; 0 is off."""
    metrics_host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        for name, low in (
            ("in_flight_max", 1),
            ("call_seconds", 0.001),
            ("in_hand_max", 1),
            ("retry_seconds", 0.001),
            ("retry_seconds_max", self.retry_seconds),
        ):
            if getattr(self, name) < low:
                raise UsageError(f"{name}: {getattr(self, name)} is refused; allowed: from {low}")
        if self.per_second is not None and self.per_second <= 0:
            raise UsageError(f"per_second: {self.per_second} is refused; allowed: above 0")
