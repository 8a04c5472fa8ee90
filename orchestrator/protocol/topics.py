"""Every topic of the contract: its name, its partitions, its configuration, and who may what.

The one list from which topics are created (`runtime/admin`), planned (`cli/topics`), written to
and read. Names come from the settings, channels from the journeys folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from orchestrator.errors import UsageError
from orchestrator.protocol.commit.names import TopicNames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.language.inputs import Input
    from orchestrator.core.language.shop import Channel
    from orchestrator.settings import TopicSettings

_DAY_MS: Final = 24 * 60 * 60 * 1000

# Events and forwarded records wait here while workers are away: a position that retention has
# passed stops a worker for good, so this is the longest outage that loses nothing.
_INPUT_DAYS: Final = 14
# A channel that is away for longer than this has nothing to send any more: commands expire.
_COMMAND_DAYS: Final = 14
# As long as a purchase is known again by its order id; `explain` reaches as far back.
_JOURNEY_LOG_DAYS: Final = 90
# Long enough to find the producer, fix it, and put the records back.
_DEAD_LETTER_DAYS: Final = 30

# A dead letter is the record as it came and its reason in headers, so it is larger than what the
# input topic let in; a broker's own default is 1 MiB.
_OWN_RECORD_BYTES_MAX: Final = 10 * 1024 * 1024

# A changelog is read from its beginning at recovery: small segments and an early cleaning keep what
# is read close to what is alive.
_COMPACTED: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.2",
}

# The clock of a partition follows the stamps of what it reads. Those of other workers' clocks would
# let its waits come due early when one of these is wrong, and time never goes back.
_STAMPED_BY_BROKER: Final = {"message.timestamp.type": "LogAppendTime"}

# A sender reads its attempts from the beginning as well. A claim must outlive the moment in which
# another sender reads it, so nothing younger is compacted away.
ATTEMPTS_CONFIG: Final = {**_COMPACTED, "min.compaction.lag.ms": str(60 * 60 * 1000)}

_WORKER: Final = ("Describe", "Read", "Write")
_WRITTEN: Final = ("Describe", "Write")
_READ: Final = ("Describe", "Read")
_NO_INPUTS: Final[Mapping[str, Input]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic as it should be."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    operations: tuple[str, ...]
    """What the orchestrator does with it, in the words of Kafka's ACLs."""
    homes: bool
    """Whether a partition of it is a customer's home; then its partition count is fixed."""
    read_by: str = ""
    """The input of `inputs.yaml` that reads it: it is another team's, and never created."""


