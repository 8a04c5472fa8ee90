"""When the effect of an accepted event is here: exactly, whatever way its record took."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.api.model import effects as module
from orchestrator.api.model.effects import (
    Decided,
    Effects,
    Position,
    positions_of,
    receipt_of,
)
from orchestrator.api.model.store import DeadLetter

AT = Position("touchpoints", 2, 17)
AT_HOME = Decided(2, "touchpoints", 17)


def nobody(*_):
    """Know of no dead letter."""


def test_a_decision_is_visible_when_log_and_states_both_have_it():
    effects = Effects({}, {})
    assert effects.pending([AT], nobody) == ([AT], None)

    effects.log(AT, AT_HOME)
    assert effects.pending([AT], nobody) == ([AT], None)

    effects.states(2, {"touchpoints": 17})
    assert effects.pending([AT], nobody) == ([AT], None), "17 is the next one to decide"

    effects.states(2, {"touchpoints": 18})
    assert effects.pending([AT], nobody) == ([], None)


def test_states_alone_do_not_show_it():
    effects = Effects({}, {2: {"touchpoints": 99}})

    assert effects.pending([AT], nobody) == ([AT], None)


def test_a_forwarded_record_is_found_by_where_it_stood_first():
    effects = Effects({}, {})
    effects.states(2, {"touchpoints": 99})
    effects.log(AT, Decided(5, "app-forward", 3))
    assert effects.pending([AT], nobody) == ([AT], None)

    effects.states(5, {"app-forward": 4})

    assert effects.pending([AT], nobody) == ([], None)


def test_a_dead_letter_is_told_once_the_others_are_here():
    letter = DeadLetter("id_reused", "came before")
    effects = Effects({}, {2: {"touchpoints": 99}})
    other = Position("touchpoints", 2, 18)

    waiting, refused = effects.pending([AT, other], lambda *place: {AT: letter}.get(place))
    assert waiting == [other]
    assert refused.letter is letter

    effects.log(other, Decided(2, "touchpoints", 18))
    waiting, refused = effects.pending([AT, other], lambda *place: {AT: letter}.get(place))
    assert waiting == []
    assert refused.position == AT


def test_what_was_decided_before_the_start_needs_no_waiting():
    effects = Effects({("touchpoints", 2): 17}, {})

    assert effects.pending([AT], nobody) == ([], None)
    assert effects.pending([AT._replace(offset=18)], nobody)[0]


def test_what_is_remembered_one_by_one_is_bounded_and_the_rest_is_below_a_floor(monkeypatch):
    monkeypatch.setattr(module, "RECENT_MAX", 3)
    effects = Effects({}, {2: {"touchpoints": 99}})
    for offset in range(10):
        effects.log(AT._replace(offset=offset), Decided(2, "touchpoints", offset))

    assert len(effects._recent["touchpoints", 2].decided) == 3
    assert effects.pending([AT._replace(offset=one) for one in range(10)], nobody) == ([], None)
    assert effects.pending([AT._replace(offset=10)], nobody)[0]


POSITIONS = st.builds(
    Position, st.sampled_from(["touchpoints", "web"]), st.integers(0, 20), st.integers(0, 2**60)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(POSITIONS, min_size=1, max_size=20))
def test_a_receipt_says_the_positions_that_it_was_made_of(positions):
    assert set(positions_of(receipt_of(positions))) == positions


def test_the_receipt_of_a_batch_stays_short():
    batch = [Position("touchpoints", part, 1_000 + at) for part in range(8) for at in range(125)]

    assert len(receipt_of(batch)) < 300


@pytest.mark.parametrize(
    "text", ["", "r1.", "r1.!!!", "r2.kA", "hello", "r1." + "A" * 9_000, "r1.kA", "r1.\u00e9"]
)
def test_what_is_no_receipt_is_refused(text):
    with pytest.raises(ValueError, match="not one that this API has given"):
        positions_of(text)


def test_a_receipt_of_absurdly_many_records_is_refused():
    many = receipt_of([AT._replace(offset=one) for one in range(module.POSITIONS_MAX + 1)])

    with pytest.raises(ValueError, match="not one"):
        positions_of(many)
