"""Events come in checked as a worker checks them, and what is refused names its field and index."""

import orjson
import pytest

from orchestrator.api.collectors import Identify, Track, event_of_track, events_of_identify
from orchestrator.api.ingest import Unavailable
from orchestrator.api.model.effects import Position, positions_of
from orchestrator.api.tokens import Scope, line_of
from orchestrator.protocol.codec import decode_event
from tests.api.process import SENDER
from tests.api.rig import Rig
from tests.runtime.deployment import purchase

ERASER = "erase-" + "e" * 40
BATCH = {"content-type": "application/cloudevents-batch+json"}


class Written:
    """Stands where the broker would: keeps what is written, or says that it is away."""

    def __init__(self):
        self.events = []
        self.away = False

    async def accept(self, events):
        if self.away:
            raise Unavailable
        first = len(self.events)
        self.events += events
        return [Position("touchpoints", 0, first + at) for at in range(len(events))]


@pytest.fixture
def rig(tmp_path, monkeypatch):
    tokens = "\n".join(
        (
            line_of("sender", [Scope.INGEST], SENDER),
            line_of("eraser", [Scope.INGEST, Scope.ERASE], ERASER),
        )
    )
    one = Rig(tmp_path, tokens=tokens)
    one.written = Written()
    monkeypatch.setattr(one.api.ingest, "accept", one.written.accept)
    return one


async def post(rig, path, document, *, token=SENDER, headers=None):
    content = document if isinstance(document, bytes) else orjson.dumps(document)
    headers = {"content-type": "application/json"} | (headers or {})
    return await rig.ask("POST", path, token=token, content=content, headers=headers)


async def test_one_event_is_accepted_with_a_receipt_of_where_it_stands(rig):
    answer = await post(rig, "/v1/events", purchase("ana"))

    assert answer.status_code == 202
    assert positions_of(answer.json()["receipt"]) == [Position("touchpoints", 0, 0)]
    assert rig.written.events[0].event.subject == "ana"


async def test_a_batch_is_written_in_its_order_with_one_receipt(rig):
    batch = [purchase("ana", f"o{number}") for number in range(5)]

    answer = await post(rig, "/v1/events", batch, headers=BATCH)

    assert answer.json()["accepted"] == 5
    assert [one.event.data["order_id"] for one in rig.written.events] == [
        f"o{number}" for number in range(5)
    ]
    assert len(positions_of(answer.json()["receipt"])) == 5


async def test_of_a_batch_the_good_ones_are_accepted_and_each_bad_one_names_field_and_index(rig):
    lacking = purchase("ana")
    del lacking["data"]["order_id"]
    batch = [purchase("ben"), lacking, "nothing", purchase("eva") | {"time": "yesterday"}]

    answer = await post(rig, "/v1/events", batch)

    assert answer.status_code == 207
    found = answer.json()
    assert (found["accepted"], found["rejected"]) == (1, 3)
    assert [one["status"] for one in found["results"]] == [202, 422, 422, 422]
    fields = [one["errors"][0]["field"] for one in found["results"][1:]]
    assert fields == ["events[1].data.order_id", "events[2]", "events[3].time"]
    assert len(rig.written.events) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"specversion": "0.3"}, "event.specversion"),
        ({"id": ""}, "event.id"),
        ({"subject": "ä" * 200}, "event.subject"),
        ({"time": "2026-02-30T00:00:00Z"}, "event.time"),
        ({"data": []}, "event.data"),
        ({"data": {"order_id": "1"}}, "event.data"),
        ({"backfill": "perhaps"}, "event.backfill"),
    ],
)
async def test_what_is_wrong_with_one_event_is_told_by_its_field(rig, change, field):
    answer = await post(rig, "/v1/events", purchase("ana") | change)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"].startswith(field)
    assert rig.written.events == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"NaN", "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"[{}]", "application/cloudevents+json", 415),
        (b'"\xff"', "application/json", 422),
        (orjson.dumps([{}] * 1_001), "application/json", 422),
        (b" " * 2_000_001, "application/json", 413),
    ],
)
async def test_a_body_that_is_no_event_is_a_problem_and_never_a_failure(rig, body, kind, status):
    answer = await post(rig, "/v1/events", body, headers={"content-type": kind})

    assert answer.status_code == status
    assert answer.json()["status"] == status


