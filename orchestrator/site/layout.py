"""A journey as a layered graph: which boxes, which lines, and where they stand.

Layers by the longest way from the entry, so that everything but a `go_to` leads downward; order
within a layer by the middle of the neighbours, a few times down and up; lines over several layers
keep a place in each, so that no line crosses a box. Pure numbers: `picture` draws them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from orchestrator.site.sentences import heard_text, word_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.language.journey import Journey, Step

BOX_WIDTH: Final = 210
BOX_HEIGHT: Final = 58
COLUMN: Final = 244
ROW: Final = 112
_SWEEPS: Final = 8
# A line that only passes through a layer needs less room than a box.
_LANE: Final = 44
MARGIN: Final = 24
# Lines that lead back run to the left of everything, one beside the other.
_BACK_LANE: Final = 22


@dataclass(frozen=True, slots=True)
class Link:
    """A way from one box to another; `source` -1 is the entry."""

    source: int
    target: int
    label: str
    kind: str = "plain"

    @property
    def leads_back(self) -> bool:
        """Whether it goes round."""
        return self.target <= self.source


@dataclass(slots=True)
class Box:
    """A step, or the entry, with its middle at (x, y)."""

    index: int
    x: float = 0.0
    y: float = 0.0


@dataclass(slots=True)
class Layout:
    """Boxes by step position (-1 is the entry), and for each link the points it runs through."""

    boxes: dict[int, Box]
    ways: list[tuple[Link, list[tuple[float, float]]]] = field(default_factory=list)
    width: float = 0.0
    height: float = 0.0


def links_of(journey: Journey) -> list[Link]:
    """Return every way between steps, with what leads there."""
    positions = {step.id: index for index, step in enumerate(journey.steps)}
    found = [Link(-1, 0, "")]
    for index, step in enumerate(journey.steps):
        for name, label, kind in _named(step):
            found.append(Link(index, positions[name], label, kind))
        if _falls_through(step):
            target = positions[step.next] if step.next is not None else index + 1
            if target < len(journey.steps):
                found.append(Link(index, target, _else_label(step), "plain"))
    return found


def lay_out(journey: Journey) -> Layout:
    """Return where everything stands."""
    links = links_of(journey)
    forward = [link for link in links if not link.leads_back]
    layers = _layers(len(journey.steps), forward)
    rows, chains = _with_lanes(layers, forward)
    _order(rows, chains)
    layout = _placed(rows, layers)
    lanes = 0
    for link in links:
        if link.leads_back:
            lanes += 1
            layout.ways.append((link, _back_way(layout, link, lanes)))
        else:
            layout.ways.append((link, _way(layout, link, chains, rows)))
    _shift_right(layout, lanes * _BACK_LANE)
    return layout


def _named(step: Step) -> Iterator[tuple[str, str, str]]:
    """Yield (step, label, kind) of every way that a step names itself."""
    for arm in step.branch or ():
        yield arm.next, "else" if arm.when is None else arm.when.source, "condition"
    total = sum(share.weight for share in step.split or ())
    for share in step.split or ():
        yield share.next, f"{100 * share.weight / total:.0f} %", "share"
    if step.holdout is not None and step.holdout.next is not None:
        yield step.holdout.next, f"{step.holdout.percent:g} % left out", "share"
    for heard in step.wait.until if step.wait is not None else ():
        yield heard.next, heard_text(heard), "event"
    if step.go_to is not None:
        yield step.go_to, "", "back"


def _falls_through(step: Step) -> bool:
    return word_of(step) not in ("branch", "split", "go_to", "end")


def _else_label(step: Step) -> str:
    return "in vain" if step.wait is not None and step.wait.until else ""


def _layers(count: int, forward: list[Link]) -> dict[int, int]:
    """Return the layer of every box: one below the lowest that leads there."""
    layers = dict.fromkeys(range(-1, count), 0)
    for link in sorted(forward, key=lambda one: one.source):
        layers[link.target] = max(layers[link.target], layers[link.source] + 1)
    return layers


Place = tuple[str, int, int]


def _with_lanes(
    layers: dict[int, int], forward: list[Link]
) -> tuple[dict[int, list[Place]], dict[int, list[Place]]]:
    """Return the places of each layer, boxes and lanes, and the places each link runs through."""
    rows: dict[int, list[Place]] = defaultdict(list)
    for index, layer in sorted(layers.items()):
        rows[layer].append(("box", index, 0))
    chains: dict[int, list[Place]] = {}
    for number, link in enumerate(forward):
        chain: list[Place] = [("box", link.source, 0)]
        for layer in range(layers[link.source] + 1, layers[link.target]):
            lane: Place = ("lane", number, layer)
            rows[layer].append(lane)
            chain.append(lane)
        chain.append(("box", link.target, 0))
        chains[id(link)] = chain
    return dict(rows), chains


def _order(rows: dict[int, list[Place]], chains: dict[int, list[Place]]) -> None:
    """Sort each layer by the middle of its neighbours, down and up in turn."""
    above: dict[Place, list[Place]] = defaultdict(list)
    below: dict[Place, list[Place]] = defaultdict(list)
    for chain in chains.values():
        for one, next_ in pairwise(chain):
            below[one].append(next_)
            above[next_].append(one)
    order = sorted(rows)
    for sweep in range(_SWEEPS):
        neighbours = above if sweep % 2 == 0 else below
        for layer in order if sweep % 2 == 0 else reversed(order):
            middles = {
                place: _middle(rows, neighbours[place], index)
                for index, place in enumerate(rows[layer])
            }
            rows[layer].sort(key=lambda place: middles[place])


def _middle(rows: dict[int, list[Place]], neighbours: list[Place], otherwise: int) -> float:
    if not neighbours:
        return float(otherwise)
    at = {place: index for row in rows.values() for index, place in enumerate(row)}
    return sum(at[one] for one in neighbours) / len(neighbours)


def _placed(rows: dict[int, list[Place]], layers: dict[int, int]) -> Layout:
    layout = Layout({index: Box(index) for index in layers})
    widths = {
        layer: sum(COLUMN if place[0] == "box" else _LANE for place in row)
        for layer, row in rows.items()
    }
    widest = max(widths.values())
    for layer, row in rows.items():
        x = MARGIN + (widest - widths[layer]) / 2
        for place in row:
            width = COLUMN if place[0] == "box" else _LANE
            if place[0] == "box":
                layout.boxes[place[1]] = Box(
                    place[1], x + width / 2, MARGIN + BOX_HEIGHT / 2 + layer * ROW
                )
            x += width
    layout.width = widest + 2 * MARGIN
    layout.height = max(rows) * ROW + BOX_HEIGHT + 2 * MARGIN
    return layout


def _way(
    layout: Layout, link: Link, chains: dict[int, list[Place]], rows: dict[int, list[Place]]
) -> list[tuple[float, float]]:
    points = []
    for place in chains[id(link)]:
        if place[0] == "box":
            box = layout.boxes[place[1]]
            below = place[1] == link.source
            edge = BOX_HEIGHT / 2 if below else -BOX_HEIGHT / 2
            points.append((box.x, box.y + edge))
        else:
            points.append((_lane_x(rows[place[2]], place, layout), _layer_y(place[2])))
    return points


def _lane_x(row: list[Place], lane: Place, layout: Layout) -> float:
    width = sum(COLUMN if place[0] == "box" else _LANE for place in row)
    x = (layout.width - width) / 2
    for place in row:
        if place == lane:
            break
        x += COLUMN if place[0] == "box" else _LANE
    return x + _LANE / 2


def _layer_y(layer: int) -> float:
    return MARGIN + BOX_HEIGHT / 2 + layer * ROW


def _back_way(layout: Layout, link: Link, lane: int) -> list[tuple[float, float]]:
    source, target = layout.boxes[link.source], layout.boxes[link.target]
    x = MARGIN - lane * _BACK_LANE
    left = BOX_WIDTH / 2
    return [(source.x - left, source.y), (x, source.y), (x, target.y), (target.x - left, target.y)]


def _shift_right(layout: Layout, by: float) -> None:
    if not by:
        return
    for box in layout.boxes.values():
        box.x += by
    layout.ways = [(link, [(x + by, y) for x, y in points]) for link, points in layout.ways]
    layout.width += by
