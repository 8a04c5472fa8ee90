"""Whose turn it is, what may be committed, and how many calls may be under way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.sender.rules.command import Place
from orchestrator.sender.rules.lane import REPEAT_WAIT_MS, Lane
from orchestrator.sender.rules.rate import Gate
from tests.sender.builders import LANE, NOW_MS, command, rfc3339


def lane_with(*commands) -> Lane:
    lane = Lane(LANE)
    lane.assign(0, 0)
    for one in commands:
        lane.take(one, NOW_MS)
    return lane


def at(offset: int, command_id: str | None = None, **changes):
    return command(command_id or f"c{offset}", place=Place(LANE, 0, offset), **changes)


def test_one_customer_is_served_in_order_and_one_at_a_time():
    lane = lane_with(at(0), at(1), at(2, subject="ben"))
    first, other = lane.next(), lane.next()

    assert (first.command.id, other.command.id, lane.next()) == ("c0", "c2", None)
    lane.free(first)
    assert lane.next().command.id == "c1"


def test_a_cancel_under_another_id_waits_for_the_message_that_it_names():
    """After a merge: else it would find nothing to take back, and the message would go out."""
    lane = lane_with(
        at(0, subject="web-1"), at(1, type="message.cancel", subject="ana", cancels=["c0"])
    )
    message = lane.next()

    assert (message.command.id, lane.next()) == ("c0", None)
    lane.free(message)
    lane.done(message)
    assert lane.next().command.id == "c1"


def test_what_waits_stands_in_nobodys_way():
    lane = lane_with(at(0), at(1))
    first = lane.next()
    lane.wait(first, NOW_MS + 100)
    lane.free(first)

    assert lane.next().command.id == "c1"
    assert lane.due(NOW_MS) == NOW_MS + 100
    assert lane.due(NOW_MS + 100) is None
    assert lane.ready == 1


def test_what_was_put_back_is_first_again():
    lane = lane_with(at(0), at(1), at(2, subject="ben"))
    first = lane.next()
    lane.put_back(first)

    assert lane.next() is first


def test_a_hold_ends_with_a_resume_or_with_the_command():
    lane = lane_with(at(0), at(1, subject="ben", expires_at=rfc3339(NOW_MS + 50)))
    for _ in range(2):
        entry = lane.next()
        lane.hold(entry)
        lane.free(entry)
    assert (lane.held, lane.ready) == (2, 0)

    lane.due(NOW_MS + 50)
    assert (lane.held, lane.ready) == (1, 1)
    lane.release()
    assert (lane.held, lane.ready) == (0, 2)


def test_a_cancel_makes_what_it_names_look_again():
    lane = lane_with(at(0))
    entry = lane.next()
    lane.wait(entry, NOW_MS + 10**9)
    lane.free(entry)
    lane.hurry(["c0", "never seen"])

    assert lane.next() is entry


def test_a_second_record_of_a_command_waits_for_the_first():
    lane = lane_with(at(0, "same"), at(1, "same"))
    first = lane.next()
    assert lane.next() is None

    lane.due(NOW_MS + REPEAT_WAIT_MS)
    lane.done(first)
    lane.free(first)
    second = lane.next()
    assert second is not first
    assert not lane.repeats(second)
    lane.done(second)
    assert lane.positions() == {0: 2}


def test_partitions_given_away_are_begun_no_more_and_read_again_later():
    lane = lane_with(at(0), at(1))
    begun = lane.next()
    lane.revoke([0])
    lane.free(begun)

    assert lane.next() is None
    assert lane.positions() == {}
    lane.assign(0, 0)
    lane.take(at(0), NOW_MS)
    lane.done(begun)
    assert lane.positions() == {0: 0}


class Turns(RuleBasedStateMachine):
    """Any order of taking, waiting, holding and ending."""

    def __init__(self):
        super().__init__()
        self.lane = lane_with()
        self.offset, self.now = 0, NOW_MS
        self.open, self.in_hand = set(), []

    @rule(customer=st.sampled_from(["ana", "ben"]))
    def take(self, customer):
        self.lane.take(at(self.offset, subject=customer), self.now)
        self.open.add(self.offset)
        self.offset += 1

    @rule()
    def next(self):
        entry = self.lane.next()
        if entry is not None:
            self.in_hand.append(entry)

    @precondition(lambda self: self.in_hand)
    @rule(index=st.integers(0, 9), end=st.sampled_from(["done", "wait", "hold", "put_back"]))
    def end(self, index, end):
        entry = self.in_hand.pop(index % len(self.in_hand))
        if end == "put_back":
            self.lane.put_back(entry)
            return
        if end == "done":
            self.lane.done(entry)
            self.open.discard(entry.command.place.offset)
        elif end == "wait":
            self.lane.wait(entry, self.now + 5)
        else:
            self.lane.hold(entry)
        self.lane.free(entry)

    @rule(ms=st.integers(0, 10))
    def pass_time(self, ms):
        self.now += ms
        self.lane.due(self.now)

    @rule()
    def resume(self):
        self.lane.release()

    @invariant()
    def commits_nothing_that_is_open(self):
        assert self.lane.positions() == {0: min(self.open, default=self.offset)}

    @invariant()
    def serves_a_customer_once_at_a_time(self):
        customers = [entry.command.customer for entry in self.in_hand]
        assert len(customers) == len(set(customers))

    def teardown(self):
        """Whatever happened, each command can still be brought to its end."""
        for entry in self.in_hand:
            self.lane.put_back(entry)
        self.lane.release()
        self.lane.due(self.now + 100)
        while (entry := self.lane.next()) is not None:
            self.lane.done(entry)
            self.lane.free(entry)
        assert self.lane.positions() == {0: self.offset}


TestTurns = Turns.TestCase
TestTurns.settings = settings(max_examples=60, deadline=None)


def test_a_fan_out_leaves_places_and_tokens_to_the_first_lane():
    gate = Gate(in_flight_max=8, per_second=100)
    begun = 0
    while gate.enter(0, promotional=True):
        begun += 1

    assert begun == 6
    assert gate.enter(0, promotional=False)


@given(
    st.integers(1, 40).map(float),
    st.lists(st.tuples(st.integers(0, 200), st.booleans()), min_size=1, max_size=60),
)
def test_no_second_sees_more_calls_than_the_rate_and_its_burst(per_second, arrivals):
    gate = Gate(in_flight_max=10_000, per_second=per_second)
    now, begun = 0, []
    for pause_ms, promotional in arrivals:
        now += pause_ms
        while gate.enter(now, promotional=promotional):
            begun.append(now)

    for start in begun:
        assert sum(start <= at < start + 1000 for at in begun) <= 2 * per_second + 1


def test_a_token_that_called_nobody_is_given_back():
    gate = Gate(in_flight_max=4, per_second=1)
    for _ in range(5):
        assert gate.enter(0, promotional=False)
        gate.leave(called=False)
    assert gate.enter(0, promotional=False)
    gate.leave(called=True)
    assert not gate.enter(0, promotional=False)
    assert gate.wait_ms(0, promotional=False) == 1000
