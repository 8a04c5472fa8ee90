"""What a partition knows of its customers without decoding them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.customer import Contact, Customer, Removal, oldest_removal_ms
from orchestrator.core.encoded.state import encode_customer, encoded_oldest_removal_ms
from orchestrator.protocol.commit.held.contents import Contents
from orchestrator.protocol.commit.partition import CustomerPartition, Loaded
from orchestrator.protocol.commit.rounds import Rounds
from tests.core.builders import shop_of


def test_a_partition_that_is_taken_over_knows_which_removals_nobody_has_acknowledged():
    awaited = Customer(
        "ana", contact=Contact(removals=(Removal("c1", 1_000), Removal("c2", 2_000)))
    )
    states = {b"ana": encode_customer(awaited), b"ben": encode_customer(Customer("ben"))}
    rounds = Rounds(shop_of(), {}, partitions=1)
    home = CustomerPartition(0, Loaded(Contents.of(states), None, {}), rounds, monotonic_ms=0)

    assert home.contents.removals == {b"ana": 1_000}
    home.contents.put(b"ana", encode_customer(Customer("ana")), None)
    assert home.contents.removals == {}


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 2**40)), max_size=4))
def test_the_oldest_removal_is_read_out_of_the_bytes_as_out_of_the_customer(removals):
    contact = Contact(removals=tuple(Removal(name, at_ms) for name, at_ms in removals))
    customer = Customer("ana", sequence=7, contact=contact)

    assert encoded_oldest_removal_ms(encode_customer(customer)) == oldest_removal_ms(customer)
