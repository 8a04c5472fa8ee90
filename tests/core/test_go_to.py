"""Going round: what is visited again sends again, under its own id, and state stays small."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.catalog.rules.paths import rests
from orchestrator.core.decision import Ended, EndReason
from orchestrator.core.language.journey import STEPS_MAX, Step
from orchestrator.core.rules.advance import OPEN_COMMANDS_MAX
from tests.core.builders import DAY, HOUR, MINUTE, Story, event, journey, send, shop_of, wait


def go_to(step, target):
    return {"id": step, "go_to": target}


def round_of(*steps, exits=()):
    story = Story(shop_of(journey("j", "seen", steps, exits=exits)))
    story.tell(event("seen", "e1"))
    return story


def test_a_weekly_letter_goes_out_every_week_until_somebody_leaves():
    steps = [send("letter"), wait("week", "7d"), go_to("again", "letter")]
    story = round_of(*steps, exits=["left"])
    story.pass_time(21 * DAY)

    story.tell(event("left", "e2", at=story.now))

    assert story.sent == ["letter"] * 4
    assert len({command.id for command in story.commands}) == len(story.commands)
    assert story.customer.enrollments == ()


def test_a_step_can_be_jumped_over():
    story = round_of(go_to("over", "last"), send("never"), send("last"))

    assert story.sent == ["last"]
    assert [e.reason for e in story.entries if isinstance(e, Ended)] == [EndReason.COMPLETED]


def test_who_is_added_to_an_audience_in_every_round_is_removed_once():
    add = {"id": "ads", "audience": {"add": "people"}}
    story = round_of(add, wait("day", "1d"), go_to("again", "ads"), exits=["left"])
    story.pass_time(9 * DAY)

    story.tell(event("left", "e2", at=story.now))

    types = [command.type for command in story.commands]
    assert types == ["audience.add"] * 10 + ["audience.remove"]


def test_messages_that_outlive_their_round_do_not_pile_up_in_the_state():
    hello = send("hello", expires_after="52w")
    story = round_of(hello, wait("minute", "1m"), go_to("again", "hello"))

    story.pass_time(2 * OPEN_COMMANDS_MAX * MINUTE)

    (enrollment,) = story.customer.enrollments
    assert len(enrollment.open_commands) == OPEN_COMMANDS_MAX
    assert enrollment.open_commands[-1].id == story.commands[-1].id


def test_a_way_round_without_a_wait_that_nobody_checked_ends_with_a_reason():
    story = round_of(send("hello"), go_to("again", "hello"))

    ends = [entry for entry in story.entries if isinstance(entry, Ended)]
    assert [end.reason for end in ends] == [EndReason.STEP_FAILED]
    assert f"more than {STEPS_MAX} steps" in (ends[0].detail or "")
    assert story.wake_at is None


@pytest.mark.parametrize("count", [1, STEPS_MAX])
def test_the_longest_journey_runs_to_its_end_in_one_decision(count):
    story = round_of(*(send(f"s{number}") for number in range(count)))

    assert len(story.sent) == count
    assert [e.reason for e in story.entries if isinstance(e, Ended)] == [EndReason.COMPLETED]


WORDS = ["send", "wait", "go_to", "branch"]


@settings(max_examples=300, deadline=None)
@given(
    shape=st.lists(
        st.tuples(st.sampled_from(WORDS), st.integers(0, 9), st.booleans()), min_size=1, max_size=10
    )
)
def test_what_the_check_lets_through_takes_each_step_at_most_once_in_a_decision(shape):
    steps = [_step(number, len(shape), *drawn) for number, drawn in enumerate(shape)]
    story = round_of(*steps)
    for _ in range(5):
        story.pass_time(HOUR)

    failed = [e for e in story.entries if isinstance(e, Ended) and e.reason is not _COMPLETED]
    if rests([Step.model_validate(step) for step in steps]):
        assert not failed
        for decision in story.decisions:
            taken = [command.step for command in decision.commands]
            assert len(taken) == len(set(taken))


_COMPLETED = EndReason.COMPLETED


def _step(number, count, word, target, holds):
    name, onward = f"s{number}", f"s{min(number + 1 + target, count - 1)}"
    match word:
        case "wait":
            return wait(name, "1h")
        case "go_to":
            return go_to(name, f"s{target % count}")
        case "branch" if number + 1 < count:
            arms = [{"when": str(holds).lower(), "next": onward}, {"next": f"s{number + 1}"}]
            return {"id": name, "branch": arms}
        case _:
            return send(name)
