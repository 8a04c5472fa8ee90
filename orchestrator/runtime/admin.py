"""Compares the topics that there are with those that there should be, and creates what is missing.

`orchestrator topics` reports what this finds; the worker calls `ensure_topics` before it joins its
group and does not start on a refusal. It never changes or deletes a topic that exists.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from orchestrator.clients.security import check_connection, client_options
from orchestrator.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.protocol.topics import Topic, Topics
    from orchestrator.settings import Settings

_COPIES_MAX: Final = 3
_SETTLE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Difference:
    """Something about a topic that is not as it should be."""

    topic: str
    what: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} is {self.found}, should be {self.wanted}"


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What a look at the broker found. `partitions` has the count of every topic that is there."""

    partitions: Mapping[str, int]
    missing: tuple[Topic, ...] = ()
    created: tuple[str, ...] = ()
    drift: tuple[Difference, ...] = ()
    refused: tuple[Difference, ...] = ()


async def ensure_topics(settings: Settings, topics: Topics) -> TopicReport:
    """Create what is missing; raise when the orchestrator must not run on what is there."""
    report = await inspect_topics(settings, topics, create=True)
    if report.refused:
        raise DependencyError("; ".join(str(difference) for difference in report.refused))
    return report


async def inspect_topics(settings: Settings, topics: Topics, *, create: bool) -> TopicReport:
    """Look at every topic, create the missing ones if asked to, and report the rest."""
    await check_connection(settings)
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        return await _Inspection(admin, topics, settings.replication_factor).run(create=create)
    except errors.KafkaError as error:
        raise DependencyError(f"the broker refuses: {error}") from error
    finally:
        await admin.close()


