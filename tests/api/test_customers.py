"""What people and programs read about one customer, over a store that is filled by hand."""

import logging
from pathlib import Path

import orjson
import pytest

from orchestrator.core.contact import cap_reached, counted
from orchestrator.core.customer import (
    Attribute,
    Cause,
    Consent,
    Contact,
    Customer,
    Enrollment,
    Kin,
    OpenCommand,
    Promise,
    Sent,
)
from orchestrator.core.decision import Emitted, Entered, Refusal, SendRefused
from orchestrator.core.encoded.state import encode_customer
from orchestrator.protocol.outputs import EventCause, encode_log, rfc3339
from tests.api.rig import NOW_MS, Rig

SHOP = Path(__file__).parents[2] / "journeys"
HOUR_MS = 3_600_000


def ana(**known):
    """Return a customer with something of everything."""
    return Customer(
        "ana",
        sequence=12,
        now_ms=NOW_MS,
        attributes={"country": Attribute("ES", NOW_MS - 5, "/crm", "evt-1")},
        enrollments=(
            Enrollment(
                "cart_abandonment/k1#1",
                "cart_abandonment",
                1,
                "k1",
                NOW_MS,
                NOW_MS,
                Cause("/shop", "cart-1"),
                step="an_hour",
                wake_at_ms=NOW_MS + HOUR_MS,
                open_commands=(
                    OpenCommand("cmd-1", "message", "email", "promotional", "first", 12, NOW_MS),
                ),
            ),
        ),
        contact=Contact(
            consents={"email/promotional": Consent(True, NOW_MS - 9, "/shop", "consent-1")},
            bounced={"sms": NOW_MS - 7},
        ),
        promises={
            "welcome_10": Promise(NOW_MS, 4_000_000_000_000, channel="web"),
            "old": Promise(0, 1_000),
        },
        **known,
    )


def decision(number, *entries, event_type="product.viewed", outcome="applied"):
    """Return a journey-log record of Ana as the store takes it."""
    at_ms = NOW_MS + number * 1_000
    cause = EventCause(
        "touchpoints", 0, number, "/shop", f"evt-{number}", event_type, rfc3339(at_ms)
    )
    value = encode_log(
        customer="ana",
        now_ms=at_ms,
        cause=cause,
        outcome=outcome,
        definitions_hash="0" * 64,
        entries=entries,
    )
    return b"ana", at_ms, value


ENTERED = Entered("welcome#1", "welcome", 1)
SENT = Emitted("cmd-1", "message.send", "email", "promotional", "welcome#1", "hello", 1)
REFUSED = SendRefused("welcome#1", "welcome", "again", "email", Refusal.NO_CONSENT, "email")


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, journeys=SHOP)


async def test_a_customer_is_shown_with_everything_that_decisions_know(rig):
    rig.know(ana())

    found = (await rig.get("/v1/customers/ana")).json()

    assert found["attributes"]["country"] == {
        "value": "ES",
        "time": rfc3339(NOW_MS - 5),
        "source": "/crm",
    }
    assert found["sequence"] == 12
    assert found["stage"] == rig.model.journeys.stages.rules[0].name
    (enrollment,) = found["enrollments"]
    assert enrollment["due"] == rfc3339(NOW_MS + HOUR_MS)
    assert enrollment["open_commands"] == ["cmd-1"]
    assert [one["offer"] for one in found["promises"]] == ["welcome_10"]
    assert found["consents"][0]["class"] == "promotional"
    assert found["bounced"] == {"sms": rfc3339(NOW_MS - 7)}


