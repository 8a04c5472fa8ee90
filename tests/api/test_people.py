"""People and pages on a real Kafka: context, hand-off, outcomes, exits, tasks, offers."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from orchestrator.broker import EmbeddedBroker
from tests.api.process import TOKENS, ApiProcess
from tests.runtime.deployment import Deployment, awake, event, purchase, wait_until

JOURNEYS = Path(__file__).parents[2] / "journeys"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def api(kafka, tmp_path_factory):
    """The shop in the box with a worker and an API, for all tests of this file."""
    mark = uuid.uuid4().hex[:8]
    folder = tmp_path_factory.mktemp("people")
    deployment = Deployment(
        kafka.bootstrap_servers,
        f"p{mark}.",
        f"app-{mark}",
        folder,
        journeys=awake(JOURNEYS, folder),
    )
    deployment.start()
    port = EmbeddedBroker.free_port()
    api = ApiProcess(deployment, TOKENS, api_metrics_port=port)
    api.metrics = f"http://127.0.0.1:{port}/metrics"
    api.start()
    yield api
    api.stop()
    deployment.stop()


@pytest.fixture
def client(api):
    return api.client


@pytest.fixture
def somebody():
    """Return an id that no other test has."""
    return f"c-{uuid.uuid4().hex[:10]}"


def sent(client, *events):
    """Send events; return the receipt."""
    answer = client.post(
        "/v1/events",
        json=list(events),
        headers={"content-type": "application/cloudevents-batch+json"},
    )
    assert answer.status_code == 202, answer.text
    return answer.json()["receipt"]


def known(client, customer, **attributes):
    """Make a customer known, with consent to what e-mail brings."""
    profile = {"first_name": "Ana", "email": "ana@shop.example"} | attributes
    return sent(
        client,
        event("profile.updated", f"p-{customer}", customer, attributes=profile),
        event(
            "consent.updated",
            f"k-{customer}",
            customer,
            channel="email",
            granted=True,
            proof="form",
            **{"class": "promotional"},
        ),
    )


def seen(client, path, receipt, **params):
    """Read something as of a receipt."""
    answer = client.get(path, params={"after": receipt} | params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_context_has_everything_that_a_person_needs_in_one_request(client, somebody):
    known(client, somebody, note="likes green")
    sent(client, purchase(somebody))
    receipt = sent(client, event("case.opened", f"o-{somebody}", somebody, case_id="c-7"))

    context = seen(client, f"/v1/customers/{somebody}/context", receipt)

    assert context["note"]["text"] == "likes green"
    assert context["attributes"]["first_name"] == "Ana"
    assert context["orders"][0]["items"][0]["sku"] == "tent-2"
    assert context["consents"][0]["granted"] is True
    assert {one["journey"] for one in context["journeys"]} >= {"post_purchase", "service_case"}
    assert [one["template"] for one in context["tasks"]] == ["service_case"]
    assert [one["case_id"] for one in context["cases"]] == ["c-7"]
    assert context["messages"][0]["channel"] == "email"
    assert context["messages"][0]["seen"] is False
    offered = [one["offer"] for one in context["may_offer"]]
    refused = {one["offer"]: one["reason"] for one in context["may_not_offer"]}
    assert offered
    assert refused
    assert not set(offered) & set(refused)


def test_a_hand_off_is_told_and_waited_for(client, somebody):
    receipt = known(client, somebody)
    path = f"/v1/customers/{somebody}/handoff?wait=10&after={receipt}"

    begun = client.post(path, json={"state": "started", "by": "eva"})
    talking = client.get(f"/v1/customers/{somebody}/context").json()["talking_until"]
    ended = client.post(path, json={"state": "ended"})

    assert (begun.status_code, begun.json()["applied"]) == (200, True), begun.text
    assert talking is not None
    assert ended.json()["outcome"] == "applied"
    assert client.get(f"/v1/customers/{somebody}/context").json()["talking_until"] is None


def test_without_a_wait_the_answer_is_a_receipt_that_brings_the_effect(client, somebody):
    receipt = known(client, somebody)
    told = client.post(
        f"/v1/customers/{somebody}/outcome?after={receipt}",
        json={"kind": "case.opened", "case_id": "c-9", "subject": "a pole is missing"},
    )

    assert told.status_code == 202, told.text
    assert told.json()["applied"] is False
    context = seen(client, f"/v1/customers/{somebody}/context", told.json()["receipt"])
    assert [one["case_id"] for one in context["cases"]] == ["c-9"]


def test_an_outcome_of_each_kind_is_an_event_like_any_other(client, somebody):
    receipt = known(client, somebody)
    path = f"/v1/customers/{somebody}/outcome?wait=10&after={receipt}"
    said = [
        {"kind": "offer.accepted", "offer": "birthday_socks"},
        {"kind": "offer.rejected", "offer": "winter_sale", "by": "eva"},
        {"kind": "case.opened", "case_id": "c-1"},
        {"kind": "case.closed", "case_id": "c-1"},
        {"kind": "note", "text": "calls back at five"},
    ]

    for word in said:
        answer = client.post(path, json=word)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outcome"] == "applied"

    timeline = client.get(f"/v1/customers/{somebody}/timeline").json()["entries"]
    types = [one["cause"]["type"] for one in timeline if one["cause"]["kind"] == "event"]
    assert types[:5] == [
        "profile.updated",
        "case.closed",
        "case.opened",
        "offer.rejected",
        "offer.accepted",
    ]
    context = client.get(f"/v1/customers/{somebody}/context").json()
    refused = {one["offer"]: one["detail"] for one in context["may_not_offer"]}
    assert "winter_sale" in refused, "a no is a no on every channel"
    assert context["note"]["text"] == "calls back at five"


def test_an_agent_takes_a_customer_out_of_a_journey_at_once(client, somebody):
    known(client, somebody)
    cart = event(
        "cart.abandoned", f"cart-{somebody}", somebody, cart_id="k1", items=[{"sku": "tent-2"}]
    )
    receipt = sent(client, cart)
    customer = seen(client, f"/v1/customers/{somebody}", receipt)
    enrollment = customer["enrollments"][0]["id"]
    path = f"/v1/customers/{somebody}/enrollments/{enrollment.replace('#', '%23')}/exit?wait=10"

    answer = client.post(path, json={"by": "eva"})

    assert answer.status_code == 200, answer.text
    assert any(one["kind"] == "ended" for one in answer.json()["entries"])
    assert client.get(f"/v1/customers/{somebody}").json()["enrollments"] == []
    assert client.post(path, json={}).status_code == 404


def test_nothing_is_told_of_somebody_who_is_not_known(client, somebody):
    answer = client.post(f"/v1/customers/{somebody}/handoff", json={"state": "started"})

    assert answer.status_code == 404
    assert client.get(f"/v1/customers/{somebody}/context").status_code == 404


def test_of_two_agents_who_claim_at_once_exactly_one_gets_the_task(client, api, somebody):
    known(client, somebody)
    receipt = sent(client, event("case.opened", f"o-{somebody}", somebody, case_id="c-7"))
    task = seen(client, "/v1/tasks", receipt, customer=somebody)["tasks"][0]
    agents = [f"agent-{number}" for number in range(6)]

    def claim(agent):
        return client.post(f"/v1/tasks/{task['task_id']}/claim", json={"by": agent}, timeout=30)

    with ThreadPoolExecutor(len(agents)) as pool:
        answers = list(pool.map(claim, agents))

    got = [one for one in answers if one.status_code == 200]
    assert sorted(one.status_code for one in answers) == [200] + [409] * 5
    winner = got[0].json()["by"]
    for one in answers:
        if one.status_code == 409:
            assert one.json()["claimed_by"] == winner
            assert one.json()["type"].endswith("already-claimed")
    listed = client.get("/v1/tasks", params={"customer": somebody}).json()["tasks"][0]
    assert listed["claimed_by"] == winner


def test_a_task_is_listed_claimed_again_by_its_owner_closed_and_gone(client, somebody):
    known(client, somebody)
    receipt = sent(client, event("case.opened", f"o-{somebody}", somebody, case_id="c-7"))
    task = seen(client, "/v1/tasks", receipt, customer=somebody)["tasks"][0]
    path = f"/v1/tasks/{task['task_id']}"

    assert client.get(path).json()["queue"] == "callcenter"
    queues = client.get("/v1/tasks/queues").json()["queues"]
    assert [one["queue"] for one in queues] == ["callcenter"]
    for _ in range(2):
        assert client.post(f"{path}/claim", json={"by": "eva"}).status_code == 200
    closed = client.post(f"{path}/close", json={"by": "eva", "outcome": "solved"})

    assert closed.status_code == 200, closed.text
    assert client.get(path).status_code == 404
    assert client.post(f"{path}/claim", json={"by": "eva"}).status_code == 404
    assert client.get("/v1/tasks", params={"customer": somebody}).json()["tasks"] == []


def test_what_may_be_shown_needs_nobody_to_be_known_and_promises_nothing(client, somebody):
    path = f"/v1/customers/{somebody}/next-best"

    answer = client.get(path, params={"channel": "email"})

    assert answer.status_code == 200, answer.text
    assert answer.json()["customer"] == somebody
    assert client.get(f"/v1/customers/{somebody}").status_code == 404
    wrong = client.get(path, params={"channel": "emial"})
    assert wrong.status_code == 422
    assert "email" in wrong.json()["errors"][0]["detail"]


def test_an_offer_is_granted_by_the_owner_and_then_forbids_what_contradicts_it(client, somebody):
    receipt = known(client, somebody, customer_id=somebody)

    def ask(offer, channel=None):
        path = f"/v1/customers/{somebody}/offers/{offer}/request"
        return client.post(path, json={"channel": channel}, params={"wait": 10, "after": receipt})

    granted = ask("winter_sale")
    again = ask("winter_sale")
    refused = ask("come_back15", "callcenter")
    unknown = ask("no_such_offer")

    assert granted.status_code == 200, granted.text
    assert granted.json()["granted"] is True
    assert granted.json()["code"] == "WARM20"
    assert granted.json()["text"].startswith("20 %")
    assert again.json()["expires_at"] == granted.json()["expires_at"]
    assert refused.json()["granted"] is False
    assert refused.json()["reason"] == "offer_contradicted"
    assert refused.json()["code"] is None
    assert unknown.json()["reason"] == "offer_not_valid"
    proposed = seen(
        client,
        f"/v1/customers/{somebody}/next-best",
        granted.json()["receipt"],
        channel="web",
    )
    assert proposed["proposed"][0]["because"] == "promised"
    assert proposed["proposed"][0]["code"] == "WARM20"


def test_two_tabs_and_an_agent_at_one_instant_never_hold_contradicting_promises(client, somebody):
    known(client, somebody, customer_id=somebody)
    offers = ["winter_sale", "come_back15", "welcome10", "free_shipping"]

    def ask(offer):
        path = f"/v1/customers/{somebody}/offers/{offer}/request?wait=10"
        return client.post(path, json={}, timeout=30).json()

    with ThreadPoolExecutor(len(offers)) as pool:
        answers = list(pool.map(ask, offers))

    assert sum(one["granted"] for one in answers) == 1
    assert {one["reason"] for one in answers if not one["granted"]} <= {
        "offer_contradicted",
        "offer_not_valid",
    }


def test_who_gets_no_answer_in_time_is_told_to_show_nothing(client, somebody):
    path = f"/v1/customers/{somebody}/offers/winter_sale/request"

    answer = client.post(path, json={}, params={"wait": 0.000001})

    assert answer.status_code == 504
    assert answer.json()["type"].endswith("no-answer")
    assert "show nothing" in answer.json()["detail"]
    assert answer.json()["receipt"]


def test_what_was_asked_and_how_far_behind_it_is_stands_in_the_metrics(api, client, somebody):
    """Level with the topics although each ends with a transaction's marker, which is no record."""

    def scraped():
        lines = httpx.get(api.metrics).text.splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith("orchestrator_api_"))
        return {name: float(value) for name, _, value in found}

    question = 'orchestrator_api_questions_total{about="offer",outcome="%s"}'
    receipt = known(client, somebody, customer_id=somebody)
    before = scraped()
    path = f"/v1/customers/{somebody}/offers/{{}}/request"
    for offer in ("winter_sale", "come_back15"):
        client.post(path.format(offer), json={}, params={"wait": 10, "after": receipt})
    client.post(path.format("winter_sale"), json={}, params={"wait": 0.000001})
    after = scraped()

    for outcome in ("granted", "refused", "unanswered"):
        assert after[question % outcome] == before[question % outcome] + 1, outcome
    assert after["orchestrator_api_answer_seconds_count"] > 0
    lags = [name for name in after if name.startswith("orchestrator_api_lag_records")]
    assert len(lags) == 3
    wait_until(lambda: not any(scraped()[name] for name in lags), "a read model that is level")
    assert scraped()["orchestrator_api_behind_seconds"] == 0
    assert somebody not in httpx.get(api.metrics).text