class _Inspection:
    """One look at the broker. The answers are aiokafka's, which are tuples by version."""

    def __init__(self, admin: Any, topics: Topics, replication_factor: int) -> None:
        self._admin = admin
        self._topics = topics
        self._replication_factor = replication_factor

    async def run(self, *, create: bool) -> TopicReport:
        partitions = await self._partitions()
        missing = tuple(
            topic
            for topic in self._topics.all
            if topic.name not in partitions and not topic.read_by
        )
        created: tuple[str, ...] = ()
        if missing and create:
            # Nothing is created beside a topic that has to be dealt with first.
            if refused := self._refused(partitions):
                return TopicReport(partitions, missing, refused=refused)
            created = await self._create(missing)
            partitions = await self._settled()
            missing = ()
        configs = await self._configs([t for t in self._topics.all if t.name in partitions])
        return TopicReport(
            partitions,
            missing,
            created,
            drift=(*self._other_counts(partitions), *self._config_drift(configs)),
            refused=(*self._refused(partitions), *self._lossy_inputs(configs)),
        )

    async def _partitions(self) -> dict[str, int]:
        """Ask how many partitions each topic has; one that is missing is not in the answer."""
        found = {}
        answer = await self._admin.describe_topics([topic.name for topic in self._topics.all])
        for topic in answer:
            match errors.for_code(topic["error_code"]):
                case errors.UnknownTopicOrPartitionError:
                    continue
                case errors.NoError | errors.LeaderNotAvailableError:
                    found[topic["topic"]] = len(topic["partitions"])
                case error:
                    raise DependencyError(f"{topic['topic']}: {_denied(error, 'Describe')}")
        return found

    async def _settled(self) -> dict[str, int]:
        """Wait until every partition of a new topic has a leader, so that clients may start."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            answer = await self._admin.describe_topics([topic.name for topic in self._topics.all])
            if all(
                topic["error_code"] == 0 and all(p["error_code"] == 0 for p in topic["partitions"])
                for topic in answer
            ):
                return {topic["topic"]: len(topic["partitions"]) for topic in answer}
            await asyncio.sleep(_POLL_SECONDS)
        raise DependencyError(f"new topics have no leader after {_SETTLE_SECONDS:g} s")

    async def _create(self, missing: Sequence[Topic]) -> tuple[str, ...]:
        copies = self._replication_factor or min(_COPIES_MAX, await self._brokers())
        created = []
        answer = await self._admin.create_topics(
            [
                NewTopic(
                    name=topic.name,
                    num_partitions=topic.partitions,
                    replication_factor=copies,
                    topic_configs=topic_config(topic, copies),
                )
                for topic in missing
            ]
        )
        for name, code, message in answer.topic_errors:
            match errors.for_code(code):
                case errors.NoError:
                    created.append(name)
                case errors.TopicAlreadyExistsError:
                    # Another worker starts beside us and was faster.
                    continue
                case error:
                    reason = message or _denied(error, "Create")
                    raise DependencyError(
                        f"cannot create {name}: {reason}; `orchestrator topics --plan` prints what "
                        "somebody with the right to do so has to create"
                    )
        return tuple(created)

    async def _brokers(self) -> int:
        return len((await self._admin.describe_cluster())["brokers"])

    async def _configs(self, topics: Sequence[Topic]) -> dict[str, dict[str, str]]:
        """Read the settings of topics that we have a wish for; denied means: cannot tell."""
        if not topics:
            return {}
        answers = await self._admin.describe_configs(
            [
                ConfigResource(
                    ConfigResourceType.TOPIC, topic.name, configs=dict.fromkeys(topic.config)
                )
                for topic in topics
            ]
        )
        return {
            name: {entry[0]: entry[1] for entry in entries}
            for answer in answers
            for code, _message, _type, name, entries in answer.resources
            if code == 0
        }

    def _refused(self, partitions: Mapping[str, int]) -> tuple[Difference, ...]:
        """Find homes with another partition count: their customers would live elsewhere.

        And other teams' topics that are not there: an empty one of ours would hide the mistake.
        """
        absent = tuple(
            Difference(
                topic.name,
                "the topic",
                "missing",
                f"there: inputs.yaml reads it ({topic.read_by}), and its owner creates it",
            )
            for topic in self._topics.all
            if topic.read_by and topic.name not in partitions
        )
        return absent + tuple(
            Difference(
                topic.name,
                "partition count",
                str(partitions[topic.name]),
                f"{topic.partitions} (ORCHESTRATOR_PARTITIONS, fixed for good)",
            )
            for topic in self._topics.all
            if topic.homes and partitions.get(topic.name, topic.partitions) != topic.partitions
        )

    def _lossy_inputs(self, configs: Mapping[str, Mapping[str, str]]) -> tuple[Difference, ...]:
        """Find inputs that the broker compacts: of a customer's events it would keep the last."""
        return tuple(
            Difference(name, "cleanup.policy", configs[name]["cleanup.policy"], "delete")
            for name in (*self._topics.inputs, self._topics.forward)
            if "compact" in configs.get(name, {}).get("cleanup.policy", "")
        )

    def _other_counts(self, partitions: Mapping[str, int]) -> list[Difference]:
        return [
            Difference(
                topic.name,
                "partition count",
                str(partitions[topic.name]),
                str(topic.partitions),
            )
            for topic in self._topics.all
            # Input topics of other teams have what partitions they like; records are sent home.
            if not topic.homes
            and topic.name not in self._topics.inputs
            and partitions.get(topic.name, topic.partitions) != topic.partitions
        ]

    def _config_drift(self, configs: Mapping[str, Mapping[str, str]]) -> list[Difference]:
        refused = {
            (difference.topic, difference.what) for difference in self._lossy_inputs(configs)
        }
        return [
            Difference(topic.name, key, configs[topic.name].get(key, "unknown"), wanted)
            for topic in self._topics.all
            if topic.name in configs
            for key, wanted in topic.config.items()
            if configs[topic.name].get(key) != wanted and (topic.name, key) not in refused
        ]


def topic_config(topic: Topic, copies: int) -> dict[str, str]:
    """Return the configuration of a new topic; of three copies one may be away."""
    in_sync = {"min.insync.replicas": "2"} if copies >= _COPIES_MAX else {}
    return {**topic.config, **in_sync}


def _denied(error: type[errors.KafkaError], operation: str) -> str:
    if issubclass(error, errors.TopicAuthorizationFailedError):
        return f"our user lacks the right to {operation}"
    return str(error.__name__)
