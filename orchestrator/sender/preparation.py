"""Sees to it that a sender's topics are there before it joins its groups.

What the orchestrator writes is the orchestrator's to create; `attempts.<channel>` is the sender's,
unless `orchestrator topics` was there before.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka import errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from orchestrator.clients.security import check_connection, client_options
from orchestrator.errors import DependencyError
from orchestrator.protocol.topics import ATTEMPTS_CONFIG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.sender.names import Names
    from orchestrator.settings import Settings

_COPIES_MAX: Final = 3
_SETTLE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.1


async def prepare(settings: Settings, names: Names) -> Mapping[str, int]:
    """Create the attempts topic if it is missing; return the partition count of each topic.

    Raises DependencyError when another topic is missing or the broker refuses us.
    """
    await check_connection(settings)
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        found = await _partitions(admin, names.needed)
        missing = [name for name in names.needed if name not in found]
        if missing:
            raise DependencyError(
                f"{', '.join(missing)}: no such topic; `orchestrator topics` creates it"
            )
        attempts = await _partitions(admin, (names.attempts,))
        if not attempts:
            await _create(admin, settings, names, max(found[lane] for lane in names.lanes))
            attempts = await _settled(admin, names)
        return found | attempts
    except errors.KafkaError as error:
        raise DependencyError(f"the broker refuses: {error}") from error
    finally:
        await admin.close()


async def _partitions(admin: Any, topics: tuple[str, ...]) -> dict[str, int]:
    """Return how many partitions each topic has that is there and led."""
    found = {}
    for topic in await admin.describe_topics(list(topics)):
        match errors.for_code(topic["error_code"]):
            case errors.UnknownTopicOrPartitionError | errors.LeaderNotAvailableError:
                continue
            case errors.NoError:
                found[topic["topic"]] = len(topic["partitions"])
            case error:
                raise DependencyError(f"{topic['topic']}: {error.__name__}; check the user's ACLs")
    return found


async def _create(admin: Any, settings: Settings, names: Names, partitions: int) -> None:
    copies = settings.replication_factor or min(
        _COPIES_MAX, len((await admin.describe_cluster())["brokers"])
    )
    in_sync = {"min.insync.replicas": "2"} if copies >= _COPIES_MAX else {}
    answer = await admin.create_topics(
        [
            NewTopic(
                name=names.attempts,
                num_partitions=partitions,
                replication_factor=copies,
                topic_configs=ATTEMPTS_CONFIG | in_sync,
            )
        ]
    )
    for name, code, message in answer.topic_errors:
        # Another sender of the channel may have been faster.
        if errors.for_code(code) not in (errors.NoError, errors.TopicAlreadyExistsError):
            reason = message or errors.for_code(code).__name__
            raise DependencyError(
                f"cannot create {name}: {reason}; somebody with the right to do so has to create "
                f"it; `orchestrator topics --plan` prints how"
            )


async def _settled(admin: Any, names: Names) -> dict[str, int]:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        (topic,) = await admin.describe_topics([names.attempts])
        partitions = topic["partitions"]
        if topic["error_code"] == 0 and all(one["error_code"] == 0 for one in partitions):
            return {names.attempts: len(partitions)}
        await asyncio.sleep(_POLL_SECONDS)
    raise DependencyError(f"{names.attempts} has no leader after {_SETTLE_SECONDS:g} s")
