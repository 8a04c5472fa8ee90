"""The Faust app: worker life cycle, agent, group membership and assignor around the driver.

Faust's own recovery, table writes, acks and commits are switched off; what the state machine needs
of a rebalance (revoked, assigned, may read on) is taken from Faust's hooks.
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import TYPE_CHECKING, Any, Final

import faust
import structlog
from faust.app.base import BootStrategy
from faust.streams import _CStreamIterator
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from yarl import URL

from orchestrator.clients.records import install_lenient_records
from orchestrator.errors import InvariantViolated
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.runtime.coordination import client_id
from orchestrator.runtime.shell.consumer import CODEC, FAUST_LOG, BatchTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.runtime.driver import Driver
    from orchestrator.runtime.pauses import PauseFollower
    from orchestrator.runtime.publications import Publications
    from orchestrator.settings import Settings

_log = structlog.get_logger()
_TABLE: Final = "customers"


class _OwnRecovery(Recovery):
    """Lets the driver load the state where Faust would have recovered its tables."""

    logger = FAUST_LOG

    def need_recovery(self) -> bool:
        return False

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        app: Shell = self.app
        assigned = [TopicPartition(*tp) for tp in app.consumer.assignment()]
        try:
            await app.driver.take_over(generation_id, app.group_member, assigned)
        except asyncio.CancelledError:
            raise  # Another rebalance has begun.
        except BaseException as error:  # noqa: BLE001 - Faust would log and go on without state.
            app.driver.give_up(error)
        await super().on_recovery_completed(generation_id)
        app.ready = not app.rebalancing
        if app.ready:
            owned = sorted(app.driver.machine.homes)
            _log.info("ready", generation=generation_id, partitions=owned)


class _OwnTables(TableManager):
    logger = FAUST_LOG
    _recovery: Recovery | None

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = _OwnRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


class _ConsumerOnly(BootStrategy):
    """No producer of Faust's, no web server: state would be served to anybody."""

    enable_kafka_producer = False
    enable_web = False


class Shell(faust.App):
    """Faust's app with the driver inside."""

    logger = FAUST_LOG
    BootStrategy = _ConsumerOnly
    settings: Settings
    client_options: dict[str, Any]
    driver: Driver
    followers: Sequence[Publications | PauseFollower]
    group_member = ""
    ready = False

    def serving(self) -> bool:
        """Whether events are decided now: recovered, caught up, and the broker is there."""
        return self.ready and self.consumer.coordinated

    def consumer_partition_count(self, topic: str) -> int | None:
        """Return how many partitions the broker says an input topic has."""
        cluster = self.consumer._thread._ensure_consumer()._client.cluster  # noqa: SLF001
        partitions = cluster.partitions_for_topic(topic)
        return len(partitions) if partitions else None

    async def look_again(self) -> None:
        """Ask the broker for its metadata: what the client knows may be minutes old."""
        await self.consumer._thread._ensure_consumer()._client.force_metadata_update()  # noqa: SLF001

    async def on_first_start(self) -> None:
        """Claim the slot before joining the group."""
        try:
            for follower in self.followers:
                follower.start()
            await self.driver.start()
        except Exception as error:  # noqa: BLE001 - the operator gets one line and an exit code.
            self.driver.give_up(error)
        await super().on_first_start()


def create_shell(
    settings: Settings,
    client_options: dict[str, Any],
    driver: Driver,
    followers: Sequence[Publications | PauseFollower],
) -> Shell:
    """Return the app, ready to be run by a `mode.Worker`. One a process."""
    if _CStreamIterator is None:
        # Faust's pure Python stream acknowledges events of an old generation unprocessed.
        raise InvariantViolated("faust's C extensions are missing; reinstall faust-streaming")
    install_lenient_records()
    url = URL(f"kafka://{settings.bootstrap_servers.split(',')[0]}")
    app = Shell(
        settings.app_id,
        broker=url,
        store="memory://",
        autodiscover=False,
        datadir=tempfile.mkdtemp(prefix="orchestrator-faust-"),
        # Faust keys its assignment by this address; nothing listens there.
        canonical_url=f"http://{client_id(settings.app_id, settings.slot)}.invalid:6066",
        web_enabled=False,
        cython_optimizations=True,
        topic_partitions=settings.partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        TableManager=_OwnTables,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=settings.heartbeat_interval_seconds,
        broker_request_timeout=max(20.0, settings.session_timeout_seconds),
        broker_commit_livelock_soft_timeout=10**9,
        processing_guarantee="at_least_once",
    )
    app.settings, app.client_options, app.driver = settings, client_options, driver
    app.followers = followers
    app.transport = BatchTransport([url], app, loop=None)
    _declare(app, settings, driver)
    return app


def _declare(app: Shell, settings: Settings, driver: Driver) -> None:
    names = driver.names
    source = app.topic(*names.inputs, key_serializer="raw", value_serializer=CODEC, acks=False)
    # The table declares the changelog, so that the assignor co-partitions it with the inputs.
    app.Table(
        _TABLE,
        partitions=settings.partitions,
        key_type=bytes,
        value_type=bytes,
        changelog_topic=app.topic(names.changelog, key_type=bytes, value_type=bytes, acks=False),
    )

    @app.agent(source, name="touchpoints")
    async def touchpoints(fetches: AsyncIterator[Any]) -> None:
        async for batches in fetches:
            for batch in batches:
                driver.on_batch(batch)

    @app.on_partitions_revoked.connect
    async def revoked(*_: Any, **__: Any) -> None:
        app.ready = False
        try:
            await driver.revoke()
        except BaseException as error:  # noqa: BLE001 - never hand on what is half done.
            driver.give_up(error)

    @app.on_before_shutdown.connect
    async def stopping(*_: Any, **__: Any) -> None:
        app.ready = False
        await driver.revoke()
        await driver.stop()
        for follower in app.followers:
            await follower.stop()

    driver.partition_count = app.consumer_partition_count
    driver.look_again = app.look_again
    driver.unread = lambda: app.consumer.unread() if app.ready else {}
