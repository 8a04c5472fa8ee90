"""What owners tell each other over the forward topic, record by record."""

from __future__ import annotations

import orjson
import pytest

from bench.simulation.kafka import Record
from bench.simulation.shops import PARTITIONS
from orchestrator.core.customer import Attribute, Cause, Customer, Erased, Kin
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.core.event import Visit
from orchestrator.core.identity.notices import (
    INDEX_BYTE,
    AddressClaimed,
    AddressShared,
    MergeAsked,
    StateMoved,
)
from orchestrator.errors import EventRejected
from orchestrator.protocol.commit.group import HOPS_MAX, Limits, OpenGroup, Rules
from orchestrator.protocol.commit.held.contents import Contents
from orchestrator.protocol.commit.partition import CustomerPartition, Loaded
from orchestrator.protocol.commit.rounds import Rounds
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.protocol.forward.notices import is_notice, read_notice, write_notice
from orchestrator.protocol.forward.way import Forward, forward_headers, notice_headers
from orchestrator.protocol.home import home_partition
from orchestrator.protocol.outputs import Position
from tests.core.builders import START, journey, send, shop_of
from tests.protocol.simulated import NAMES

CAUSE = Cause("/shop", "login-1")
NOTICES = [
    MergeAsked("web-1", "ana", CAUSE),
    StateMoved("ana", Customer("web-1", now_ms=7), CAUSE),
    AddressClaimed("email", bytes(range(32)), "ana"),
    AddressClaimed("phone", bytes(32), "é", ended=True),
    AddressShared("ana", "phone", bytes(32), ("bea", "cleo")),
]
JOURNEYS = shop_of(
    journey("viewed", "product.viewed", [send("hello")], reentry="always"),
    journey("news", None, [send("news")], schedule={"cron": "0 10 * * *"}),
)


@pytest.mark.parametrize("notice", NOTICES, ids=lambda one: type(one).__name__)
def test_a_notice_is_read_as_it_was_written(notice):
    written = write_notice(notice)

    assert is_notice(written.headers)
    assert read_notice(written.key, written.value, notice_headers(written.headers, 3)) == notice


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"ana", b"", {}),
        (b"ana", b"", {"fw_kind": b"later"}),
        (b"ana", b"", {"fw_kind": b"merge"}),
        (b"\xff", b"", {"fw_kind": b"merge", "fw_source": b"", "fw_id": b"", "fw_into": b"x"}),
        (b"ana", b"", {"fw_kind": b"state", "fw_source": b"", "fw_id": b""}),
        (b"ana", b"\x09junk", {"fw_kind": b"state", "fw_source": b"", "fw_id": b""}),
        (b"ana", b"ana", {"fw_kind": b"claim", "fw_ended": b"0"}),
        (b"ana", b"\xc1", {"fw_kind": b"shared", "fw_by": b"email", "fw_sha256": b""}),
    ],
)
def test_what_is_no_notice_of_this_release_is_a_dead_letter(key, value, headers):
    with pytest.raises(EventRejected, match="schema"):
        read_notice(key, value, list(headers.items()))


class Home:
    """The home partition of a customer, and a group that decides there."""

    def __init__(self, customer, states, *, state_bytes_max=100_000):
        self.index = home_partition(customer.encode(), PARTITIONS)
        limits = Limits(event_bytes_max=100_000, state_bytes_max=state_bytes_max)
        self.group = OpenGroup(Rules(JOURNEYS, NAMES, limits, lambda: 0.0))
        encoded = {one.id.encode(): encode_customer(one) for one in states}
        rounds = Rounds(JOURNEYS, {}, partitions=1)
        loaded = Loaded(Contents.of(encoded), None, {})
        self.partition = CustomerPartition(self.index, loaded, rounds, monotonic_ms=0)

    def take(self, key, value, headers=(), *, topic=NAMES.forward):
        record = Record(0, START, key, value, tuple(headers))
        source = TopicPartition(topic, self.index)
        self.group.add_record(self.partition, source, record, now_ms=START)

    def take_notice(self, notice, hops=1):
        written = write_notice(notice)
        self.take(written.key, written.value, notice_headers(written.headers, hops))

    def sent(self, topic):
        return [
            output
            for place, outputs in self.group.outputs.items()
            if place.topic == topic
            for output in outputs
        ]


def viewed(customer):
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": "v1",
            "source": "/shop",
            "type": "product.viewed",
            "subject": customer,
            "time": "2026-11-22T10:00:00Z",
            "data": {"sku": "tent"},
        }
    )


def pointer(one, survivor):
    home = Home(one, [Customer(one)])
    home.take_notice(MergeAsked(one, survivor, CAUSE))
    home.group.seal_states({home.index: home.partition})
    return decode_customer(home.partition.states[one.encode()])


def marks(output):
    return {name: value.decode() for name, value in output.headers}


def test_an_event_for_an_absorbed_id_goes_on_under_the_survivors_key_with_its_own_subject():
    home = Home("web-1", [pointer("web-1", "ana")])
    home.take(b"web-1", viewed("web-1"), topic="touchpoints")

    (sent,) = home.sent(NAMES.forward)
    assert (sent.key, sent.value) == (b"ana", viewed("web-1"))
    assert marks(sent)["fw_hops"] == "1"
    assert marks(sent)["fw_topic"] == "touchpoints"
    assert home.sent(NAMES.journey_log) == []
    assert home.group.stats.forwards == {("merge",): 1}

    ana = Home("ana", [])
    ana.take(sent.key, sent.value, sent.headers)
    (log,) = ana.sent(NAMES.journey_log)
    document = orjson.loads(log.value)
    assert (document["customer"], document["cause"]["subject"]) == ("ana", "web-1")


