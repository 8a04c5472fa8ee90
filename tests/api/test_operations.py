"""Pauses and publication over HTTP reach the workers, and reads wait for what was forwarded."""

import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.api.process import TOKENS, ApiProcess
from tests.runtime.deployment import JOURNEYS, Deployment, purchase, wait_until

pytestmark = pytest.mark.timeout(600)
OTHER_PARTITIONS = 5


@pytest.fixture(scope="module")
def running(kafka, tmp_path_factory):
    """A deployment whose API writes to a topic that is nobody's home: everything is forwarded."""
    mark = uuid.uuid4().hex[:8]
    prefix, folder = f"t{mark}.", tmp_path_factory.mktemp("operations")
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    web = NewTopic(f"{prefix}web", OTHER_PARTITIONS, 1)
    admin.create_topics([web])[web.topic].result()
    deployment = Deployment(
        kafka.bootstrap_servers, prefix, f"app-{mark}", folder, input_topics="web,touchpoints"
    )
    deployment.start()
    api = ApiProcess(deployment, TOKENS, api_wait_seconds=20)
    api.start()
    yield deployment, api
    api.stop()
    deployment.stop()


def files():
    """Return the journeys of these tests, by path."""
    found = (path for path in Path(JOURNEYS).rglob("*.yaml"))
    return {path.relative_to(JOURNEYS).as_posix(): path.read_text("utf-8") for path in found}


def test_the_effect_of_a_forwarded_event_is_waited_for(running):
    deployment, api = running
    for number in range(10):
        customer = f"ana-{number}"
        receipt = api.client.post("/v1/events", json=purchase(customer)).json()["receipt"]

        found = api.client.get(f"/v1/customers/{customer}", params={"after": receipt})

        assert found.status_code == 200, found.text
        assert len(found.json()["orders"]) == 1
    causes = [record["cause"] for _, record, _ in deployment.read("journey-log")]
    assert {cause["origin"]["topic"] for cause in causes} == {f"{deployment.prefix}web"}


def test_a_forwarded_dead_letter_is_told(running):
    _, api = running
    api.client.post("/v1/events", json=purchase("ben"))
    reused = purchase("ben") | {"type": "search.done"}
    receipt = api.client.post("/v1/events", json=reused).json()["receipt"]

    answer = api.client.get("/v1/customers/ben", params={"after": receipt})

    assert answer.status_code == 409, answer.text
    assert answer.json()["reason"] == "id_reused"


def test_a_pause_is_in_force_until_it_is_resumed_and_says_by_whom(running):
    _, api = running
    name = api.client.get("/v1/journeys").json()["journeys"][0]["name"]
    word = {"scope": f"journey/{name}", "reason": "wrong price", "by": "eva"}

    paused = api.client.post("/v1/pauses", json=word)
    seen = api.client.get("/v1/pauses").json()["pauses"]
    resumed = api.client.post("/v1/pauses/resume", json=word)
    again = api.client.post("/v1/pauses/resume", json=word)

    assert paused.status_code == 200, paused.text
    assert [one["scope"] for one in seen] == [f"journey/{name}"]
    assert seen[0]["by"] == "eva via all"
    assert resumed.json()["before"]["reason"] == "wrong price"
    assert api.client.get("/v1/pauses").json()["pauses"] == []
    assert again.status_code == 409


def test_a_name_that_nobody_has_published_is_not_paused_unless_forced(running):
    _, api = running
    word = {"scope": "journey/no_such", "reason": "a slip"}

    refused = api.client.post("/v1/pauses", json=word)
    forced = api.client.post("/v1/pauses", json=word | {"force": True})
    api.client.post("/v1/pauses/resume", json=word)

    assert refused.status_code == 422
    assert '"force": true' in refused.json()["detail"]
    assert forced.status_code == 200


def test_what_is_published_over_http_runs_and_is_shown(running):
    _, api = running
    before = api.client.get("/v1/definitions").json()["current"]["content_hash"]
    changed = files()
    changed["shop.yaml"] += "\n# A word more, which changes nothing.\n"
    name = next(
        path
        for path in sorted(changed)
        if path.endswith(".yaml") and "kind: promotional" in changed[path]
    )
    journey = changed[name].replace("version: 1", "version: 2", 1)
    assert journey != changed[name]
    changed[name] = journey

    published = api.client.post("/v1/definitions", json={"files": changed, "by": "maria"})

    assert published.status_code == 200, published.text
    current = published.json()["current"]
    assert current["content_hash"] != before
    assert current["published_by"] == "maria via all"
    wait_until(
        lambda: api.client.get("/v1/journeys").json()["content_hash"] == current["content_hash"],
        "the journeys that were published",
    )
    held = api.client.get(f"/v1/definitions/{current['content_hash']}").json()["files"]
    assert held[name] == journey


def test_findings_come_all_together_and_nothing_is_published(running):
    _, api = running
    before = api.client.get("/v1/definitions").json()["current"]
    broken = files() | {"broken.yaml": "name: broken\nversion: none\n"}

    answer = api.client.post("/v1/definitions", json={"files": broken})

    assert answer.status_code == 422
    assert answer.json()["type"].endswith("findings")
    assert len(answer.json()["errors"]) > 1
    assert api.client.get("/v1/definitions").json()["current"] == before


def test_a_path_out_of_the_folder_is_refused(running):
    _, api = running

    for path in ("../shop.yaml", "/etc/passwd", "notes.txt"):
        answer = api.client.post("/v1/definitions", json={"files": {path: "x: 1"}})

        assert answer.status_code == 422, path
