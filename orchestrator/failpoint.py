"""Places at which a test makes a process die or freeze. Off unless a setting names one."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

WORKER: Final = (
    "assigned",
    "recovery_started",
    "recovery_loaded",
    "after_decide",
    "timer_decided",
    "absorbed_decided",
    "absorbed_committed",
    "survivor_decided",
    "survivor_committed",
    "after_begin",
    "after_produce",
    "after_acks",
    "after_offsets",
    "after_end",
    "revoked",
)
SENDER: Final = (
    "loaded",
    "before_claim",
    "claimed",
    "before_call",
    "after_call",
    "outcome_recorded",
    "reported",
    "position_committed",
)
_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Failpoint:
    """`name[:nth[:kill|stop]]`: at the nth time the named place is reached, signal ourselves."""

    def __init__(self, setting: str, names: Sequence[str] = WORKER) -> None:
        name, _, rest = setting.partition(":")
        nth, _, action = rest.partition(":")
        if name and name not in names:
            raise UsageError(f"failpoint {name!r} does not exist; allowed: {', '.join(names)}")
        self._name = name
        self._left = int(nth or 1)
        self._signal = _SIGNALS[action or "kill"]

    def reach(self, name: str) -> None:
        """Die or freeze here if this is the place and the time."""
        if name == self._name:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._signal)