def test_an_event_that_an_absorbed_id_was_made_to_forget_is_sent_to_nobody():
    erased = Erased(at_ms=START)
    home = Home("web-1", [Customer("web-1", sequence=3, kin=Kin("ana"), erased=erased)])

    home.take(b"web-1", viewed("web-1"), topic="touchpoints")

    assert home.sent(NAMES.forward) == []
    (noted,) = home.sent(NAMES.journey_log)
    assert orjson.loads(noted.value)["outcome"] == "ignored"


def test_an_event_is_not_sent_on_for_ever():
    home = Home("web-1", [pointer("web-1", "ana")])
    origin = Position("touchpoints", 0, 4, START)
    for hops in (HOPS_MAX - 1, HOPS_MAX):
        headers = forward_headers([("x", b"1")], Forward(origin, hops))
        home.take(b"web-1", viewed("web-9"), headers)

    assert [marks(one)["fw_hops"] for one in home.sent(NAMES.forward)] == [str(HOPS_MAX)]
    (letter,) = home.sent(NAMES.dead_letters)
    assert letter.key == b"web-9"  # A replay has to find key and subject equal.
    assert marks(letter)["dl_reason"] == "too_many_hops"
    assert marks(letter)["dl_topic"] == "touchpoints"
    assert "fw_hops" not in marks(letter)


def test_a_notice_is_not_sent_on_for_ever():
    home = Home("web-1", [pointer("web-1", "ana")])
    moved = StateMoved("web-1", Customer("web-2", now_ms=3), CAUSE)
    home.take_notice(moved, hops=HOPS_MAX)

    (letter,) = home.sent(NAMES.dead_letters)
    assert marks(letter)["dl_reason"] == "too_many_hops"
    assert read_notice(letter.key, letter.value, letter.headers) == moved


def test_a_merge_asked_of_a_pointer_is_asked_of_where_it_points():
    home = Home("web-2", [pointer("web-2", "web-1")])
    home.take_notice(MergeAsked("web-2", "ana", CAUSE), hops=2)

    (sent,) = home.sent(NAMES.forward)
    assert read_notice(sent.key, sent.value, sent.headers) == MergeAsked("web-1", "ana", CAUSE)
    assert marks(sent)["fw_hops"] == "3"


def test_a_merge_that_was_made_leaves_only_a_note():
    home = Home("web-1", [pointer("web-1", "ana")])
    home.take_notice(MergeAsked("web-1", "ana", CAUSE))

    assert home.sent(NAMES.forward) == []
    (log,) = home.sent(NAMES.journey_log)
    assert orjson.loads(log.value)["outcome"] == "duplicate"


def test_a_state_that_does_not_fit_is_kept_whole_where_a_replay_finds_it():
    large = Attribute("x" * 3_000, START, "/shop", "p1")
    moved = StateMoved("ana", Customer("web-1", now_ms=3, attributes={"story": large}), CAUSE)
    home = Home("ana", [Customer("ana")], state_bytes_max=2_000)
    home.take_notice(moved)
    home.group.seal_states({home.index: home.partition})

    (letter,) = home.sent(NAMES.dead_letters)
    assert marks(letter) | {"dl_reason": "state_too_large", "dl_topic": NAMES.forward} == marks(
        letter
    )
    assert home.sent(NAMES.changelog) == []
    roomy = Home("ana", [Customer("ana")])
    roomy.take(letter.key, letter.value, letter.headers)
    roomy.group.seal_states({roomy.index: roomy.partition})
    assert decode_customer(roomy.partition.states[b"ana"]).attributes == {"story": large}


def test_nobody_visits_a_pointer():
    home = Home("web-1", [pointer("web-1", "ana")])
    home.group.add_visit(home.partition, b"web-1", Visit("news", 1, START), now_ms=START)

    assert home.sent(NAMES.journey_log) == []
    assert home.group.stats.visits == {}


def test_an_index_of_an_address_is_state_and_nobody():
    digest = bytes(32)
    first = AddressClaimed("email", digest, "ana")
    key = first.key
    home = Home("ana", [])
    home.index = home.partition.index = home_partition(key, PARTITIONS)
    home.take_notice(first)
    home.take_notice(AddressClaimed("email", digest, "bea"))
    home.group.seal_states({home.index: home.partition})

    (told,) = home.sent(NAMES.forward)
    shared = AddressShared("bea", "email", digest, ("ana",))
    assert read_notice(told.key, told.value, told.headers) == shared
    assert list(home.partition.states) == [key]
    assert key[:1] == INDEX_BYTE
    loaded = CustomerPartition(
        home.index,
        Loaded(Contents.of(home.partition.states), None, {}),
        Rounds(JOURNEYS, {}, partitions=1),
        monotonic_ms=0,
    )
    assert (loaded.customers, loaded.contents.indexes, len(loaded.waits)) == (0, 1, 0)
    loaded.contents.check_formats()
    assert loaded.rounds.next_visit(loaded.states, (), START + 86_400_000 * 2) is None

    for customer in ("ana", "bea"):
        home.take_notice(AddressClaimed("email", digest, customer, ended=True))
    home.group.seal_states({home.index: home.partition})
    assert home.partition.states == {}
    assert home.partition.contents.state_bytes == 0
    assert home.sent(NAMES.changelog)[-1].value is None
