"""Open tasks in the read model: exactly those of the states, in order, a page at a time."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.api.model.store import Batch, Store
from orchestrator.api.model.tasks import Wanted
from orchestrator.catalog import load
from orchestrator.core.customer import Cause, Customer, Enrollment, OpenCommand
from orchestrator.core.decide import decide
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.people.open_tasks import open_tasks
from tests.api.rig import BOUNDS, IDENTITY, NOW_MS, Rig
from tests.core.builders import event

JOURNEYS = Path(__file__).parents[2] / "journeys"
FAR_MS = NOW_MS + 10**9


def task(number, *, by=None, kind="task", expires_ms=FAR_MS, created_ms=None):
    """Return an open command."""
    at_ms = NOW_MS + number if created_ms is None else created_ms
    return OpenCommand(
        f"t-{number:04d}", kind, "callcenter", "service", "to_a_person", number + 1, expires_ms,
        claimed_by=by, claimed_ms=None if by is None else at_ms, created_ms=at_ms,
    )  # fmt: skip


def customer(name, *commands, journey="service_case"):
    """Return a customer in one journey with these commands open."""
    enrollment = Enrollment(
        f"{journey}/k#1", journey, 1, "k", NOW_MS, NOW_MS, Cause("/s", "1"), "until_tomorrow",
        open_commands=commands,
    )  # fmt: skip
    return Customer(name, enrollments=(enrollment,))


def test_the_tasks_of_an_encoded_state_are_those_that_a_decision_has_left_open():
    journeys = load(JOURNEYS, "test")
    opened = decide(journeys, Customer("ana"), event("case.opened", "1", case_id="c-7"), NOW_MS)
    (found,) = open_tasks(encode_customer(opened.customer))
    claim = event("task.claimed", "2", task_id=found.id, by="eva")
    claimed = decide(journeys, opened.customer, claim, NOW_MS + 5_000).customer
    (held,) = open_tasks(encode_customer(claimed))
    close = event("task.closed", "3", task_id=found.id)
    closed = decide(journeys, claimed, close, NOW_MS + 9_000).customer

    assert (found.journey, found.step, found.channel) == (
        "service_case",
        "to_a_person",
        "callcenter",
    )
    assert found.created_ms == opened.now_ms
    assert found.claimed_by is None
    assert held.claimed_by == "eva"
    assert held.created_ms == found.created_ms
    assert open_tasks(encode_customer(closed)) == ()


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 9), max_size=4, unique=True)),
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_states_come_the_list_is_that_of_the_newest_ones(tmp_path_factory, changes):
    store = Store(tmp_path_factory.mktemp("tasks"), IDENTITY, BOUNDS)
    newest = {}
    for name, numbers in changes:
        base = "abc".index(name) * 10
        newest[name] = {base + number for number in numbers}
        state = encode_customer(customer(name, *(task(one) for one in sorted(newest[name]))))
        store.apply(Batch(customers={name.encode(): state}), now_ms=NOW_MS)

    found = store.tasks(None, Wanted(NOW_MS), 100)

    store.close()
    assert [one.task.id for one in found] == [
        f"t-{number:04d}" for number in sorted(set().union(*newest.values()))
    ]


def test_who_is_gone_has_no_tasks(tmp_path):
    store = Store(tmp_path, IDENTITY, BOUNDS)
    state = encode_customer(customer("ana", task(1)))
    store.apply(Batch(customers={b"ana": state}), now_ms=NOW_MS)
    store.apply(Batch(customers={b"ana": None}), now_ms=NOW_MS)

    assert store.tasks(None, Wanted(NOW_MS), 10) == []
    store.close()


async def test_pages_hold_every_task_once_the_urgent_or_the_oldest_first(tmp_path, monkeypatch):
    rig = Rig(tmp_path, journeys=JOURNEYS)
    monkeypatch.setattr(rig.model, "now_ms", lambda: NOW_MS)
    dice = random.Random(1)
    people = [
        customer(
            f"c-{number}", task(number, created_ms=NOW_MS - dice.randrange(5)),
            journey=dice.choice(["service_case", "winback", "review_request"]),
        )
        for number in range(40)
    ]  # fmt: skip
    rig.know(*people)

    for order in ("age", "priority"):
        got, page = [], None
        while True:
            params = {"order": order, "limit": 7} | ({} if page is None else {"page": page})
            answer = (await rig.get("/v1/tasks", params=params)).json()
            got += answer["tasks"]
            page = answer["next"]
            if page is None:
                break
        ranks = [
            (-one["priority"] if order == "priority" else 0, one["created_at"], one["task_id"])
            for one in got
        ]
        assert len({one["task_id"] for one in got}) == len(got) == 40
        assert ranks == sorted(ranks)


async def test_the_list_is_narrowed_by_queue_customer_and_who_has_it(tmp_path, monkeypatch):
    rig = Rig(tmp_path, journeys=JOURNEYS)
    monkeypatch.setattr(rig.model, "now_ms", lambda: NOW_MS)
    rig.know(
        customer("ana", task(1), task(2, by="eva")),
        customer("bob", task(3), task(4, expires_ms=NOW_MS - 1), task(5, kind="message")),
    )

    async def ids(**params):
        answer = await rig.get("/v1/tasks", params=params)
        return [one["task_id"] for one in answer.json()["tasks"]]

    assert await ids() == ["t-0001", "t-0002", "t-0003"]
    assert await ids(customer="bob") == ["t-0003"]
    assert await ids(claimed=False) == ["t-0001", "t-0003"]
    assert await ids(claimed_by="eva") == ["t-0002"]
    assert await ids(queue="nobody") == []
    queues = (await rig.get("/v1/tasks/queues")).json()["queues"]
    assert [(one["queue"], one["open"], one["claimed"]) for one in queues] == [("callcenter", 3, 1)]


async def test_what_is_no_page_is_refused(tmp_path):
    rig = Rig(tmp_path)
    for page in ("x", "1.2", "a.b.c", f"{10**30}.1.t"):
        answer = await rig.get("/v1/tasks", params={"page": page})
        assert answer.status_code == 422, page
