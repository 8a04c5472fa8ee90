"""The names of the topics that the state machine reads and writes, resolved once from settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class TopicNames(NamedTuple):
    """Full names; `inputs` are the topics with events and `forward`, with their partition counts.

    `commands` and `promotional` are by channel, `command_partitions` by topic. `mapped` are those
    of the inputs that hold other teams' records: nobody is at home on their partitions, however
    many they have.
    """

    inputs: Mapping[str, int]
    forward: str
    changelog: str
    journey_log: str
    fences: str
    dead_letters: str
    commands: Mapping[str, str]
    promotional: Mapping[str, str]
    command_partitions: Mapping[str, int]
    partitions: int
    mapped: frozenset[str] = frozenset()

    @property
    def home_inputs(self) -> tuple[str, ...]:
        """Input topics whose partition may be a customer's home."""
        return tuple(
            topic
            for topic, count in self.inputs.items()
            if count == self.partitions and topic not in self.mapped
        )
