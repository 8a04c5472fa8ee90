"""Lets a worker follow what is paused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from orchestrator.clients.control import ControlTopic
from orchestrator.clients.security import client_options
from orchestrator.protocol.control import told
from orchestrator.protocol.topics import Topics

if TYPE_CHECKING:
    from orchestrator.metrics import Metrics
    from orchestrator.runtime.driver import Driver
    from orchestrator.settings import Settings

_log = structlog.get_logger()


class PauseFollower:
    """Hands every change of what is paused to one worker, on the worker's loop."""

    def __init__(self, settings: Settings, driver: Driver, metrics: Metrics) -> None:
        self._settings = settings
        self._driver = driver
        self._metrics = metrics
        self._topic: ControlTopic | None = None
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow, from the beginning: compaction keeps the topic small."""
        topic = Topics.of(self._settings, {}).control
        # The client wants to be made on the loop that it will run on.
        self._topic = ControlTopic(client_options(self._settings), topic)
        self._driver.followed.append(self._topic.followed.caught_up)
        self._following = asyncio.get_running_loop().create_task(self._follow(self._topic))

    async def stop(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._topic is not None:
            await self._topic.stop()

    async def _follow(self, topic: ControlTopic) -> None:
        async def adopt() -> None:
            pauses = topic.controls.pauses()
            self._driver.pause(pauses)
            self._metrics.paused(pauses.all)
            _log.info("pauses taken over", paused=told(topic.controls.paused))

        try:
            await topic.followed.follow(adopt)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - Crash-only: whatever it is ends us.
            self._driver.give_up(error)
