"""The composition root of the API: settings in, a process that feeds and answers out.

Crash-only, as the worker: when the feed fails, the process ends with code 70, and a restart reads
on from what is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn
import uvloop
from aiokafka.errors import KafkaError

from orchestrator.api.application import Api, create_application
from orchestrator.api.ingest import Ingest
from orchestrator.api.model.read_model import ReadModel
from orchestrator.api.screen.sessions import secret_lines
from orchestrator.api.telemetry import Telemetry
from orchestrator.api.tokens import Tokens
from orchestrator.clients.security import check_connection, client_options
from orchestrator.errors import DependencyError, OrchestratorError, UsageError, WorkerGaveUp
from orchestrator.metrics import serve as serve_metrics
from orchestrator.protocol.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from orchestrator.api.application import SeeToTopics
    from orchestrator.settings import Settings

_log = structlog.get_logger()

_IDLE_SECONDS: Final = 30
_STOP_SECONDS: Final = 10
_BACKLOG: Final = 512
# Counting open tasks looks at all of them, so not at each scrape.
_TASKS_SECONDS: Final = 15.0


def run_api(settings: Settings, see_to_topics: SeeToTopics) -> None:
    """Run until SIGTERM. `see_to_topics` creates what is missing, before anything is read.

    Raises UsageError for settings, DependencyError for topics, WorkerGaveUp for a restart.
    """
    tokens = tokens_of(settings)
    if settings.api_session_secret is not None:
        secret_lines(settings.api_session_secret.get_secret_value())
    if not tokens:
        _log.warning("no token is configured: only /health answers")
    with (
        contextlib.closing(_listening(settings)) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_run(settings, tokens, listener, see_to_topics))


def tokens_of(settings: Settings) -> Tokens:
    """Return the tokens of the settings."""
    secret = settings.api_tokens
    return Tokens() if secret is None else Tokens.parse(secret.get_secret_value())


async def _run(
    settings: Settings,
    tokens: Tokens,
    listener: socket.socket,
    see_to_topics: SeeToTopics,
) -> None:
    await check_connection(settings)
    await see_to_topics(settings, {})
    telemetry = Telemetry()
    model = ReadModel(settings, telemetry)
    topics = Topics.of(settings, {})
    ingest = Ingest(
        client_options(settings),
        topics.inputs[0],
        telemetry,
        event_bytes_max=settings.event_bytes_max,
    )
    inputs = frozenset(topics.inputs)
    api = Api(settings, tokens, model, ingest, telemetry, inputs, see_to_topics)
    telemetry.ready.set_function(lambda: float(model.ready))
    telemetry.watch(model.behind)
    metrics = None
    if settings.api_metrics_port:
        metrics = serve_metrics(
            telemetry.registry,
            settings.metrics_host,
            settings.api_metrics_port,
            lambda: model.ready,
            setting="api_metrics_port",
        )
    try:
        try:
            await model.start()
            await ingest.start()
        except KafkaError as error:
            raise DependencyError(f"the broker refuses: {error}") from error
        await _serve(create_application(api), model, telemetry, listener)
    finally:
        await ingest.stop()
        await model.stop()
        if metrics is not None:
            metrics.close()


async def _serve(
    application: FastAPI, model: ReadModel, telemetry: Telemetry, listener: socket.socket
) -> None:
    """Answer and feed until told to stop, or until the feed fails."""
    server = _Server(
        uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            http="httptools",
            timeout_keep_alive=_IDLE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    feeding = asyncio.create_task(model.run())
    feeding.add_done_callback(lambda _: server.stop())
    telling = asyncio.create_task(_tell(model, telemetry))
    host, port = listener.getsockname()[:2]
    _log.info("listening", host=host, port=port)
    try:
        await server.serve(sockets=[listener])
    finally:
        telling.cancel()
        failed = feeding.done() and not feeding.cancelled()
        feeding.cancel()
        (result,) = await asyncio.gather(feeding, return_exceptions=True)
    if failed and isinstance(result, BaseException):
        raise _gave_up(result)


class _Server(uvicorn.Server):
    """uvicorn without its own say in signals: the loop's handlers stop it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Finish what is being answered, and return from `serve`."""
        self.should_exit = True


async def _tell(model: ReadModel, telemetry: Telemetry) -> None:
    """Say once that it is ready, and from then on how many tasks wait."""
    while not model.ready:  # noqa: ASYNC110 - Two parts make it ready; neither has an event.
        await asyncio.sleep(0.05)
    # Journeys, routes and types stay; the collector need not look at them again.
    gc.collect()
    gc.freeze()
    _log.info("ready", customers=model.customers())
    while True:
        telemetry.tasks(await asyncio.to_thread(model.queues))
        await asyncio.sleep(_TASKS_SECONDS)


def _gave_up(error: BaseException) -> WorkerGaveUp:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    reason = str(error) if isinstance(error, OrchestratorError) else type(error).__name__
    return WorkerGaveUp(f"the read model cannot be fed: {reason}")


def _listening(settings: Settings) -> socket.socket:
    host, port = settings.api_host, settings.api_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"api_port: cannot listen on {host}:{port} ({error.strerror or error}); "
            "give another port, or 0 for a free one"
        ) from None
