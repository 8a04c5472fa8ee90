"""The file holds what the topics say, whatever happens to the process in between."""

import random
import sqlite3
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.api.model.store import Batch, Bounds, DeadLetter, Identity, Store
from orchestrator.core.customer import Cause, Customer, Enrollment
from orchestrator.core.encoded.state import decode_customer, encode_customer
from orchestrator.errors import UsageError

IDENTITY = Identity("cluster-1", "app-customers-changelog", 8)
BOUNDS = Bounds(timeline_ms=1_000, entries_max=10)
NOW_MS = 1_795_348_800_000


def standing(customer, *steps):
    """Return an encoded customer who stands in these steps of one journey."""
    enrollments = tuple(
        Enrollment(f"welcome#{at}", "welcome", 1, None, 0, 0, Cause("/shop", "e"), step=step)
        for at, step in enumerate(steps)
    )
    return encode_customer(Customer(customer, enrollments=enrollments))


@pytest.fixture
def store(tmp_path):
    one = Store(tmp_path, IDENTITY, BOUNDS)
    yield one
    one.close()


def test_what_was_applied_is_there_after_opening_again(tmp_path):
    store = Store(tmp_path, IDENTITY, BOUNDS)
    batch = Batch(
        customers={b"ana": standing("ana", "first")},
        timeline=[(b"ana", NOW_MS, b"{}")],
        dead_letters={("touchpoints", 1, 7): (NOW_MS, DeadLetter("schema", "time: is missing"))},
        causes={("touchpoints", 1): 9},
        decided={1: {"touchpoints": 10}},
        positions={("journey-log", 1): 4},
    )
    store.apply(batch, now_ms=NOW_MS)
    store.close()

    again = Store(tmp_path, IDENTITY, BOUNDS)

    assert again.rebuilt is None
    assert again.state(b"ana") == standing("ana", "first")
    assert [one.record for one in again.timeline([b"ana"], before=None, limit=5)] == [b"{}"]
    assert again.dead_letter("touchpoints", 1, 7) == DeadLetter("schema", "time: is missing")
    assert again.dead_letter("touchpoints", 1, 8) is None
    assert again.causes() == {("touchpoints", 1): 9}
    assert again.decided() == {1: {"touchpoints": 10}}
    assert again.positions() == {("journey-log", 1): 4}
    assert again.people() == {("welcome", 1, "first"): 1}
    again.close()


def test_a_batch_that_fails_leaves_no_trace(store):
    store.apply(Batch(positions={("log", 0): 1}), now_ms=NOW_MS)
    broken = Batch(
        customers={b"ana": standing("ana", "first")},
        timeline=[(b"ana", "not a number", object())],
        positions={("log", 0): 2},
    )

    with pytest.raises(sqlite3.Error):
        store.apply(broken, now_ms=NOW_MS)

    assert store.state(b"ana") is None
    assert store.people() == {}
    assert store.positions() == {("log", 0): 1}


PEOPLE = st.dictionaries(
    st.sampled_from([b"ana", b"ben", b"eva"]),
    st.none() | st.lists(st.sampled_from(["first", "second", None]), max_size=3),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(PEOPLE, max_size=6))
def test_people_per_step_are_those_of_the_states_that_are_held(tmp_path_factory, batches):
    store = Store(tmp_path_factory.mktemp("store"), IDENTITY, BOUNDS)
    held = {}
    for batch in batches:
        states = {
            customer: None if steps is None else standing(customer.decode(), *steps)
            for customer, steps in batch.items()
        }
        store.apply(Batch(customers=states), now_ms=NOW_MS)
        held |= batch

    counted = {}
    for steps in held.values():
        for step in steps or ():
            if step is not None:
                place = ("welcome", 1, step)
                counted[place] = counted.get(place, 0) + 1
    assert store.people() == counted
    assert store.customers() == sum(steps is not None for steps in held.values())
    store.close()


FEEDER = """
import sys
from pathlib import Path
from orchestrator.api.model.store import Batch, Bounds, Identity, Store
from orchestrator.core.customer import Cause, Customer, Enrollment
from orchestrator.core.encoded.state import encode_customer

store = Store(Path(sys.argv[1]), Identity("c", "log", 1), Bounds(10**15, 10**6))
at = store.positions().get(("log", 0), 0)
print("feeding", flush=True)
while True:
    name = f"c{at % 7}"
    here = Enrollment("j#1", "j", 1, None, 0, 0, Cause("/s", "e"), step=f"s{at % 3}")
    state = encode_customer(Customer(name, sequence=at, enrollments=(here,)))
    store.apply(
        Batch(
            customers={name.encode(): state},
            timeline=[(name.encode(), at, str(at).encode())],
            positions={("log", 0): at + 1},
        ),
        now_ms=at,
    )
    at += 1
"""


