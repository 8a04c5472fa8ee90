"""Killed in the middle of feeding and started again, the read model equals the log."""

import random
import sqlite3
import time
from collections import Counter

import orjson
import pytest

from bench.topics import read_topic
from orchestrator.core.encoded.places import places_of
from tests.api.process import START_SECONDS_MAX, TOKENS, ApiProcess
from tests.runtime.deployment import cart, event, purchase, wait_until

CUSTOMERS = 150


def feed(deployment, first, count):
    events = []
    for number in range(first, first + count):
        customer = f"c{number % CUSTOMERS}"
        seen = event("product.viewed", f"view-{number}", customer, sku=f"tent-{number % 7}")
        events.append(seen)
        if number % 5 == 0:
            events.append(cart(customer) | {"id": f"cart-{number}"})
        if number % 11 == 0:
            events.append(purchase(customer, f"o{number}"))
    deployment.produce(*events)
    return len(events)


def newest_states(deployment):
    """Return what the changelog says of each customer."""
    topic = f"{deployment.prefix}{deployment.app_id}-customers-changelog"
    records = read_topic(deployment.client, topic, isolation="read_committed")
    return {key: value for key, value, _ in records if key[0] < 0xFE}


def logged(deployment):
    """Return every record of the journey log, with how often."""
    topic = f"{deployment.prefix}journey-log"
    records = read_topic(deployment.client, topic, isolation="read_committed")
    return Counter((key, value) for key, value, _ in records)


def events_in(records):
    """Return how many of these records are about an event; waits have some too."""
    return sum(
        times
        for (_, value), times in records.items()
        if orjson.loads(value)["cause"]["kind"] == "event"
    )


@pytest.mark.timeout(900)
def test_a_killed_read_model_goes_on_where_it_stood_and_equals_the_log(deployment):
    deployment.start()
    api = ApiProcess(deployment, TOKENS)
    dice = random.Random(7)
    sent = first = 0
    for _ in range(4):
        api.start(ready=False)
        wait_until(lambda: api.told("listening"), "a listening API", START_SECONDS_MAX)
        sent += feed(deployment, first, 400)
        first += 400
        # Anywhere between its first batch and its last.
        time.sleep(dice.random())
        api.kill()
    wait_until(lambda: events_in(logged(deployment)) >= sent, "decided events")
    for worker in deployment.workers:  # A wait that comes due would move the end.
        worker.terminate()
        worker.wait(60)
    api.start()
    kept = api.told("the read model is filled again")
    api.stop()

    states, records = newest_states(deployment), logged(deployment)
    db = sqlite3.connect(api.folder / "read-model.db")
    held = dict(db.execute("SELECT id, state FROM customers"))
    timeline = Counter(db.execute("SELECT customer, record FROM timeline"))
    people = {
        (journey, version, step): count
        for journey, version, step, count in db.execute("SELECT * FROM places WHERE people > 0")
    }
    db.close()

    assert kept is None, "it went on, and did not begin again"
    assert held == states
    assert timeline == records, "nothing is lost and nothing is there twice"
    assert people == Counter(place for state in states.values() for place in places_of(state))


def test_another_copy_with_a_folder_of_its_own_says_the_same(running):
    deployment, api = running
    receipt = api.client.post("/v1/events", json=purchase("ana")).json()["receipt"]
    copy = ApiProcess(deployment, TOKENS, name="copy")
    copy.start()
    try:
        answers = [
            one.client.get("/v1/customers/ana", params={"after": receipt}).json()
            for one in (api, copy)
        ]

        assert answers[0]["orders"]
        assert answers[0] == answers[1]
    finally:
        copy.stop()


def test_the_folder_of_another_deployment_stops_it_with_a_reason(running, tmp_path):
    deployment, api = running
    api.stop()
    other = ApiProcess(deployment, TOKENS, app_id=f"{deployment.app_id}-other")

    other.start(ready=False)

    assert other.process.wait(150) == 2
    assert "holds the read model of changelog" in other.log.read_text()


def test_two_processes_do_not_share_a_folder(running):
    deployment, _ = running
    second = ApiProcess(deployment, TOKENS)

    second.start(ready=False)

    assert second.process.wait(150) == 2
    assert "in use by another process" in second.log.read_text()
