"""`explain` over HTTP answers for all that happens to customers, and its answers decide it again.

The demo's day has no merges, no people and no pauses; here they are, on a real Kafka, before and
after a kill -9.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from orchestrator.cli.replay import made_again
from orchestrator.demo.shop import write_quicker
from orchestrator.settings import Settings
from orchestrator.simulator.answers import from_the_log
from tests.api.process import TOKENS, ApiProcess
from tests.runtime.deployment import Deployment, cart, event, purchase, wait_until

SHOP = Path(__file__).parents[2] / "journeys"
PEOPLE = ("ana", "ben", "eva", "mia")


@pytest.fixture
def shop(kafka, topic_prefix, app_id, tmp_path):
    """The shop in the box, with short waits, and nobody at work in it yet."""
    write_quicker(SHOP, tmp_path / "journeys")
    one = Deployment(
        kafka.bootstrap_servers, topic_prefix, app_id, tmp_path, journeys=tmp_path / "journeys"
    )
    yield one
    one.stop()


def known(customer, **attributes):
    """Return what becomes known of somebody, and that promotions are welcome."""
    attributes |= {"first_name": customer, "email": f"{customer}@shop.example", "phone": "+34600"}
    agreed = {"class": "promotional", "granted": True, "proof": "form"}
    return [
        event("profile.updated", f"known-{customer}", customer, attributes=attributes),
        *(
            event(
                "consent.updated", f"yes-{channel}-{customer}", customer, channel=channel, **agreed
            )
            for channel in ("email", "ads", "whatsapp")
        ),
    ]


def invited(customer):
    return event("campaign.started", f"sale-{customer}", customer, campaign="winter_sale")


def entered(shop, kind):
    return [
        (key.decode(), entry)
        for key, record, _ in shop.read("journey-log")
        for entry in record["entries"]
        if entry["kind"] == kind
    ]


def before_the_kill(shop, client):
    """Let waits fire, offers be asked for, a person talk, two ids be one, and a pause hold."""
    shop.produce(*(one for who in PEOPLE for one in known(who)))
    shop.produce(event("handoff.started", "talk-eva", "eva"), partitioner="murmur2_random")
    word = {"scope": "journey/winter_sale", "by": "eva", "reason": "wrong price"}
    assert client.post("/v1/pauses", json=word).status_code == 200
    shop.produce(
        event("product.viewed", "seen-web", "web-1", sku="tent-2", family="tent"),
        *(cart(who) for who in (*PEOPLE, "web-1")),
        *(invited(who) for who in PEOPLE),
        event("case.opened", "case-ben", "ben", case_id="7", subject="torn"),
    )
    for offer in ("free_shipping", "winter_sale", "no_such_offer"):
        client.post("/v1/customers/mia/offers/" + offer + "/request", json={"channel": "web"})
    both = {"anonymous_id": "web-1", "customer_id": "ana"}
    shop.produce(event("profile.identified", "merge-ana", "web-1", **both))
    wait_until(lambda: entered(shop, "absorbed"), "a merge")
    wait_until(lambda: entered(shop, "held"), "a hold")
    found = wait_until_there(lambda: client.get("/v1/tasks").json()["tasks"], "a task")
    for by in ("eva", "tom"):
        client.post(f"/v1/tasks/{found[0]['task_id']}/claim", json={"by": by})
    wait_until(lambda: entered(shop, "claim_refused"), "a refused claim")


def after_the_kill(shop, client):
    """Let what was held go, and everything end."""
    word = {"scope": "journey/winter_sale", "by": "eva", "reason": "right again"}
    assert client.post("/v1/pauses/resume", json=word).status_code == 200
    task = client.get("/v1/tasks").json()["tasks"][0]["task_id"]
    client.post(f"/v1/tasks/{task}/close", json={"by": "eva", "outcome": "solved"})
    shop.produce(
        event("handoff.ended", "talked-eva", "eva"),
        event("offer.rejected", "no-mia", "mia", offer="winter_sale"),
        cart("web-1"),
        *(purchase(who) for who in PEOPLE),
        purchase("ana"),
        event("order.returned", "back-ben", "ben", order_id="1001"),
        cart("ben") | {"id": "cart-again"},
    )
    wait_until(lambda: all(who in shop.templates() for who in PEOPLE), "thanks for everybody")
    shop.produce(event("customer.erased", "gone-mia", "mia"), partitioner="murmur2_random")
    wait_until(lambda: entered(shop, "customer_erased"), "an erasure")
    wait_until(lambda: "task_claimed" in kinds_of(shop), "a claim")


class OverHttp:
    """Asks the API; who was erased has no past there, and is asked for in the log."""

    def __init__(self, client):
        self._client = client
        self.asked = []

    def __call__(self, customer, records):
        here = from_the_log(customer, records)
        if customer == "mia":
            return here
        self.asked.append(customer)
        about = f"/v1/customers/{customer}/explain"
        deadline = time.monotonic() + 20
        while (answer := self._client.get(about).json()) != here | {"complete": True}:
            assert time.monotonic() < deadline, (len(answer["moments"]), len(records), answer)
            time.sleep(0.2)
        return answer


def wait_until_there(ask, what):
    wait_until(ask, what)
    return ask()


def kinds_of(shop):
    return {
        entry["kind"] for _, record, _ in shop.read("journey-log") for entry in record["entries"]
    }


@pytest.mark.timeout(300)
def test_what_explain_answers_over_http_is_enough_to_decide_everything_again(shop):
    worker = shop.start()
    api = ApiProcess(shop, TOKENS)
    api.start()
    try:
        before_the_kill(shop, api.client)
        worker.kill()
        worker.wait()
        shop.produce(purchase("eva", "1002"))
        successor = shop.start()
        after_the_kill(shop, api.client)
        # Waits go on coming due; what is asked has to be over.
        successor.terminate()
        successor.wait(60)

        over_http = OverHttp(api.client)
        account = asyncio.run(made_again(Settings.load(**shop.settings), ask=over_http))
    finally:
        api.stop()

    assert set(over_http.asked) == {"ana", "ben", "eva", "web-1"}
    assert account.mismatches == []
    assert account.tally.whole, account.tally
    assert not account.skipped
    assert {"held", "entry_refused", "ended", "offer_refused", "claim_refused"} <= set(
        account.tally.kinds
    )
