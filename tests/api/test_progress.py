"""How far behind the read model is, as the exposition asks it: records, and seconds."""

from types import SimpleNamespace

import pytest

from orchestrator.api.model.progress import Progress
from orchestrator.api.model.tasks import Queue
from orchestrator.api.telemetry import Telemetry
from tests.api.rig import Rig

LOG, STATES = ("journey-log", 0), ("changelog", 0)


@pytest.fixture
def progress():
    one = Progress()
    one.stands(LOG, 10, now_ms=1_000)
    one.stands(STATES, 5, now_ms=1_000)
    return one


def test_nothing_before_it_is_level(progress):
    behind = progress.behind({LOG: 10, STATES: 5}, {LOG: 10, STATES: 5}, now_ms=60_000)

    assert behind == ({"journey-log": 0, "changelog": 0}, 0.0)


def test_a_feed_that_stands_still_falls_behind_by_the_second(progress):
    ends = {LOG: 30, STATES: 5}

    assert progress.behind({}, ends, now_ms=4_000) == ({"journey-log": 20, "changelog": 0}, 3.0)
    assert progress.behind({}, ends, now_ms=64_000).seconds == 63.0


def test_it_is_as_old_as_the_newest_record_that_is_in_the_file(progress):
    progress.read({LOG: 20})
    progress.applied({LOG: 20}, {LOG: 8_500}, now_ms=9_000)

    assert progress.behind({LOG: 20}, {LOG: 30}, now_ms=9_500).seconds == 1.0


def test_a_record_after_a_quiet_hour_is_no_hour_late(progress):
    progress.read({LOG: 11})
    progress.applied({LOG: 11}, {LOG: 2_000}, now_ms=2_000)
    level = progress.behind({LOG: 11}, {LOG: 11}, now_ms=3_600_000)
    after = progress.behind({LOG: 11}, {LOG: 12}, now_ms=3_600_100)

    assert level.seconds == 0.0
    assert after.seconds == pytest.approx(0.1)


def test_a_marker_that_ends_a_transaction_is_no_record_that_is_missing(progress):
    progress.read({LOG: 20})
    progress.applied({LOG: 20}, {LOG: 2_000}, now_ms=2_000)

    assert progress.behind({LOG: 21}, {LOG: 21}, now_ms=9_000).records["journey-log"] == 0


def test_what_is_read_and_not_in_the_file_is_missing_though_the_consumer_is_past_it(progress):
    progress.read({LOG: 20})

    behind = progress.behind({LOG: 21}, {LOG: 21}, now_ms=9_000)

    assert behind.records["journey-log"] == 11
    assert behind.seconds == 8.0


def test_a_clock_that_runs_ahead_does_not_make_it_younger(progress):
    progress.read({LOG: 20})
    progress.applied({LOG: 20}, {LOG: 999_000}, now_ms=2_000)

    assert progress.behind({LOG: 20}, {LOG: 21}, now_ms=5_000).seconds == 3.0


def test_the_feed_asks_its_consumer_where_it_stands_and_where_topics_end(tmp_path):
    feed = Rig(tmp_path).model._feed
    places = feed._sources.places
    for place in places:
        feed._progress.stands(place, 3, now_ms=0)
    state = SimpleNamespace(has_valid_position=True, position=4, lso=6)
    assignment = SimpleNamespace(state_value=lambda _: state)
    feed._consumer = SimpleNamespace(
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    )

    behind = feed.behind()

    assert behind.records == dict.fromkeys({place.topic for place in places}, 2 * 8)
    assert behind.seconds > 0


def test_before_it_has_connected_it_is_behind_nothing(tmp_path):
    assert Rig(tmp_path).model.behind() == ({}, 0.0)


def test_a_queue_that_is_empty_again_has_no_series():
    telemetry = Telemetry()
    telemetry.tasks([Queue("complaints", 5, 2, 0)])
    read = telemetry.registry.get_sample_value

    assert read("orchestrator_api_tasks_open", {"queue": "complaints", "state": "free"}) == 3
    assert read("orchestrator_api_tasks_open", {"queue": "complaints", "state": "claimed"}) == 2
    telemetry.tasks([])
    assert read("orchestrator_api_tasks_open", {"queue": "complaints", "state": "free"}) is None


def test_a_question_without_an_answer_is_counted_and_has_no_duration():
    telemetry = Telemetry()
    telemetry.asked("offer.requested", "unanswered", 2.0)
    telemetry.asked("task.claimed", "answered", 0.2)
    telemetry.asked("note.invented", "answered", 0.2)
    read = telemetry.registry.get_sample_value
    name = "orchestrator_api_questions_total"

    assert read(name, {"about": "offer", "outcome": "unanswered"}) == 1
    assert read(name, {"about": "task", "outcome": "answered"}) == 1
    assert read(name, {"about": "other", "outcome": "answered"}) == 1
    assert read("orchestrator_api_answer_seconds_count") == 2
