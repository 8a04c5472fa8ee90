"""Rounds of visits: each customer once, at a rate, and on from where a dead worker stopped."""

import pytest

from orchestrator.core.event import Resumed, Visit
from orchestrator.core.pauses import Pause, Pauses
from orchestrator.protocol.commit.rounds import RESUMED, Cursor, Rounds
from tests.core.builders import DAY, HOUR, SECOND, START, journey, send, shop_of

IDS = [f"c{number:03}".encode() for number in range(100)]
# Monday, 23 November 2026, 09:00 UTC.
MONDAY = START + 23 * HOUR


def news(rate=1_000, **entry):
    return shop_of(
        journey("news", None, [send("n")], schedule={"cron": "0 9 * * 1", "rate": rate}, **entry)
    )


def visit_all(rounds, customers, now, held=()):
    visited = []
    while (found := rounds.next_visit(customers, held, now)) is not None:
        visited.append(found[0])
    return visited


def begun(journeys, *, partitions=1):
    """Return rounds that have been there before the first Monday."""
    rounds = Rounds(journeys, {}, partitions=partitions)
    assert rounds.next_visit(IDS, (), START) is None
    return rounds


def test_everybody_is_visited_once_when_the_time_has_come():
    rounds = begun(news())

    assert visit_all(rounds, IDS, MONDAY - 1) == []
    assert rounds.next_due_ms(MONDAY - 1) <= MONDAY
    first = visit_all(rounds, reversed(IDS), MONDAY)
    left = rounds.left
    rest = visit_all(rounds, IDS, MONDAY + SECOND)

    assert first + rest == IDS
    assert (left, rounds.left) == (len(rest), 0)
    assert visit_all(rounds, IDS, MONDAY + HOUR) == []


def test_a_round_keeps_its_rate_over_all_partitions():
    rounds = begun(news(rate=40), partitions=4)

    visited = [len(visit_all(rounds, IDS, MONDAY + n * SECOND)) for n in range(3)]

    assert visited == [1, 10, 10]


@pytest.mark.parametrize("died_after", [1, 50, 99])
def test_a_round_goes_on_behind_the_last_customer_that_was_committed(died_after):
    journeys = news()
    rounds = begun(journeys)
    assert rounds.next_visit(IDS, (), MONDAY)[0] == IDS[0]
    done = IDS[:1] + [rounds.next_visit(IDS, (), MONDAY + HOUR)[0] for _ in range(died_after - 1)]

    heir = Rounds(journeys, rounds.cursors(), partitions=1)
    rest = visit_all(heir, IDS, MONDAY + HOUR) + visit_all(heir, IDS, MONDAY + 2 * HOUR)

    assert done + rest == IDS


def test_a_round_that_began_and_visited_nobody_is_not_lost():
    journeys = news()
    rounds = begun(journeys)
    cursors = rounds.cursors() | {"news": Cursor(1, MONDAY, b"")}

    heir = Rounds(journeys, cursors, partitions=1)

    assert visit_all(heir, IDS, MONDAY) + visit_all(heir, IDS, MONDAY + HOUR) == IDS


def test_a_journey_does_not_make_up_for_the_time_before_it_was_there():
    rounds = Rounds(news(), {}, partitions=1)

    assert visit_all(rounds, IDS, MONDAY + HOUR) == []


def test_after_an_outage_the_last_time_is_made_up_for_if_it_is_not_too_long_ago():
    late = begun(news())
    too_late = begun(news(max_age="1h"))

    last = MONDAY + 7 * DAY
    assert visit_all(late, IDS, last + DAY) + visit_all(late, IDS, last + 2 * DAY) == IDS
    assert visit_all(too_late, IDS, MONDAY + 2 * HOUR) == []
    assert too_late.cursors()["news"] == Cursor(1, MONDAY)


def test_a_journey_that_is_new_visits_everybody_to_see_what_is_to_come():
    date = {"of": "profile.birthday", "yearly": True}
    journeys = shop_of(journey("cake", None, [send("cake")], date=date))
    rounds = Rounds(journeys, {}, partitions=1)

    visited = visit_all(rounds, IDS, START) + visit_all(rounds, IDS, START + SECOND)

    assert visited == IDS
    assert visit_all(Rounds(journeys, rounds.cursors(), partitions=1), IDS, START + DAY) == []


