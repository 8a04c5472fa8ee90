"""The metrics server, asked over HTTP like Prometheus and Kubernetes do."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.metrics import Metrics, MetricsServer


class Caught:
    """Whether the worker has caught up; the test decides."""

    up = False


@pytest.fixture
def caught() -> Caught:
    return Caught()


@pytest.fixture
def server(worked: Metrics, caught: Caught) -> Iterator[MetricsServer]:
    running = worked.serve("127.0.0.1", 0, ready=lambda: caught.up)
    yield running
    running.close()


def ask(server: MetricsServer, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_metrics_are_there(server: MetricsServer) -> None:
    status, text = ask(server, "/metrics")

    assert status == 200
    assert 'orchestrator_events_total{outcome="applied",type="purchase"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_ready_becomes_true_when_the_worker_has_caught_up(
    server: MetricsServer, caught: Caught
) -> None:
    """The probe and the gauge say the same at any time."""
    assert ask(server, "/ready") == (503, "not ready\n")
    assert "orchestrator_ready 0.0" in ask(server, "/metrics")[1]

    caught.up = True

    assert ask(server, "/ready") == (200, "ready\n")
    assert "orchestrator_ready 1.0" in ask(server, "/metrics")[1]


def test_a_worker_that_is_not_ready_is_alive(server: MetricsServer) -> None:
    """Else Kubernetes would kill it in its recovery."""
    assert ask(server, "/healthz") == (200, "alive\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/favicon.ico", "/ready/../metrics", "/debug"])
def test_there_is_nothing_else(server: MetricsServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/ready"])
def test_nothing_can_be_written(server: MetricsServer, path: str) -> None:
    assert ask(server, path, "POST")[0] == 405


def test_a_client_that_says_nothing_does_not_keep_others_waiting(server: MetricsServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5):
        assert ask(server, "/healthz")[0] == 200


def test_a_port_that_is_taken_is_a_wrong_setting(server: MetricsServer, metrics: Metrics) -> None:
    """One line that names the setting and the way out; exit code 2."""
    with pytest.raises(UsageError, match=rf"metrics_port: .*{server.port}.*0 for none") as refused:
        metrics.serve("127.0.0.1", server.port, ready=lambda: True)

    assert refused.value.exit_code == 2


def test_the_port_is_free_after_closing(worked: Metrics) -> None:
    """A worker that restarts gets its own port back at once."""
    first = worked.serve("127.0.0.1", 0, ready=lambda: True)
    assert ask(first, "/healthz")[0] == 200
    first.close()
    second = worked.serve("127.0.0.1", first.port, ready=lambda: True)
    assert ask(second, "/healthz")[0] == 200
    second.close()
