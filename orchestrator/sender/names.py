"""The topics and groups of one channel's sender, from the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Final

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.settings import TopicSettings

_CHANNEL: Final = re.compile(r"[a-zA-Z0-9._-]{1,100}")


@dataclass(frozen=True, slots=True)
class Names:
    """What the topics of a channel are called."""

    channel: str
    lanes: tuple[str, str]
    """Transactional first."""
    attempts: str
    fences: str
    control: str
    feedback: str
    dead_letters: str

    @classmethod
    def of(cls, settings: TopicSettings, channel: str) -> Names:
        """Resolve the names. Raises UsageError for what cannot be a channel's name."""
        if _CHANNEL.fullmatch(channel) is None or channel.endswith(".promotional"):
            raise UsageError(
                f"{channel!r} is not a channel; allowed: a name of channels.yaml, such as email"
            )
        prefix = settings.topic_prefix
        commands = f"{prefix}commands.{channel}"
        return cls(
            channel=channel,
            lanes=(commands, f"{commands}.promotional"),
            attempts=f"{prefix}attempts.{channel}",
            fences=f"{prefix}fences",
            control=f"{prefix}control",
            feedback=prefix + settings.input_topics[0],
            dead_letters=f"{prefix}dead-letters",
        )

    def group(self, lane: str) -> str:
        """Return the consumer group of a lane: one each, so that neither rebalances the other."""
        return f"{lane}.sender"

    @property
    def needed(self) -> tuple[str, ...]:
        """Topics that must be there; `attempts` is the sender's own and it creates it."""
        return (*self.lanes, self.fences, self.control, self.feedback, self.dead_letters)


def homes_of(partition: int, *, lane_partitions: int, partitions: int) -> tuple[int, ...]:
    """Return where the customers of a lane's partition may be in another topic.

    Both are placed by one hash, modulo two counts; with equal counts it is the same partition.
    """
    step = gcd(lane_partitions, partitions)
    return tuple(range(partition % step, partitions, step))
