"""The small HTTP server of a worker: `/metrics`, `/healthz`, `/ready`. Nothing else, no writes.

It runs in threads of its own, so that a scrape never waits for a decision. Loopback by default:
it has no authentication, and what it tells is for the operators of the shop.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from prometheus_client import CollectorRegistry

_TEXT: Final = ("Content-Type", "text/plain; charset=utf-8")
_METHODS: Final = frozenset({"GET", "HEAD"})


class MetricsServer:
    """A running server; `port` is the one it listens on."""

    def __init__(self, server: ThreadingWSGIServer) -> None:
        self._server = server
        self.port: int = server.server_port
        self._thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and wait for the thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(
    registry: CollectorRegistry,
    host: str,
    port: int,
    ready: Callable[[], bool],
    *,
    setting: str = "metrics_port",
) -> MetricsServer:
    """Start the server; port 0 takes a free one. `ready` is called in a thread of the server.

    Raises UsageError, which names `setting`, when the address cannot be had.
    """
    application = _application(registry, ready)
    try:
        server = make_server(
            host, port, application, ThreadingWSGIServer, handler_class=_QuietHandler
        )
    except OSError as error:
        raise UsageError(
            f"{setting}: cannot listen on {host}:{port} ({error.strerror or error}); "
            "give another port, or 0 for none"
        ) from error
    return MetricsServer(server)


class _QuietHandler(WSGIRequestHandler):
    """Does not log requests, and drops a client that stands still."""

    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  The base's name.
        """Log nothing."""


def _application(registry: CollectorRegistry, ready: Callable[[], bool]) -> WSGIApplication:
    metrics = make_wsgi_app(registry)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def answer(status: str, text: str) -> Iterable[bytes]:
            start_response(status, [_TEXT])
            return [f"{text}\n".encode()]

        path = environ["PATH_INFO"]
        if path == "/metrics":
            body: Iterable[bytes] = metrics(environ, start_response)
            return body
        if path not in {"/healthz", "/ready"}:
            return answer("404 Not Found", "there is /metrics, /healthz and /ready")
        if environ["REQUEST_METHOD"] not in _METHODS:
            return answer("405 Method Not Allowed", "use GET")
        if path == "/ready" and not ready():
            return answer("503 Service Unavailable", "not ready")
        return answer("200 OK", "ready" if path == "/ready" else "alive")

    return application
