"""The inputs of the example shop: what other teams' records become, and what customers get for it.

The file is docs/snippets/inputs/inputs.yaml; it does not stand in journeys/, because workers refuse
to start without the topics that it names.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.catalog import load, read
from orchestrator.cli.authoring.check import tried
from orchestrator.core.customer import Customer
from orchestrator.core.decide import decide
from orchestrator.protocol.codec import decode_event
from orchestrator.protocol.commit.transaction import TopicPartition
from orchestrator.protocol.inputs.mapping import Mapping
from orchestrator.protocol.inputs.schemas import Schemas
from orchestrator.protocol.inputs.trial import EVENT_BYTES_MAX, TrialRecord

ROOT = Path(__file__).parents[2]
NOW_MS = 1_795_341_700_000
PAID = {
    "status": "PAID",
    "order_no": "A-1",
    "customer": {"number": "ana"},
    "paid_ms": NOW_MS - 1_000,
    "amount": {"gross": 289.00},
    "lines": [{"article": "tent-2", "group": "camping", "qty": 1, "price": 289.00}],
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the example shop with its inputs beside it."""
    folder = tmp_path_factory.mktemp("shop") / "journeys"
    shutil.copytree(ROOT / "journeys", folder)
    shutil.copy(ROOT / "docs" / "snippets" / "inputs" / "inputs.yaml", folder)
    return folder


class Ana:
    """One customer of the shop, told of by records of other teams."""

    def __init__(self, shop: Path) -> None:
        self.journeys = load(shop, "test")
        self.customer = Customer("ana")
        self.now_ms = NOW_MS

    def told(self, name: str, record: dict[str, Any]) -> list[str]:
        """Let a record come in; return the templates and audiences that it causes."""
        declared = self.journeys.inputs[name]
        mapping = Mapping(name, declared, Schemas(), EVENT_BYTES_MAX)
        value = orjson.dumps(record)
        came = TrialRecord(0, self.now_ms, b"any key", value)
        said = []
        for one in mapping.events(TopicPartition(declared.topic, 11), came):
            event = decode_event(
                None,
                one.value,
                (),
                event_bytes_max=EVENT_BYTES_MAX,
                record_time_ms=came.timestamp,
            )
            decision = decide(self.journeys, self.customer, event, self.now_ms)
            self.customer = decision.customer
            said += [f"{each.type} {each.template or each.channel}" for each in decision.commands]
        return said


def test_check_finds_nothing_in_the_inputs_of_the_shop_and_their_examples_hold(shop: Path) -> None:
    reading = tried(read(shop))

    assert reading.findings == ()
    assert reading.inputs is not None
    assert reading.inputs.inputs.keys() == {"shop_orders", "tills", "warehouse"}
    assert all(len(one.examples) >= 2 for one in reading.inputs.inputs.values())


def test_an_order_of_the_order_system_is_thanked_for_once(shop: Path) -> None:
    ana = Ana(shop)

    assert "message.send thank_you" in ana.told("shop_orders", PAID)
    assert ana.told("shop_orders", PAID) == [], "the order system repeats its records"
    assert ana.told("shop_orders", PAID | {"status": "PLACED"}) == []


def test_a_purchase_at_the_till_ends_the_campaign_of_an_abandoned_cart(shop: Path) -> None:
    """Another team's topic and the envelope tell of one customer."""
    ana = Ana(shop)
    cart = {
        "specversion": "1.0", "id": "c1", "source": "/shop", "type": "cart.abandoned",
        "subject": "ana", "time": "2026-11-22T10:00:30Z",
        "data": {"cart_id": "k1", "items": [{"sku": "tent-2", "category": "camping"}]},
    }  # fmt: skip
    event = decode_event(None, orjson.dumps(cart), (), event_bytes_max=EVENT_BYTES_MAX)
    ana.customer = decide(ana.journeys, ana.customer, event, ana.now_ms).customer
    assert [one.journey for one in ana.customer.enrollments] == ["cart_abandonment"]

    receipt = {
        "store": "s12", "receipt": "883", "card": "ana", "at": "2026-11-22T10:01:00Z",
        "cents": 28900, "lines": [{"sku": "tent-2", "n": 1, "cents": 28900}],
    }  # fmt: skip
    ana.told("tills", receipt)

    assert "cart_abandonment" not in [one.journey for one in ana.customer.enrollments]
    assert "post_purchase" in [one.journey for one in ana.customer.enrollments]


def test_who_asked_the_warehouse_to_be_told_is_on_the_way_to_hear_of_it(shop: Path) -> None:
    ana = Ana(shop)
    ana.told("warehouse", {"sku": "tent-2", "booking": "b-7", "watchers": ["ana"]})

    assert [one.journey for one in ana.customer.enrollments] == ["back_in_stock"]
