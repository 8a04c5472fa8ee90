"""Pictures of journeys: nothing stands on top of anything, and every way is drawn."""

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings

from orchestrator.catalog import load
from orchestrator.site.layout import BOX_HEIGHT, BOX_WIDTH, lay_out, links_of
from orchestrator.site.picture import picture
from tests.core.builders import journey, send, wait
from tests.core.test_laws import journeys

SHOP = load(Path(__file__).parents[2] / "journeys", "test")
LADDER = journey("ladder", "seen", [send(f"s{n}") for n in range(64)])


def overlaps(layout):
    """Return the pairs of boxes that stand on one another."""
    return [
        (one.index, other.index)
        for one, other in combinations(layout.boxes.values(), 2)
        if abs(one.x - other.x) < BOX_WIDTH and abs(one.y - other.y) < BOX_HEIGHT
    ]


@pytest.mark.parametrize("one", SHOP.current, ids=lambda one: one.name)
def test_boxes_of_the_shops_journeys_stand_apart_and_inside_the_picture(one):
    layout = lay_out(one)

    assert overlaps(layout) == []
    for box in layout.boxes.values():
        assert BOX_WIDTH / 2 <= box.x <= layout.width - BOX_WIDTH / 2
        assert BOX_HEIGHT / 2 <= box.y <= layout.height - BOX_HEIGHT / 2


@settings(max_examples=60, deadline=None)
@given(one=journeys("any"))
def test_boxes_of_any_journey_stand_apart_and_every_way_is_drawn(one):
    layout = lay_out(one)

    assert overlaps(layout) == []
    assert sorted((way.source, way.target) for way, _ in layout.ways) == sorted(
        (way.source, way.target) for way in links_of(one)
    )


def test_everything_but_a_way_back_leads_downward():
    steps = [wait("a", "1h"), send("b"), {"id": "c", "go_to": "a"}]
    layout = lay_out(journey("round", "seen", steps))

    for link, points in layout.ways:
        downward = points[-1][1] > points[0][1]
        assert downward is not link.leads_back


def test_a_line_over_several_layers_passes_beside_the_boxes():
    branch = {"id": "b", "branch": [{"when": "profile.x == 1", "next": "z"}, {"next": "s1"}]}
    layout = lay_out(journey("long", "seen", [branch, send("s1"), send("s2"), send("z")]))
    (points,) = (p for link, p in layout.ways if (link.source, link.target) == (0, 3))

    for x, y in points[1:-1]:
        for box in layout.boxes.values():
            assert abs(box.x - x) > BOX_WIDTH / 2 or abs(box.y - y) > BOX_HEIGHT / 2


def test_a_journey_of_64_steps_is_one_column():
    layout = lay_out(LADDER)

    assert layout.width < 2 * BOX_WIDTH
    assert layout.height < 65 * 130


def test_the_picture_holds_the_words_of_the_journey_and_none_of_its_markup():
    hostile = journey("j", "seen", [{"id": "s", "end": "<script>alert(1)</script>"}])

    drawn = picture(hostile)

    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn
