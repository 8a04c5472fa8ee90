"""Bounds and headers around every request, also those that go wrong."""

import asyncio

import pytest

from orchestrator.api.shield import Shield
from orchestrator.api.telemetry import Telemetry
from tests.api.rig import Rig

SAFE = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, api_body_bytes_max=1_000)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("GET", "/v1/customers/nobody", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/v1/events", 405),
        ("GET", "/v1/customers/ana/timeline?limit=0", 422),
    ],
)
async def test_every_answer_has_safe_headers_and_errors_are_problems(rig, method, path, status):
    answer = await rig.ask(method, path)

    assert answer.status_code == status
    assert SAFE.items() <= dict(answer.headers).items()
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail"} <= answer.json().keys()


async def test_405_says_what_is_allowed(rig):
    assert (await rig.ask("DELETE", "/v1/events")).headers["allow"] == "POST"


async def test_a_body_over_the_limit_is_refused_with_and_without_a_length(rig):
    async def chunks():
        for _ in range(5):
            yield b"x" * 400

    told = await rig.ask("POST", "/v1/events", content=b"x" * 1_001)
    streamed = await rig.ask(
        "POST", "/v1/events", content=chunks(), headers={"content-type": "application/json"}
    )

    assert (told.status_code, streamed.status_code) == (413, 413)


async def test_a_failure_of_ours_is_a_problem_that_says_nothing_of_the_customer(rig, monkeypatch):
    def fail(_):
        raise RuntimeError("canary-ana")

    monkeypatch.setattr(rig.model._feed.store, "state", fail)

    answer = await rig.get("/v1/customers/ana")

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "canary" not in answer.text
    assert SAFE.items() <= dict(answer.headers).items()
    labels = {"route": "/v1/customers/{customer_id}", "method": "GET", "status": "500"}
    registry = rig.telemetry.registry
    assert registry.get_sample_value("orchestrator_api_requests_total", labels) == 1


async def test_a_request_that_takes_too_long_is_ended():
    async def slow(_scope, _receive, _send):
        await asyncio.sleep(10)

    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b""}

    shield = Shield(slow, telemetry=Telemetry(), body_bytes_max=10, seconds_max=0.05)
    await shield({"type": "http", "method": "GET", "headers": []}, receive, send)

    assert sent[0]["status"] == 503


async def test_more_at_once_than_can_be_answered_are_told_to_come_again(rig, monkeypatch):
    from orchestrator.api import shield

    monkeypatch.setattr(shield, "REQUESTS_MAX", 0)

    answer = await rig.get("/health/live")

    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"


async def test_requests_are_counted_by_template(rig):
    for customer in ("ana", "ben"):
        await rig.get(f"/v1/customers/{customer}")

    labels = {"route": "/v1/customers/{customer_id}", "method": "GET", "status": "404"}
    registry = rig.telemetry.registry
    assert registry.get_sample_value("orchestrator_api_requests_total", labels) == 2
