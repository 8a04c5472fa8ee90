"""Ends a worker that has work and makes no progress; a thread, so that a hung loop is seen too."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from orchestrator.errors import WorkerGaveUp

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger()
_LOOKS: Final = 10


class Watchdog(threading.Thread):
    """Looks several times in each period; `progress` counts commits, `lag` what is not decided."""

    def __init__(
        self, period_seconds: float, progress: Callable[[], int], lag: Callable[[], int]
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._period_seconds = period_seconds
        self._progress = progress
        self._lag = lag

    def run(self) -> None:
        """Watch until the process ends."""
        seen, since = self._progress(), time.monotonic()
        while True:
            time.sleep(self._period_seconds / _LOOKS)
            now, progress, lag = time.monotonic(), self._progress(), self._lag()
            if progress != seen or lag == 0:
                seen, since = progress, now
            elif now - since > self._period_seconds:
                _log.error("no progress with lag", lag=lag, seconds=round(now - since, 1))
                os._exit(WorkerGaveUp.exit_code)
