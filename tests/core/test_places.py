"""People per step are read from encoded states; the short way says what the long one does."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.customer import Attribute, Cause, Customer, Enrollment, Order
from orchestrator.core.encoded.places import places_of
from orchestrator.core.encoded.state import decode_customer, encode_customer

NAMES = st.sampled_from(["winback", "welcome", "post_purchase"])
ENROLLMENTS = st.builds(
    Enrollment,
    id=st.text(max_size=20),
    journey=NAMES,
    version=st.integers(1, 300),
    key=st.none() | st.text(max_size=5),
    entry_time_ms=st.integers(0, 2**48),
    entered_at_ms=st.integers(0, 2**48),
    cause=st.just(Cause("/shop", "evt-1")),
    step=st.none() | st.sampled_from(["first", "second"]),
    trigger=st.dictionaries(
        st.text(max_size=3), st.integers(-(2**40), 2**40) | st.text(max_size=5), max_size=2
    ),
)
CUSTOMERS = st.builds(
    Customer,
    id=st.text(min_size=1, max_size=10),
    seen=st.binary(max_size=24),
    attributes=st.dictionaries(
        st.text(max_size=5), st.just(Attribute({"deep": [1, 2]}, 5, "/crm", "evt-2")), max_size=3
    ),
    orders=st.lists(st.just(Order("1001", 7)), max_size=2).map(tuple),
    enrollments=st.lists(ENROLLMENTS, max_size=4).map(tuple),
)


@given(CUSTOMERS)
def test_the_places_of_a_state_are_the_steps_of_its_enrollments(customer):
    value = encode_customer(customer)

    assert places_of(value) == tuple(
        (one.journey, one.version, one.step)
        for one in decode_customer(value).enrollments
        if one.step is not None
    )
