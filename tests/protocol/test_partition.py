"""What a partition knows of its customers without decoding them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.customer import Contact, Customer, Removal, oldest_removal_ms
from orchestrator.core.encoded.state import (
    UnknownStateFormat,
    encode_customer,
    encoded_oldest_removal_ms,
)
from orchestrator.core.identity.notices import INDEX_BYTE
from orchestrator.protocol.commit.held.contents import Contents

AWAITED = Contact(removals=(Removal("c1", 1_000), Removal("c2", 2_000)))


def test_a_partition_that_is_taken_over_learns_which_removals_nobody_has_acknowledged():
    contents = Contents.of(
        {
            b"ana": encode_customer(Customer("ana", contact=AWAITED)),
            b"ben": encode_customer(Customer("ben")),
            b"cleo": encode_customer(Customer("cleo", contact=AWAITED)),
        }
    )

    assert contents.removals == {}
    assert contents.ask_removals(1) == 1
    assert len(contents.removals) == 1
    assert contents.ask_removals(100) == 0
    assert contents.removals == {b"ana": 1_000, b"cleo": 1_000}
    contents.put(b"ana", encode_customer(Customer("ana")), None)
    assert contents.removals == {b"cleo": 1_000}


@pytest.mark.parametrize("acknowledged", ["while it is read", "once it is owned", "erased"])
def test_a_removal_that_is_acknowledged_before_anybody_asks_is_not_awaited(acknowledged):
    contents = Contents.of({b"ana": encode_customer(Customer("ana", contact=AWAITED))})
    value = encode_customer(Customer("ana"))
    match acknowledged:
        case "while it is read":
            contents.take(b"ana", value)
        case "once it is owned":
            contents.put(b"ana", value, None)
        case _:
            contents.take(b"ana", None)

    assert (contents.ask_removals(100), contents.removals) == (0, {})


@pytest.mark.parametrize("key", [b"ana", INDEX_BYTE + b"email"])
def test_a_value_of_a_newer_release_is_refused_until_it_is_replaced(key):
    contents = Contents.of({key: b"\x7f" + bytes(20)})

    with pytest.raises(UnknownStateFormat, match="127"):
        contents.check_formats()
    assert len(contents.due) == 0
    contents.take(key, None)
    contents.check_formats()


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 2**40)), max_size=4))
def test_the_oldest_removal_is_read_out_of_the_bytes_as_out_of_the_customer(removals):
    contact = Contact(removals=tuple(Removal(name, at_ms) for name, at_ms in removals))
    customer = Customer("ana", sequence=7, contact=contact)

    assert encoded_oldest_removal_ms(encode_customer(customer)) == oldest_removal_ms(customer)
