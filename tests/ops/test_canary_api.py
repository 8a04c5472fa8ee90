"""The canary among those who ask the API: on every route, in every wrong way, quoted nowhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.api.ingest import Unavailable
from tests.api.process import ALL, READER
from tests.api.rig import Rig
from tests.ops import canary

JOURNEYS = Path(__file__).parents[2] / "journeys"


@pytest.fixture
def rig(tmp_path, monkeypatch):
    one = Rig(tmp_path, journeys=JOURNEYS, api_body_bytes_max=100_000)

    async def away(_events):
        raise Unavailable

    monkeypatch.setattr(one.api.ingest, "accept", away)
    return one


async def test_no_error_quotes_who_was_asked_about(rig):
    """Who sent a value knows it; what stands in an error ends in their logs, and in tickets."""
    statuses, quoted = Counter(), []
    for ask in canary.asks(rig.application):
        for token in (ALL, READER, "", canary.MAIL):
            answer = await rig.ask(
                ask.method, ask.path, token=token, headers=ask.headers, content=ask.body
            )
            statuses[answer.status_code] += 1
            if answer.status_code >= 400 and canary.words_in(answer.text + str(answer.headers)):
                quoted.append((ask.method, ask.template, ask.body, answer.text))

    assert [(one[0], one[1], (one[2] or b"")[:90], one[3][:300]) for one in quoted] == []
    assert {401, 403, 404, 405, 413, 422, 503} <= set(statuses)