async def test_an_event_over_the_limit_of_events_is_told(rig):
    answer = await post(rig, "/v1/events", purchase("ana") | {"note": "x" * 1_100_000})

    assert answer.status_code == 422
    assert "limit" in answer.text


async def test_a_broker_that_does_not_answer_is_a_503_that_asks_to_come_again(rig):
    rig.written.away = True

    answer = await post(rig, "/v1/events", purchase("ana"))

    assert answer.status_code == 503
    assert answer.headers["retry-after"]


async def test_an_erasure_needs_its_own_scope(rig):
    erased = purchase("ana") | {"type": "customer.erased", "data": {}}

    refused = await post(rig, "/v1/events", erased)
    taken = await post(rig, "/v1/events", erased, token=ERASER)

    assert refused.status_code == 422
    assert "scope erase" in refused.text
    assert taken.status_code == 202


async def test_an_event_without_a_time_gets_that_of_its_acceptance(rig):
    event = purchase("ana")
    del event["time"]

    await post(rig, "/v1/events", event)

    assert abs(rig.written.events[0].event.time_ms - rig.model.now_ms()) < 60_000


async def test_a_track_is_written_as_the_event_that_the_contract_has_a_word_for(rig):
    order = {
        "userId": "ana",
        "messageId": "m-1",
        "timestamp": "2026-11-22T10:00:00.000Z",
        "event": "Order Completed",
        "properties": {
            "order_id": "1001",
            "total": 129,
            "currency": "EUR",
            "products": [{"product_id": "tent-2", "quantity": 1, "price": 129}],
        },
    }

    answer = await post(rig, "/v1/track", order)

    assert answer.status_code == 202, answer.text
    (written,) = rig.written.events
    assert written.event.type == "purchase"
    assert written.event.data["items"][0]["sku"] == "tent-2"


async def test_a_track_that_lacks_what_its_event_needs_is_refused_by_field(rig):
    said = {"userId": "ana", "messageId": "m-1", "event": "Product Viewed", "properties": {}}

    answer = await post(rig, "/v1/track", said)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "event.data.sku"


async def test_nobody_is_refused(rig):
    answer = await post(rig, "/v1/identify", {"messageId": "m-1", "traits": {}})

    assert answer.status_code == 422
    assert "userId" in answer.text


def as_events(documents):
    return [
        decode_event(None, orjson.dumps(one), (), event_bytes_max=10_000, record_time_ms=0)
        for one in documents
    ]


def test_an_identify_says_who_the_visitor_is_and_what_is_known():
    said = Identify(userId="ana", anonymousId="web-1", messageId="m-1", traits={"country": "ES"})

    identified, updated = as_events(events_of_identify(said))

    assert identified.data == {"anonymous_id": "web-1", "customer_id": "ana"}
    assert updated.data == {"attributes": {"country": "ES"}}
    assert {identified.subject, updated.subject} == {"ana"}
    assert identified.identity != updated.identity


def test_the_same_message_always_gives_the_same_events():
    said = Identify(userId="ana", anonymousId="web-1", messageId="m-1", traits={"a": 1})

    once, again = as_events(events_of_identify(said)), as_events(events_of_identify(said))

    assert [(one.identity, one.body) for one in once] == [(one.identity, one.body) for one in again]


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("Order Completed", "purchase"),
        ("order_cancelled", "order.cancelled"),
        ("cart.abandoned", "cart.abandoned"),
        ("Newsletter Popup Closed", "track.Newsletter Popup Closed"),
    ],
)
def test_a_name_becomes_the_type_that_is_known_for_it_else_keeps_its_own(name, event_type):
    said = Track(anonymousId="web-1", messageId="m-1", event=name)

    assert event_of_track(said)["type"] == event_type
    assert event_of_track(said)["subject"] == "web-1"
