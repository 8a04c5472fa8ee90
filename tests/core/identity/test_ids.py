"""Which id stays is a total order of ids alone."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.core.identity.ids import Identities, Pair, moved_enrollment
from orchestrator.core.language.identity import Identity

IDS = Identities(Identity())
UUID = "6f1c2a34-0b7d-4c58-9e21-3a4b5c6d7e8f"


@pytest.mark.parametrize("one", ["anon-1", "cookie-x", "web-1", "device-é", UUID, UUID.upper()])
def test_what_collectors_hand_out_is_anonymous(one):
    assert IDS.is_anonymous(one)


@pytest.mark.parametrize("one", ["ana", "c-1001", "Web-1", "my-web-1", f"{UUID}x", "ana\nweb-1"])
def test_everything_else_is_known(one):
    assert not IDS.is_anonymous(one)


def test_known_stays_before_anonymous_and_of_two_of_a_kind_the_smaller():
    assert IDS.pair("web-1", "zoe") == Pair("web-1", "zoe")
    assert IDS.pair("ana", "bea") == Pair("bea", "ana")
    assert IDS.pair("web-2", "web-1") == Pair("web-2", "web-1")
    # By bytes, not by any language's alphabet.
    assert IDS.pair("é", "z") == Pair("é", "z")


@given(st.lists(st.text(min_size=1, max_size=6) | st.just(UUID), min_size=3, unique=True))
def test_pointers_go_down_so_that_no_cycle_can_exist(ids):
    for one, other, third in permutations(ids[:3]):
        assert IDS.pair(one, other) == IDS.pair(other, one)
        if IDS.pair(one, other).survivor == IDS.pair(other, third).absorbed == other:
            assert IDS.pair(one, third) == Pair(one, third)


def test_a_shop_may_say_what_its_anonymous_ids_look_like():
    own = Identities(Identity(anonymous=("guest:*", "*@kiosk", "k-*-x")))

    assert [own.is_anonymous(one) for one in ("guest:1", "7@kiosk", "k-1-x", "web-1")] == [
        *(True, True, True),
        False,
    ]
    assert not Identities(Identity(anonymous=())).is_anonymous(UUID)


@pytest.mark.parametrize("pattern", ["*", "a*b*", "<uid>", "a>b", ""])
def test_a_pattern_that_means_everybody_or_nothing_known_is_refused(pattern):
    with pytest.raises(ValidationError):
        Identity(anonymous=(pattern,))


# Keys come from producers: they may look like anything.
NAMES = st.text(alphabet="a#~%1/", min_size=1, max_size=5)


ENROLLMENTS = st.builds("cart/{}#{}".format, NAMES, st.integers(1, 9))


@given(ENROLLMENTS, ENROLLMENTS, NAMES, NAMES)
def test_an_enrollment_of_another_id_has_a_name_of_its_own(mine, theirs, one, other):
    moved = moved_enrollment(mine, one)

    assert moved != theirs
    assert moved_enrollment(moved, other) == moved
    assert (moved == moved_enrollment(theirs, other)) == ((mine, one) == (theirs, other))
