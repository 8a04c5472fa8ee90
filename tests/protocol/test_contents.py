"""What a changelog says of its customers, record by record, is what its newest records say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.customer import PAUSED, Cause, Contact, Customer, Enrollment, Removal
from orchestrator.core.encoded.state import encode_customer, state_header
from orchestrator.core.identity.notices import INDEX_BYTE
from orchestrator.protocol.commit.held.contents import Contents
from orchestrator.protocol.commit.meta import JOURNEYS_KEY, META_KEY

CUSTOMERS = (b"ana", b"ben", b"eva")
ADDRESSES = (INDEX_BYTE + b"x", INDEX_BYTE + b"y")


def enrolled(wake_at_ms, held):
    cause = Cause("/shop", "e1")
    return Enrollment("sale#1", "sale", 1, None, 0, 0, cause, "s", wake_at_ms, held=held)


@st.composite
def states(draw):
    """Return an encoded customer who may wait, be held by a pause, and await removals."""
    wake_at_ms = draw(st.none() | st.integers(1, 2**40))
    held = PAUSED if wake_at_ms is not None and draw(st.booleans()) else None
    removals = draw(st.lists(st.integers(0, 2**40), max_size=2))
    return encode_customer(
        Customer(
            "somebody",
            enrollments=(enrolled(wake_at_ms, held),) if wake_at_ms is not None else (),
            contact=Contact(removals=tuple(Removal("c", at_ms) for at_ms in removals)),
        )
    )


RECORDS = st.lists(
    st.tuples(st.sampled_from(CUSTOMERS), st.none() | states())
    | st.tuples(st.sampled_from(ADDRESSES), st.none() | st.just(state_header() + b"ids"))
    | st.tuples(st.sampled_from((META_KEY, JOURNEYS_KEY)), st.binary(max_size=3)),
    max_size=25,
)


def all_of(contents):
    return {name: getattr(contents, name) for name in Contents.__slots__}


@given(RECORDS)
def test_what_older_records_said_leaves_no_trace(records):
    contents = Contents()
    for key, value in records:
        contents.take(key, value)

    newest = {key: value for key, value in dict(records).items() if value is not None}
    assert all_of(contents) == all_of(Contents.of(newest))
    states = {key: value for key, value in newest.items() if key not in (META_KEY, JOURNEYS_KEY)}
    assert contents.states == states
    assert contents.state_bytes == sum(map(len, states.values()))
    assert contents.indexes == sum(key in ADDRESSES for key in states)
    assert (contents.meta, contents.journeys) == (newest.get(META_KEY), newest.get(JOURNEYS_KEY))


def test_a_record_that_only_a_newer_release_can_read_is_kept_and_not_looked_into():
    known = encode_customer(Customer("ana", contact=Contact(removals=(Removal("c", 5),))))
    contents = Contents.of({b"ana": known})
    contents.take(b"ana", b"\x09" + b"\xff" * 20)

    assert contents.states == {b"ana": b"\x09" + b"\xff" * 20}
    assert (contents.due, contents.paused, contents.removals) == ({}, set(), {})
