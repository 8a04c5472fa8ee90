"""Who asks with the receipt of an event finds its effect; of a dead letter it is told instead."""

import pytest

from tests.runtime.deployment import cart, purchase

pytestmark = pytest.mark.timeout(600)


def test_a_posted_purchase_is_seen_by_the_get_that_names_its_receipt(running):
    _, api = running
    for number in range(30):
        customer = f"ana-{number}"
        accepted = api.client.post("/v1/events", json=purchase(customer))
        assert accepted.status_code == 202, accepted.text

        found = api.client.get(
            f"/v1/customers/{customer}", params={"after": accepted.json()["receipt"]}
        )

        assert found.status_code == 200, found.text
        assert [one["order_id"] for one in found.json()["orders"]] == ["1001"]


def test_a_repeat_is_answered_as_seen_and_changes_nothing(running):
    _, api = running
    first = api.client.post("/v1/events", json=purchase("ana")).json()["receipt"]
    again = api.client.post("/v1/events", json=purchase("ana")).json()["receipt"]
    assert first != again

    found = api.client.get("/v1/customers/ana", params={"after": again}).json()
    timeline = api.client.get("/v1/customers/ana/timeline").json()["entries"]

    assert len(found["orders"]) == 1
    assert [one["outcome"] for one in timeline] == ["duplicate", "applied"]


def test_a_dead_letter_is_told_instead_of_waited_for(running):
    _, api = running
    api.client.post("/v1/events", json=purchase("ana"))
    reused = purchase("ana") | {"type": "search.done"}
    receipt = api.client.post("/v1/events", json=reused).json()["receipt"]

    found = api.client.get("/v1/customers/ana", params={"after": receipt})

    assert found.status_code == 409, found.text
    assert found.json()["reason"] == "id_reused"
    assert found.headers["content-type"] == "application/problem+json"


def test_an_effect_that_does_not_come_is_not_waited_for_for_ever(deployment):
    from tests.api.process import TOKENS, ApiProcess

    worker = deployment.start()
    api = ApiProcess(deployment, TOKENS, api_wait_seconds=0.5)
    api.start()
    try:
        worker.kill()
        worker.wait()
        receipt = api.client.post("/v1/events", json=cart("ana")).json()["receipt"]

        found = api.client.get("/v1/customers/ana", params={"after": receipt})

        assert found.status_code == 503
        assert found.headers["retry-after"] == "1"
    finally:
        api.stop()
