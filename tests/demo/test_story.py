"""The day's plan and the faster journeys: the same each time, and by the contract."""

from collections import Counter
from pathlib import Path

import orjson
import pytest

from orchestrator.catalog import load
from orchestrator.demo.shop import first_message, quicker, quicker_text, write_quicker
from orchestrator.demo.story import anas_order, anas_way, day_plan
from orchestrator.protocol.codec import decode_event

JOURNEYS = Path(__file__).parents[2] / "journeys"


def test_the_same_seed_gives_the_same_day():
    again = [day_plan(customers=50, seconds=30, seed=7) for _ in range(2)]

    assert again[0] == again[1]
    assert again[0] != day_plan(customers=50, seconds=30, seed=8)


def test_every_event_of_the_day_is_one_by_the_contract():
    touches = [*day_plan(customers=120, seconds=30, seed=1), *anas_way()]
    events = [touch.event for touch in touches] + [anas_order()]

    for event in events:
        value = orjson.dumps(event | {"time": "2026-11-22T10:00:00Z"})
        decode_event(event["subject"].encode(), value, [], event_bytes_max=10_000)


def test_ids_are_unique_but_for_the_repeats_that_the_plan_means():
    touches = [*day_plan(customers=240, seconds=30, seed=1), *anas_way()]
    counts = Counter(touch.event["id"] for touch in touches if not touch.repeat)

    assert max(counts.values()) == 1
    assert any(touch.repeat for touch in touches)
    assert any(not touch.keyed for touch in touches)


def test_the_plan_is_in_order_of_time():
    times = [touch.at for touch in day_plan(customers=60, seconds=30, seed=1)]

    assert times == sorted(times)


@pytest.mark.parametrize(
    ("wait", "played"),
    [("30m", "1s"), ("1h", "1s"), ("23h", "4s"), ("3d", "6s"), ("2w", "10s"), ("PT4H", "2s")],
)
def test_waits_are_shortened_and_keep_their_order(wait, played):
    assert quicker(wait) == played


def test_only_waits_change():
    text = "on: cart.abandoned  # wait: 3d\n  - id: a\n    wait: 3d\n    expires_after: 3d\n"

    assert quicker_text(text) == text.replace("    wait: 3d", "    wait: 6s")


def test_a_best_hour_is_played_as_a_short_wait():
    """The demo does not know at what time of the day somebody looks at it."""
    assert quicker_text("    wait: best_time\n") == "    wait: 1s\n"


def test_the_faster_copy_is_the_shops_own_journeys(tmp_path):
    """The copy passes the same check and differs from the original in nothing but waits."""
    write_quicker(JOURNEYS, tmp_path)

    original, copy = load(JOURNEYS, "test"), load(tmp_path, "test")

    assert copy.versions.keys() == original.versions.keys()
    for key, journey in original.versions.items():
        waits = {step.id: step.wait for step in copy.versions[key].steps}
        steps = tuple(
            step if step.wait is None else step.model_copy(update={"wait": waits[step.id]})
            for step in journey.steps
        )
        assert copy.versions[key] == journey.model_copy(update={"steps": steps})
        plain = [wait for wait in waits.values() if wait and wait.model_fields_set == {"for_"}]
        assert all(wait.for_ <= 20_000 for wait in plain)


def test_the_shop_thanks_for_a_purchase_first():
    journeys = load(JOURNEYS, "test")
    after = next(j for j in journeys.current if j.name == "post_purchase")

    assert first_message(after) == "thank_you"