async def test_an_absorbed_id_answers_with_the_customer_it_belongs_to(rig):
    survivor = ana(kin=Kin(absorbed={"web-1": NOW_MS}))
    pointers = [Customer("web-1", kin=Kin("ana")), Customer("web-2", kin=Kin("web-1"))]
    rig.know(survivor, *pointers, log=[decision(0, ENTERED), (b"web-1", *decision(1, SENT)[1:])])

    for customer_id in ("ana", "web-1", "web-2"):
        found = (await rig.get(f"/v1/customers/{customer_id}")).json()
        assert (found["id"], found["other_ids"]) == ("ana", ["web-1"])
        past = (await rig.get(f"/v1/customers/{customer_id}/timeline")).json()
        assert [one["entries"][0]["kind"] for one in past["entries"]] == ["emitted", "entered"]


async def test_a_new_address_is_shown_as_alive_again(rig):
    rig.know(ana())
    customer = ana()
    phone = Attribute("+34", NOW_MS, "/crm", "evt-2")
    rig.know(
        Customer("ben", contact=customer.contact, attributes=customer.attributes | {"phone": phone})
    )

    assert rig.model.journeys.channels["sms"].address_ref == "profile.phone"
    assert (await rig.get("/v1/customers/ben")).json()["bounced"] == {}


async def test_what_is_left_of_a_cap_is_none_exactly_when_the_guard_refuses(rig):
    now_ms = rig.model.now_ms()
    caps = rig.model.journeys.shop.caps
    assert caps
    for number in range(8):
        contact = Contact()
        for at in range(number):
            sent = Sent(f"cmd-{at}", now_ms - at * HOUR_MS, "email", "promotional", "welcome")
            contact = counted(contact, sent, 10**12, now_ms)
        rig.know(Customer("ana", contact=contact))

        shown = (await rig.get("/v1/customers/ana")).json()["caps"]

        assert len(shown) == len(caps)
        for cap, view in zip(caps, shown, strict=True):
            about = (cap.channel or "email", cap.command_class, cap.journey or "welcome")
            assert (view["left"] == 0) == cap_reached(contact, cap, about, now_ms)


async def test_nobody_is_404_and_no_id_is_422(rig):
    for path in ("", "/timeline", "/explain"):
        unknown = await rig.get(f"/v1/customers/nobody{path}")
        too_long = await rig.get(f"/v1/customers/{'ä' * 200}{path}")

        assert (unknown.status_code, too_long.status_code) == (404, 422)
        assert unknown.headers["content-type"] == "application/problem+json"
        assert "nobody" not in unknown.text


async def test_an_id_with_signs_of_every_kind_is_found(rig):
    rig.know(Customer("ana@shop+1 50%"), Customer("日本"), Customer("a&b"))

    for path in ("ana%40shop%2B1%2050%25", "%E6%97%A5%E6%9C%AC", "a%26b"):
        assert (await rig.get(f"/v1/customers/{path}")).status_code == 200, path


async def test_the_state_of_a_newer_release_is_told_and_no_failure(rig):
    rig.know(Customer("ana"))
    newer = b"\x63" + encode_customer(Customer("ana"))[1:]
    rig.store._writer.execute("UPDATE customers SET state = ?", (newer,))

    answer = await rig.get("/v1/customers/ana")

    assert answer.status_code == 503
    assert answer.json()["type"].endswith("newer-release")


async def test_a_timeline_comes_in_pages_newest_first_and_each_entry_once(rig):
    rig.know(ana(), log=[decision(number, ENTERED) for number in range(7)])
    seen, mark, pages = [], None, 0

    while pages == 0 or mark is not None:
        params = {"limit": 3} | ({} if mark is None else {"before": mark})
        page = (await rig.get("/v1/customers/ana/timeline", params=params)).json()
        seen += [one["cause"]["id"] for one in page["entries"]]
        mark, pages = page["next"], pages + 1

    assert seen == [f"evt-{number}" for number in range(6, -1, -1)]
    assert pages == 3


