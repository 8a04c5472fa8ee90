"""What the topics hold of one customer: what is found, what may stay, and until when the rest."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

import orjson
import pytest

from orchestrator.core.customer import (
    AnsweredHours,
    Customer,
    Erased,
    FenceEntry,
    Habits,
    Kin,
    Response,
)
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.rules.erasure import EVERY_ENROLLMENT
from orchestrator.protocol.outputs import encode_fence
from orchestrator.protocol.privacy.account import account_of
from orchestrator.protocol.privacy.holdings import Kept, Live, judge_fence, judge_state
from orchestrator.protocol.privacy.needles import ABSORBED, ID, Needles
from tests.core.builders import DAY, START, Story, event, item, journey, send, shop_of, wait

MAIL = "ana@shop.example"
ANA = Needles("ana", [MAIL])


class Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = START


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b'{"subject":"ana"}', {ID}),
        (b"\x93\xa3ana\x01", {ID}),
        (b"banana ana_1 Montana", set()),
        (MAIL.encode(), {"--also 1", ID}),
        (sha256(MAIL.encode()).hexdigest().upper().encode(), {"--also 1"}),
        (b"", set()),
        (None, set()),
    ],
)
def test_an_id_is_a_word_and_a_mail_address_is_found_anywhere_also_as_its_digest(value, found):
    assert ANA.found_in(value) == found


def test_a_text_is_found_as_json_escapes_it_and_in_headers():
    needles = Needles("zoë/1", ["Łukasz"])

    assert needles.found_in(orjson.dumps({"a": "zoë/1"})) == {ID}
    assert needles.found_in(b'{"a":"zo\\u00eb/1"}') == {ID}
    assert needles.found_in_record(None, b"x", [("who", "Łukasz".encode())]) == {"--also 1"}


def test_an_id_so_long_that_its_length_looks_like_a_letter_is_found_in_a_state():
    long_id = "c" * 65  # MessagePack writes its length as the byte of "A".
    value = encode_customer(Customer("ben", asked={"friend": long_id}))

    assert Needles(long_id).found_in(value) == {ID}


def verdict(*records: Record, judge=judge_state, needles=ANA):
    search = Live("changelog", needles, judge)
    for record in records:
        search.take(record)
    return search.verdict({})


def marker(**fields) -> bytes:
    return encode_customer(Customer("ana", sequence=7, erased=Erased(START, 2), **fields))


def test_a_marker_may_stay_and_older_records_go_with_the_next_compaction():
    state = encode_customer(Customer("ana", seen=b"x" * 12))

    holding = verdict(Record(b"ana", state), Record(b"ben", b"x"), Record(b"ana", marker()))

    assert holding.clean
    assert holding.lines == (
        "the marker, erased as of 2026-11-22T10:00:00Z, and no more",
        "1 older record of theirs until the next compaction",
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (encode_customer(Customer("ana")), "was not erased"),
        (marker(seen=b"x" * 12), "a new life"),
        (marker(asked={"mail": MAIL}), "it holds --also 1"),
        (b"\x09 a newer release's", "cannot read"),
    ],
)
def test_more_than_the_marker_is_told(value, says):
    holding = verdict(Record(b"ana", value))

    assert not holding.clean
    assert says in holding.lines[0]


def test_another_customers_live_record_with_the_address_is_told_until_it_changes():
    with_it = Record(b"ben", b'{"friend":"ana@shop.example"}')

    assert not verdict(with_it).clean
    assert verdict(with_it, Record(b"ben", b"{}")).clean
    assert verdict(with_it, Record(b"ben", None)).clean


def test_a_word_of_an_author_that_is_also_an_id_is_told_and_may_stay():
    holding = verdict(Record(b"journey/x", b'{"by":"ana"}'), judge=None)

    assert holding.clean
    assert holding.lines == ("the record of 'journey/x' has the id as a word",)


def test_the_fences_of_an_erasure_may_stay_and_others_not():
    entry = FenceEntry("cart/c1#1", START, 3, START + DAY)
    everything = FenceEntry(EVERY_ENROLLMENT, START, 3, START + DAY)

    told = verdict(Record(b"ana", encode_fence([entry, everything])), judge=judge_fence)
    left = verdict(Record(b"ana", encode_fence([entry])), judge=judge_fence)
    named = FenceEntry(f"cart/{MAIL}#1", START, 3, START + DAY)
    mailed = verdict(Record(b"ana", encode_fence([named, everything])), judge=judge_fence)

    assert (told.clean, left.clean, mailed.clean) == (True, False, False)
    assert "2026-11-23T10:00:00.000Z" in told.lines[0]


ALSO_WEB = Needles("ana", [MAIL], ["web-1", "web-2"])


def test_an_id_that_was_merged_into_the_customer_is_looked_for_as_a_word_too():
    assert ALSO_WEB.found_in(b'{"subject":"web-1"}') == {ABSORBED}
    assert ALSO_WEB.found_in(b'["web-2","ana"]') == {ABSORBED, ID}
    assert ALSO_WEB.found_in(b"web-12 web-1x") == set()


def test_a_pointer_of_an_absorbed_id_may_stay_and_its_state_not():
    pointer = encode_customer(Customer("web-1", sequence=3, kin=Kin("ana")))
    chained = encode_customer(Customer("web-9", kin=Kin("web-2")))
    whole = encode_customer(Customer("web-1"))

    may_stay = verdict(
        Record(b"ana", marker()),
        Record(b"web-1", pointer),
        Record(b"web-9", chained),
        needles=ALSO_WEB,
    )

    assert may_stay.clean
    assert may_stay.lines[1:] == (
        "a pointer of 'web-1', which was absorbed into it",
        "a pointer of 'web-9', which was absorbed into it",
    )
    assert not verdict(Record(b"web-1", whole), needles=ALSO_WEB).clean


def test_fences_under_an_absorbed_id_are_told_with_their_end():
    entry = FenceEntry("cart/c1#1", START, 3, START + DAY)
    named = FenceEntry(f"cart/{MAIL}#1", START, 3, START + DAY)

    told = verdict(Record(b"web-1", encode_fence([entry])), judge=judge_fence, needles=ALSO_WEB)
    mailed = verdict(Record(b"web-1", encode_fence([named])), judge=judge_fence, needles=ALSO_WEB)
    gone = verdict(
        Record(b"web-1", encode_fence([entry])),
        Record(b"web-1", None),
        judge=judge_fence,
        needles=ALSO_WEB,
    )

    assert told.clean
    assert "2026-11-23T10:00:00.000Z, under 'web-1'" in told.lines[0]
    assert not mailed.clean
    assert gone.lines == ("1 older record of theirs until the next compaction",)


@pytest.mark.parametrize(
    ("config", "until"),
    [
        ({"retention.ms": str(DAY)}, "kept until 2026-11-23T10:00:00Z (the oldest) to 2026-11-25"),
        ({"retention.ms": "-1"}, "kept for ever"),
        ({}, "kept for ever"),
    ],
)
def test_what_a_topic_keeps_is_told_with_its_end(config, until):
    kept = Kept("touchpoints", ANA)
    kept.take(Record(b"ana", b"1"))
    kept.take(Record(b"ben", b"2"))
    kept.take(Record(None, b'{"subject":"ana"}', timestamp_ms=START + 2 * DAY))

    holding = kept.verdict(config)

    assert (holding.clean, holding.records) == (True, 3)
    assert holding.lines[0].startswith("2 records with the id: ")
    assert until in holding.lines[0]


def test_the_account_tells_everything_and_is_json():
    steps = [send("mail"), {"id": "t", "task": {"template": "call"}}, wait("w", "1d")]
    story = Story(shop_of(journey("cart", "cart.abandoned", steps, key="event.data.cart_id")))
    story.tell(
        event("profile.updated", "p", attributes={"email": MAIL}),
        event(
            "consent.updated", "c", channel="email", granted=True, proof="x", **{"class": "service"}
        ),
        event("purchase", "o", order_id="1", items=[item("tent", category="outdoor")]),
        event("cart.abandoned", "a", cart_id="c1"),
    )

    account = orjson.loads(orjson.dumps(account_of(story.customer, story.now)))

    assert account["status"] == "known"
    assert account["profile"]["email"] == {
        "value": MAIL, "time": "2026-11-22T10:00:00.000Z", "source": "/shop", "event": "p"
    }  # fmt: skip
    assert [one["granted"] for one in account["consents"]] == [True]
    assert account["orders"][0]["items"][0]["category"] == "outdoor"
    (enrollment,) = account["enrollments"]
    assert (enrollment["enrollment"], enrollment["step"]) == ("cart/c1#1", "w")
    assert [one["kind"] for one in enrollment["not_final"]] == ["message", "task"]
    story.tell(event("customer.erased", "e", at=story.now))
    gone = account_of(story.customer, story.now)
    assert gone["status"] == "erased"
    assert not any((gone["profile"], gone["orders"], gone["enrollments"], gone["consents"]))


def test_the_account_tells_what_was_learned_of_ids_that_are_this_customer_too():
    hours = AnsweredHours(9, (0).to_bytes(2, "big") * 20 + (7).to_bytes(2, "big") + bytes(6))
    habits = Habits(START, hours, {"email": Response(300, 20_000)})
    customer = Customer("ana", kin=Kin(absorbed={"web-1": START}, habits={"web-1": habits}))

    reach = orjson.loads(orjson.dumps(account_of(customer, START)))["reach"]

    assert reach["under_other_ids"] == {
        "web-1": {
            "until": "2026-11-22T10:00:00.000Z",
            "responses": {"email": {"score": 300, "day": "2024-10-04"}},
            "hours": {"20": 7},
        }
    }
    assert (reach["responses"], reach["hours"]) == ({}, None)


def test_the_account_tells_every_message_that_asked_for_an_attribute():
    customer = Customer("ana", asked={"size": "m2"}, kin=Kin(asked=(("size", "m1"),)))

    assert account_of(customer, START)["questions_asked"] == {"size": ["m1", "m2"]}


def test_the_account_names_every_part_of_the_state():
    """A field that somebody adds to the state is a decision about the account too."""
    told = {
        "id", "sequence", "attributes", "orders", "enrollments", "memories", "exits", "watches",
        "asked", "contact", "promises", "hours", "erased", "kin",
    }  # fmt: skip
    # Digests of events, the bound of time, what senders are told, what derived attributes are
    # summed up from (the attributes are told), and what nobody here can read.
    untold = {
        "now_ms", "seen", "seen_times", "business", "fence", "extensions", "earned", "derived",
    }  # fmt: skip

    assert set(Customer.__struct_fields__) == told | untold