class Topics:
    """All topics of one deployment; with `senders` also those that only senders read and write."""

    def __init__(
        self,
        settings: TopicSettings,
        channels: Mapping[str, Channel],
        inputs: Mapping[str, Input] = _NO_INPUTS,
        *,
        senders: bool = False,
    ) -> None:
        prefix = settings.topic_prefix
        self._commands: Final = {channel: f"{prefix}commands.{channel}" for channel in channels}
        self._promotional: Final = {
            channel: f"{name}.promotional" for channel, name in self._commands.items()
        }
        self._channels: Final = dict(channels)
        self._partitions: Final = settings.partitions
        self._touchpoints: Final = f"{prefix}touchpoints"
        self._declared: Final = {one.topic: (name, one) for name, one in inputs.items()}
        self.mapped: Final = frozenset(self._declared)
        self._touchpoint_topics: Final = tuple(prefix + name for name in settings.input_topics)
        self.inputs: Final = (*self._touchpoint_topics, *sorted(self.mapped))
        self.forward: Final = f"{prefix}{settings.app_id}-forward"
        self.changelog: Final = f"{prefix}{settings.app_id}-customers-changelog"
        self.journey_log: Final = f"{prefix}journey-log"
        self.fences: Final = f"{prefix}fences"
        self.dead_letters: Final = f"{prefix}dead-letters"
        self.definitions: Final = f"{prefix}definitions"
        self.control: Final = f"{prefix}control"
        self.all: Final = (
            *self._input_topics(),
            *self._own_topics(),
            *self._command_topics(),
            *(self._attempts_topics(prefix) if senders else ()),
        )
        self._refuse_ours()

    @classmethod
    def of(
        cls,
        settings: TopicSettings,
        channels: Mapping[str, Channel],
        inputs: Mapping[str, Input] = _NO_INPUTS,
        *,
        senders: bool = False,
    ) -> Topics:
        """Resolve the topics of a deployment from its settings, channels and mapped inputs.

        Raises UsageError when an input reads a topic that is ours, or holds events already.
        """
        return cls(settings, channels, inputs, senders=senders)

    def _refuse_ours(self) -> None:
        """Nobody maps what we write, or what is read as events: it would come in for ever."""
        for topic in self.all:
            if topic.name in self.mapped and not topic.read_by:
                name, _ = self._declared[topic.name]
                raise UsageError(
                    f"inputs.yaml: {name}: {topic.name} is a topic of ours, or of input_topics; "
                    "allowed: a topic of somebody else's"
                )

    def commands(self, channel: str, *, promotional: bool = False) -> str:
        """Return the commands topic of a channel and lane."""
        return (self._promotional if promotional else self._commands)[channel]

    def names(self, partitions: Mapping[str, int] | None = None) -> TopicNames:
        """Return the names as the state machine wants them.

        `partitions` holds what the broker says (`runtime/admin`); a team may have given its input
        and command topics another count than we would.
        """
        wanted = {topic.name: topic.partitions for topic in self.all}
        real = wanted | dict(partitions or {})
        return TopicNames(
            inputs={name: real[name] for name in (*self.inputs, self.forward)},
            forward=self.forward,
            changelog=self.changelog,
            journey_log=self.journey_log,
            fences=self.fences,
            dead_letters=self.dead_letters,
            commands=self._commands,
            promotional=self._promotional,
            command_partitions={
                name: real[name]
                for lane in (self._commands, self._promotional)
                for name in lane.values()
            },
            partitions=self._partitions,
            mapped=self.mapped,
        )

    def _input_topics(self) -> list[Topic]:
        return [
            Topic(
                name=name,
                partitions=self._partitions,
                config=_kept(_INPUT_DAYS),
                operations=_READ,
                homes=name == self._touchpoints,
            )
            for name in self._touchpoint_topics
        ] + [
            Topic(
                name=topic,
                partitions=self._partitions,
                # All else about it is its owner's business.
                config={} if one.compacted else {"cleanup.policy": "delete"},
                operations=_READ,
                homes=False,
                read_by=name,
            )
            for topic, (name, one) in sorted(self._declared.items())
        ]

    def _own_topics(self) -> list[Topic]:
        return [
            self._own(self.forward, _kept(_INPUT_DAYS) | _STAMPED_BY_BROKER, _WORKER),
            self._own(self.changelog, _COMPACTED, _WORKER),
            self._own(self.fences, _COMPACTED, _WRITTEN),
            self._own(self.journey_log, _kept(_JOURNEY_LOG_DAYS), _WORKER),
            self._own(self.dead_letters, _kept(_DEAD_LETTER_DAYS), _WORKER),
            Topic(
                name=self.definitions,
                partitions=1,
                config={**_COMPACTED, "max.message.bytes": str(_OWN_RECORD_BYTES_MAX)},
                operations=_WORKER,
                homes=False,
            ),
            Topic(
                name=self.control,
                partitions=1,
                config=_COMPACTED,
                operations=_WORKER,
                homes=False,
            ),
        ]

    def _own(self, name: str, config: Mapping[str, str], operations: tuple[str, ...]) -> Topic:
        return Topic(
            name=name,
            partitions=self._partitions,
            config={**config, "max.message.bytes": str(_OWN_RECORD_BYTES_MAX)},
            operations=operations,
            homes=True,
        )

    def _command_topics(self) -> list[Topic]:
        return [
            Topic(
                name=name,
                partitions=channel.partitions,
                config=_kept(_COMMAND_DAYS),
                operations=_WRITTEN,
                homes=False,
            )
            for key, channel in self._channels.items()
            for name in (self._commands[key], self._promotional[key])
        ]

    def _attempts_topics(self, prefix: str) -> list[Topic]:
        """Return what senders remember; a worker has no rights there and needs none."""
        return [
            Topic(
                name=f"{prefix}attempts.{key}",
                partitions=channel.partitions,
                config=ATTEMPTS_CONFIG,
                operations=(),
                homes=False,
            )
            for key, channel in self._channels.items()
        ]


def _kept(days: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * _DAY_MS)}