def test_a_new_version_visits_again_and_an_old_journey_is_forgotten():
    date = {"of": "profile.birthday", "yearly": True}
    second = shop_of(journey("cake", None, [send("cake")], date=date, version=2))
    held = {"cake": Cursor(1), "gone": Cursor(1, START, b"c050")}

    rounds = Rounds(second, held, partitions=1)

    assert visit_all(rounds, IDS, START + DAY)[0] == IDS[0]
    assert rounds.cursors().keys() == {"cake"}


def test_a_partition_without_customers_has_nothing_to_do():
    rounds = begun(news())

    assert visit_all(rounds, [], MONDAY) == []
    assert rounds.cursors()["news"] == Cursor(1, MONDAY)


# -- After a change of what is paused -----------------------------------------------------------

PAUSE = Pause("global", "eva", "stop")
HELD = IDS[::10]


def paused(revision, journeys=None):
    return (journeys or shop_of()).pausing(Pauses([PAUSE], revision))


def test_after_a_change_only_those_are_visited_whom_a_pause_holds():
    rounds = Rounds(paused(3), {}, partitions=1)

    assert rounds.next_due_ms(START) == START
    assert rounds.next_visit(IDS, HELD, START) == (HELD[0], Resumed(3))
    assert visit_all(rounds, IDS, START + SECOND, HELD) == HELD[1:]
    assert rounds.cursors() == {RESUMED: Cursor(3)}
    assert rounds.next_due_ms(START + DAY) is None


def test_a_resumed_round_is_bounded_in_its_rate():
    rounds = Rounds(paused(1), {}, partitions=1)

    visited = sum(len(visit_all(rounds, IDS, START + ms, IDS)) for ms in range(21))

    assert visited == pytest.approx(40, abs=2)


def test_where_nobody_ever_paused_anything_there_is_no_round_and_no_cursor():
    rounds = Rounds(shop_of(), {}, partitions=1)

    assert rounds.next_due_ms(START) is None
    assert rounds.next_visit(IDS, HELD, START) is None
    assert rounds.cursors() == {}


def test_a_change_that_is_known_already_starts_no_second_round():
    rounds = Rounds(paused(3), {RESUMED: Cursor(3)}, partitions=1)

    assert rounds.next_due_ms(START) is None


@pytest.mark.parametrize("died_after", [1, 5, 9])
def test_a_resumed_round_goes_on_behind_the_last_customer_that_was_committed(died_after):
    rounds = Rounds(paused(3), {}, partitions=1)
    rounds.next_visit(IDS, HELD, START)
    done = HELD[:1] + [rounds.next_visit(IDS, HELD, START + HOUR)[0] for _ in range(died_after - 1)]

    heir = Rounds(paused(3), rounds.cursors(), partitions=1)

    assert (
        done + visit_all(heir, IDS, START, HELD) + visit_all(heir, IDS, START + HOUR, HELD) == HELD
    )


def test_a_change_in_the_middle_of_a_round_begins_it_anew():
    rounds = Rounds(paused(3), {}, partitions=1)
    rounds.next_visit(IDS, HELD, START)

    changed = Rounds(paused(4), rounds.cursors(), partitions=1)

    assert changed.next_visit(IDS, HELD, START) == (HELD[0], Resumed(4))


def test_who_is_held_is_visited_before_a_journey_visits():
    begun_before = begun(news())
    rounds = Rounds(paused(1, news()), begun_before.cursors(), partitions=1)
    rounds.next_visit(IDS, HELD, MONDAY)

    visits = [rounds.next_visit(IDS, HELD, MONDAY + HOUR)[1] for _ in range(len(HELD))]

    assert all(isinstance(one, Resumed) for one in visits[:-1])
    assert isinstance(visits[-1], Visit)


def test_a_partition_where_nobody_is_held_notes_that_the_round_is_over():
    rounds = Rounds(paused(1), {}, partitions=1)

    assert rounds.next_visit((), (), START) is None
    assert rounds.cursors() == {RESUMED: Cursor(1)}
