"""The shops in which histories happen: journeys that are compiled once, and names of topics.

`guarded` is the shop of the crash run, whose judge knows what each of its journeys means: caps,
quiet hours, channels, offers, holds. `people` is one of merges, erasures, time tables, absence,
segments and events that journeys tell.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.crash.furnish import furnish
from bench.crash.plan import STORE_PARTITIONS
from orchestrator.catalog import load
from orchestrator.protocol.commit.group import Limits, Rules
from orchestrator.protocol.commit.names import TopicNames
from orchestrator.protocol.commit.transaction import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.core.journeys import Journeys

PARTITIONS: Final = 4
APP_ID: Final = "simulated"
EVENT_BYTES_MAX: Final = 100_000
LIMITS: Final = Limits(event_bytes_max=EVENT_BYTES_MAX, state_bytes_max=100_000)
# Twenty seconds before ten o'clock of a Sunday, UTC, so that a time table comes in the middle.
START_MS: Final = 1_795_341_600_000 - 20_000
JOURNEYS: Final = Path(__file__).parent / "journeys"


class Shop(NamedTuple):
    """What a history happens in. `folder` is where a judge reads the journeys for itself."""

    name: str
    rules: Rules
    start_ms: int
    folder: Path
    until_ms: int = 0
    """No history is at rest before."""

    @property
    def names(self) -> TopicNames:
        """The topics."""
        return self.rules.names

    @property
    def elsewhere(self) -> tuple[TopicPartition, ...]:
        """Input partitions on which nobody is at home."""
        names = self.names
        return tuple(
            TopicPartition(topic, index)
            for topic, count in names.inputs.items()
            if topic not in names.home_inputs
            for index in range(count)
        )

    @property
    def partition_counts(self) -> dict[str, int]:
        """Every topic with its partitions."""
        names = self.names
        own = (names.changelog, names.journey_log, names.fences, names.dead_letters)
        counts = {**names.inputs, **dict.fromkeys(own, names.partitions), "control": 1}
        return counts | dict(names.command_partitions)


def names_of(channels: Iterable[str]) -> TopicNames:
    """Return the topics of a deployment with these channels."""
    commands = {channel: f"commands.{channel}" for channel in channels}
    promotional = {channel: f"{topic}.promotional" for channel, topic in commands.items()}
    forward = f"{APP_ID}-forward"
    return TopicNames(
        inputs={"touchpoints": PARTITIONS, "stores": STORE_PARTITIONS, forward: PARTITIONS},
        forward=forward,
        changelog=f"{APP_ID}-customers-changelog",
        journey_log="journey-log",
        fences="fences",
        dead_letters="dead-letters",
        commands=commands,
        promotional=promotional,
        # Two each: a sender reads one of them, and what takes a message back must stand there.
        command_partitions=dict.fromkeys((*commands.values(), *promotional.values()), 2),
        partitions=PARTITIONS,
    )


def shop_of(name: str, journeys: Journeys, folder: Path) -> Shop:
    """Return a shop with these journeys."""
    names = names_of(journeys.channels)
    rules = Rules(journeys, names, LIMITS, lambda: 0.0)
    until_ms = START_MS + 22_000 if journeys.scheduled else 0
    return Shop(name, rules, START_MS, folder, until_ms)


@cache
def people() -> Shop:
    """Return the shop of merges, erasures and time tables."""
    return shop_of("people", load(JOURNEYS, "test"), JOURNEYS)


@cache
def guarded() -> Shop:
    """Return the shop of the crash run."""
    place = Path(tempfile.mkdtemp(prefix="simulation-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    folder = furnish(place / "journeys", START_MS)
    return shop_of("guarded", load(folder, "test"), folder)