async def test_a_timeline_is_filtered_by_event_entry_and_time(rig):
    log = [decision(0, ENTERED), decision(1, SENT), decision(2, event_type="purchase")]
    rig.know(ana(), log=log)

    async def ids(**params):
        page = (await rig.get("/v1/customers/ana/timeline", params=params)).json()
        return [one["cause"]["id"] for one in page["entries"]]

    assert await ids(type="purchase") == ["evt-2"]
    assert await ids(entry="emitted") == ["evt-1"]
    assert await ids(since=rfc3339(NOW_MS + 1_000)) == ["evt-2", "evt-1"]
    assert await ids(type="purchase", entry="emitted") == []


async def test_the_story_says_what_was_sent_and_what_not_and_why(rig):
    rig.know(ana(), log=[decision(0, ENTERED, SENT), decision(1, REFUSED)])

    story = (await rig.get("/v1/customers/ana/explain")).json()

    assert [one["command"] for one in story["messages"]] == ["cmd-1"]
    assert story["refused"][0]["reason"] == "no_consent"
    assert "has not agreed" in story["refused"][0]["because"]
    assert story["complete"] is True


async def test_what_no_worker_has_written_is_passed_over(rig):
    rig.know(ana(), log=[(b"ana", NOW_MS, b"garbage"), (b"ana", NOW_MS, b"[]"), decision(1, SENT)])

    assert len((await rig.get("/v1/customers/ana/timeline")).json()["entries"]) == 1
    assert len((await rig.get("/v1/customers/ana/explain")).json()["moments"]) == 1


async def test_people_are_counted_per_step_and_version_also_of_a_journey_that_is_gone(rig):
    gone = Enrollment("gone#1", "gone", 4, None, 0, 0, Cause("/shop", "e"), step="somewhere")
    rig.know(ana(), Customer("ben", enrollments=(gone,)))

    journeys = {one["name"]: one for one in (await rig.get("/v1/journeys")).json()["journeys"]}

    (cart,) = journeys["cart_abandonment"]["versions"]
    assert cart["steps"] == [{"step": "an_hour", "people": 1}]
    assert cart["current"]
    assert journeys["gone"]["versions"][0] == {
        "version": 4,
        "current": False,
        "loaded": False,
        "people": 1,
        "steps": [{"step": "somewhere", "people": 1}],
    }
    assert journeys["welcome"]["versions"][0]["people"] == 0


async def test_a_journey_is_shown_with_its_definition_and_the_nearest_name_when_there_is_none(rig):
    found = (await rig.get("/v1/journeys/cart_abandonment")).json()
    unknown = await rig.get("/v1/journeys/cart_abandonmet")

    assert found["definition"]["name"] == "cart_abandonment"
    assert unknown.status_code == 404
    assert "cart_abandonment" in unknown.json()["detail"]


async def test_nothing_is_answered_about_customers_before_it_has_caught_up(rig):
    rig.know(ana())
    rig.model._feed.caught_up = False

    assert (await rig.get("/v1/customers/ana")).status_code == 503
    assert (await rig.get("/health/ready", token="")).status_code == 503
    assert (await rig.get("/health/live", token="")).status_code == 200


async def test_the_log_line_of_a_request_names_nobody(rig, caplog):
    canary = "canary-7f3a-canary"
    caplog.set_level(logging.DEBUG)
    lines = []
    import structlog

    structlog.configure(processors=[lambda _l, _m, event: lines.append(dict(event)) or str(event)])
    try:
        rig.know(Customer(canary))
        await rig.get(f"/v1/customers/{canary}", params={"after": canary})
        await rig.get(f"/v1/{canary}", headers={"x-after": canary})
        await rig.ask("POST", "/v1/events", content=orjson.dumps({"subject": canary}))
        await rig.ask(
            "POST",
            "/v1/track",
            json={"userId": canary, "messageId": canary, "event": canary, "timestamp": canary},
        )
    finally:
        structlog.reset_defaults()

    assert len([one for one in lines if one["event"] == "answered"]) == 4
    assert canary not in repr(lines)
    from prometheus_client import generate_latest

    assert canary not in generate_latest(rig.telemetry.registry).decode()
