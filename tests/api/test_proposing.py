"""What is proposed is what the core says of the newest state, however often it is asked."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from orchestrator.api.people.proposing import KEPT_MS, Proposals
from orchestrator.catalog import load
from orchestrator.core.customer import Customer, Kin, Promise
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.pauses import NO_PAUSES
from orchestrator.core.people.proposals import next_best
from tests.api.rig import NOW_MS

DAY_MS = 86_400_000
EMPTY = encode_customer(Customer("ana"))
HOLDS = encode_customer(Customer("ana", promises={"winter_sale": Promise(NOW_MS, NOW_MS + DAY_MS)}))


@pytest.fixture(scope="module")
def journeys():
    return load(Path(__file__).parents[2] / "journeys", "test")


def offers(body):
    return [one["offer"] for one in orjson.loads(body)["proposed"]]


def asked(proposals, journeys, state, now_ms=NOW_MS):
    return proposals.answer(
        "ana", None, state_of={"ana": state}.get, journeys=journeys, now_ms=now_ms
    )


def test_it_is_what_the_core_proposes(journeys):
    found = next_best(journeys, Customer("ana"), NOW_MS, None)

    assert offers(asked(Proposals(), journeys, None)) == [one.offer for one in found.proposed]


def test_the_cookie_of_a_customer_is_proposed_what_the_customer_is(journeys):
    """The loyal customer on a new laptop is no stranger to be welcomed."""
    states = {"web-1": encode_customer(Customer("web-1", kin=Kin("ana"))), "ana": HOLDS}

    def answer(customer_id):
        return Proposals().answer(
            customer_id, None, state_of=states.get, journeys=journeys, now_ms=NOW_MS
        )

    assert answer("web-1") == answer("ana")
    states["ana"] = EMPTY
    assert offers(answer("web-1")) == offers(asked(Proposals(), journeys, EMPTY))


def test_an_answer_is_kept_for_a_second_of_the_same_state(journeys):
    proposals = Proposals()
    first = asked(proposals, journeys, EMPTY)

    assert asked(proposals, journeys, EMPTY, NOW_MS + KEPT_MS - 1) is first
    assert asked(proposals, journeys, EMPTY, NOW_MS + KEPT_MS) is not first


def test_a_new_state_or_a_pause_counts_at_once(journeys):
    proposals = Proposals()
    before = offers(asked(proposals, journeys, EMPTY))

    after = offers(asked(proposals, journeys, HOLDS))
    other = asked(proposals, journeys.pausing(NO_PAUSES), HOLDS)

    assert after[0] == "winter_sale"
    assert after != before
    assert other is not asked(proposals, journeys, HOLDS)


def test_nothing_is_kept_of_who_nobody_asks_for_any_more(journeys):
    proposals = Proposals()
    asked(proposals, journeys, HOLDS)

    proposals.answer("bob", None, state_of={}.get, journeys=journeys, now_ms=NOW_MS + KEPT_MS)

    assert [customer for customer, _ in proposals._kept] == ["bob"]
