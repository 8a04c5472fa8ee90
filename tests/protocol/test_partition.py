"""What a partition knows of its customers without decoding them."""

from __future__ import annotations

from orchestrator.core.customer import Contact, Customer, Removal, encode_customer
from orchestrator.protocol.commit.partition import CustomerPartition, Loaded
from orchestrator.protocol.commit.rounds import Rounds
from tests.core.builders import shop_of


def test_a_partition_that_is_taken_over_knows_which_removals_nobody_has_acknowledged():
    awaited = Customer(
        "ana", contact=Contact(removals=(Removal("c1", 1_000), Removal("c2", 2_000)))
    )
    states = {b"ana": encode_customer(awaited), b"ben": encode_customer(Customer("ben"))}
    rounds = Rounds(shop_of(), {}, partitions=1)
    home = CustomerPartition(0, Loaded(states, None, None, {}), rounds, monotonic_ms=0)

    assert home.removals == {b"ana": 1_000}
    home.put(b"ana", encode_customer(Customer("ana")), None)
    assert home.removals == {}
