"""Reads and writes `control`: what is paused, for one process.

`cli/pause` and the API write it on somebody's word, workers follow it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from orchestrator.clients.followed import FollowedTopic
from orchestrator.errors import DependencyError
from orchestrator.protocol.control import Controls, encode_control

if TYPE_CHECKING:
    from orchestrator.protocol.control import Control

_log = structlog.get_logger()


class ControlTopic:
    """The topic, for one process; `controls` is what has been read of it."""

    def __init__(self, client_options: dict[str, Any], topic: str) -> None:
        self.controls = Controls()
        self.followed = FollowedTopic(client_options, topic, self._take)

    async def read(self) -> Controls:
        """Read the topic to its present end."""
        await self.followed.read()
        return self.controls

    async def write(self, control: Control) -> None:
        """Write one record; returns when the broker has it."""
        await self.followed.write([encode_control(control)])

    async def stop(self) -> None:
        """Close the connection."""
        await self.followed.stop()

    def _take(self, record: Any) -> None:
        where = f"{record.topic}/{record.partition}/{record.offset}"
        try:
            self.controls.take(record.offset, record.key, record.value, where=where)
        except DependencyError as error:
            _log.error("a word about a pause is passed over", reason=str(error))
