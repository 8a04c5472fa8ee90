"""What the feed makes of records, and who writes it."""

import asyncio
import threading
from types import SimpleNamespace

import orjson
import pytest
from aiokafka import TopicPartition

from orchestrator.api.model.feed import Feed, Sources
from orchestrator.api.model.store import Batch, DeadLetter
from orchestrator.api.telemetry import Telemetry
from orchestrator.core.customer import Customer, Kin
from orchestrator.core.encoded.state import encode_customer
from tests.api.rig import BOUNDS, IDENTITY, NOW_MS
from tests.api.test_customers import ENTERED, SENT, decision


def feed():
    sources = Sources("changelog", "journey-log", "dead-letters", 8)
    return Feed({}, sources, BOUNDS, Telemetry())


def logged(*decisions):
    return [SimpleNamespace(key=key, timestamp=at, value=value) for key, at, value in decisions]


def test_who_is_erased_has_no_past_in_the_timeline(tmp_path):
    from orchestrator.api.model.store import Store

    store, one = Store(tmp_path, IDENTITY, BOUNDS), feed()
    one.store = store
    erasure = decision(2, event_type="customer.erased")
    for decisions in ([decision(0, ENTERED)], [decision(1, SENT), erasure, decision(3, ENTERED)]):
        batch = Batch()
        one._take_log(batch, [], 2, logged(*decisions))
        store.apply(batch, now_ms=NOW_MS)

    kept = [entry.record for entry in store.timeline([b"ana"], before=None, limit=9)]

    assert kept == [decision(3, ENTERED)[2], erasure[2]]
    store.close()


def test_who_is_erased_has_no_past_under_an_absorbed_id_either(tmp_path):
    from orchestrator.api.model.store import Store

    store, one = Store(tmp_path, IDENTITY, BOUNDS), feed()
    one.store = store
    web = decision(0, ENTERED)
    batch = Batch()
    batch.customers[b"ana"] = encode_customer(Customer("ana", kin=Kin(absorbed={"web-1": 1})))
    batch.timeline = [(b"web-1", *web[1:]), (b"ben", *web[1:])]
    store.apply(batch, now_ms=NOW_MS)
    batch = Batch()
    one._take_log(batch, [], 2, logged(decision(2, event_type="customer.erased")))
    store.apply(batch, now_ms=NOW_MS)

    assert store.timeline([b"web-1"], before=None, limit=9) == []
    assert len(store.timeline([b"ben"], before=None, limit=9)) == 1
    store.close()


def test_an_erasure_that_changed_nothing_takes_nothing():
    batch = Batch()

    feed()._take_log(
        batch,
        [],
        2,
        logged(
            decision(0, ENTERED), decision(1, event_type="customer.erased", outcome="duplicate")
        ),
    )

    assert batch.erased == set()
    assert len(batch.timeline) == 2


def test_of_a_changelog_the_newest_state_counts_and_records_about_partitions_are_no_customers():
    states = [encode_customer(Customer("ana", sequence=number)) for number in range(2)]
    pairs = [(b"ana", states[0]), (b"ana", states[1]), (b"ben", None), (b"\xffjourneys", b"x")]
    pairs.append((b"\xfeaddress", b"x"))
    records = [SimpleNamespace(key=key, value=value) for key, value in pairs]
    batch = Batch()

    feed()._take_states(batch, 2, records)

    assert batch.customers == {b"ana": states[1], b"ben": None}


def test_a_dead_letter_is_known_by_where_its_record_stood_first():
    headers = [
        ("dl_offset", b"99999"),  # A producer's own header of that name.
        ("dl_reason", b"schema"),
        ("dl_detail", b"time: is missing"),
        ("dl_topic", b"touchpoints"),
        ("dl_partition", b"3"),
        ("dl_offset", b"17"),
    ]
    records = [
        SimpleNamespace(headers=headers, timestamp=NOW_MS),
        SimpleNamespace(headers=[("dl_topic", None)], timestamp=NOW_MS),
    ]
    batch = Batch()

    feed()._take_dead_letters(batch, records)

    letter = DeadLetter("schema", "time: is missing")
    assert batch.dead_letters == {("touchpoints", 3, 17): (NOW_MS, letter)}


@pytest.fixture
def writing(tmp_path):
    """Return a feed over a store that notes who writes, and a function that hands it decisions."""
    from orchestrator.api.model.effects import Effects
    from orchestrator.api.model.store import Store

    written = []

    class Noting(Store):
        def apply(self, batch, *, now_ms):
            written.append((threading.get_ident() == loop_thread, list(steps)))
            super().apply(batch, now_ms=now_ms)

    async def position(_place):
        return 1

    async def take(*decisions):
        fetched = {TopicPartition("journey-log", 2): logged(*decisions)}
        await one._take(SimpleNamespace(position=position), fetched)

    one, loop_thread, steps = feed(), threading.get_ident(), []
    one.store, one.effects = Noting(tmp_path, IDENTITY, BOUNDS), Effects({}, {})
    one._progress.stands(TopicPartition("journey-log", 2), 0, now_ms=NOW_MS)
    yield one, take, written, steps
    one.store.close()


async def test_a_thread_fills_the_file_and_the_loop_keeps_it(writing):
    """Beside a busy loop a thread takes a hundred times as long for a batch."""
    one, take, written, _ = writing

    await take(decision(0, ENTERED))
    one.caught_up = True
    await take(decision(1, SENT))

    assert [by_the_loop for by_the_loop, _ in written] == [False, True]


async def test_an_answer_does_not_wait_for_the_file(writing):
    one, take, written, steps = writing
    one.caught_up = True
    asked = decision(0, ENTERED)
    cause = orjson.loads(asked[2])["cause"]

    async def wait():
        with one.answers.expected(cause["source"], cause["id"]) as future:
            waiting.set()
            await future
            steps.append("answered")

    waiting = asyncio.Event()
    waiter = asyncio.create_task(wait())
    await waiting.wait()
    await take(asked)
    await waiter

    assert written == [(True, ["answered"])]