@pytest.mark.timeout(300)
def test_killed_at_any_point_data_and_positions_are_those_of_one_moment(tmp_path):
    """Every record has a number, and the position says how many there are."""
    dice, reached = random.Random(3), 0
    for _ in range(12):
        command = [sys.executable, "-c", FEEDER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"feeding\n"
            time.sleep(dice.uniform(0.02, 0.2))
            child.kill()
        store = Store(tmp_path, Identity("c", "log", 1), Bounds(10**15, 10**6))
        after = store.positions().get(("log", 0), 0)
        numbers = sorted(
            int(one.record)
            for customer in range(7)
            for one in store.timeline([f"c{customer}".encode()], before=None, limit=10**6)
        )
        newest = {at % 7: at for at in range(max(0, after - 7), after)}
        states = {one: decode_customer(store.state(f"c{one}".encode())) for one in newest}
        assert store.rebuilt is None
        assert numbers == list(range(after)), "nothing is lost and nothing is there twice"
        assert {one: state.sequence for one, state in states.items()} == newest
        assert sum(store.people().values()) == store.customers() == len(newest)
        store.close()
        reached = after

    assert reached > 100, "it was killed while it fed"


def test_a_timeline_keeps_the_newest_entries_of_a_customer(store):
    for number in range(25):
        store.apply(
            Batch(
                timeline=[(b"ana", NOW_MS, b"%d" % number), (b"ben", NOW_MS, b"x")][
                    : 1 + (number < 3)
                ]
            ),
            now_ms=NOW_MS,
        )

    kept = [int(one.record) for one in store.timeline([b"ana"], before=None, limit=100)]

    assert kept == list(range(24, 14, -1))
    assert len(store.timeline([b"ben"], before=None, limit=100)) == 3


def test_a_page_goes_on_where_the_last_one_ended(store):
    store.apply(
        Batch(timeline=[(b"ana", NOW_MS, b"%d" % number) for number in range(6)]), now_ms=NOW_MS
    )

    first = store.timeline([b"ana"], before=None, limit=4)
    second = store.timeline([b"ana"], before=first[-1].row, limit=4)

    assert [int(one.record) for one in (*first, *second)] == [5, 4, 3, 2, 1, 0]


def test_what_is_older_than_it_is_kept_goes(store):
    letters = {("touchpoints", 0, 1): (NOW_MS, DeadLetter("schema", "x"))}
    store.apply(Batch(timeline=[(b"ana", NOW_MS, b"old")], dead_letters=letters), now_ms=NOW_MS)

    store.apply(Batch(timeline=[(b"ana", NOW_MS + 2_000, b"new")]), now_ms=NOW_MS + 2_000)

    assert [one.record for one in store.timeline([b"ana"], before=None, limit=9)] == [b"new"]
    assert store.dead_letter("touchpoints", 0, 1) is None


def test_who_is_forgotten_has_neither_state_nor_timeline(store, tmp_path):
    name = b"a-very-recognisable-name"
    store.apply(
        Batch(customers={name: standing(name.decode(), "first")}, timeline=[(name, NOW_MS, name)]),
        now_ms=NOW_MS,
    )

    store.forget(name)

    assert store.state(name) is None
    assert store.timeline(name, before=None, limit=9) == []
    assert store.people() == {}


def test_a_folder_serves_one_process(store, tmp_path):
    with pytest.raises(UsageError, match="in use by another process"):
        Store(tmp_path, IDENTITY, BOUNDS)


@pytest.mark.parametrize(
    ("field", "value"), [("cluster", "cluster-2"), ("changelog", "other"), ("partitions", 3)]
)
def test_the_file_of_another_deployment_is_refused_and_stays(tmp_path, field, value):
    Store(tmp_path, IDENTITY, BOUNDS).close()

    with pytest.raises(UsageError, match=f"holds the read model of {field}"):
        Store(tmp_path, IDENTITY._replace(**{field: value}), BOUNDS)

    Store(tmp_path, IDENTITY, BOUNDS).close()


def test_a_file_of_another_format_is_filled_again_with_a_reason(tmp_path):
    store = Store(tmp_path, IDENTITY, BOUNDS)
    store.apply(Batch(customers={b"ana": standing("ana")}), now_ms=NOW_MS)
    store._writer.execute("UPDATE about SET value = '0' WHERE name = 'format'")
    store.close()

    again = Store(tmp_path, IDENTITY, BOUNDS)

    assert "format 0" in again.rebuilt
    assert again.state(b"ana") is None
    again.close()


def test_a_file_that_is_no_file_of_ours_is_filled_again_with_a_reason(tmp_path):
    (tmp_path / "read-model.db").write_bytes(b"not a database, but long enough to look" * 100)

    store = Store(tmp_path, IDENTITY, BOUNDS)

    assert "cannot be read" in store.rebuilt
    store.close()


def test_the_folder_is_for_its_owner_only(tmp_path):
    folder = tmp_path / "model"
    Store(folder, IDENTITY, BOUNDS).close()

    assert folder.stat().st_mode & 0o077 == 0


def test_with_checkpoints_the_log_of_the_file_begins_again(store, tmp_path):
    def write(times):
        for at in range(times):
            rows = [(b"ana", NOW_MS, b"x" * 1_000)] * 20
            store.apply(Batch(timeline=rows, positions={("log", 1): at}), now_ms=NOW_MS)
        return (tmp_path / "read-model.db-wal").stat().st_size

    first = write(10)
    for _ in range(10):
        store.checkpoint()
        last = write(10)

    assert last <= 2 * first
