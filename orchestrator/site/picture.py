"""The picture of a journey as SVG, without a script and without a word that is not escaped.

Colours come from the page's style sheet by class, so that light and dark need one picture.
"""

from __future__ import annotations

from itertools import pairwise
from textwrap import shorten
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

from orchestrator.site.layout import BOX_HEIGHT, BOX_WIDTH, Layout, Link, lay_out
from orchestrator.site.sentences import entry_sentence, step_sentence, word_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.language.journey import Journey

_TITLE_CHARACTERS: Final = 26
_TEXT_CHARACTERS: Final = 34
_LABEL_CHARACTERS: Final = 30
_ENTRY: Final = -1
# What kind of box a word is; the style sheet has a colour for each.
_KINDS: Final = {
    **dict.fromkeys(("send", "ask", "webhook", "task"), "reach"),
    "wait": "wait",
    **dict.fromkeys(("branch", "split", "holdout"), "turn"),
    **dict.fromkeys(("set", "emit", "audience"), "note"),
    "go_to": "turn",
    "end": "end",
}


def picture(journey: Journey) -> Markup:
    """Return the picture; its text alternative is the list of steps beside it."""
    layout = lay_out(journey)
    lines = [*_lines(layout), *_boxes(journey, layout)]
    size = f"{layout.width:.0f} {layout.height:.0f}"
    width, height = size.split()
    # Every text in it is escaped where it is put in.
    return Markup(  # noqa: S704
        f'<svg class="journey" viewBox="0 0 {size}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="t-{escape(journey.name)}">'
        f'<title id="t-{escape(journey.name)}">The steps of {escape(journey.name)}</title>'
        f"{''.join(lines)}</svg>"
    )


def _lines(layout: Layout) -> Iterator[str]:
    for link, points in layout.ways:
        back = " back" if link.leads_back else ""
        yield f'<path class="way {link.kind}{back}" d="{_curve(link, points)}"/>'
        x, y = points[-1]
        head = (
            f"M{x - 7:.0f} {y - 4:.0f}L{x:.0f} {y:.0f}L{x - 7:.0f} {y + 4:.0f}"
            if link.leads_back
            else f"M{x - 4:.0f} {y - 7:.0f}L{x:.0f} {y:.0f}L{x + 4:.0f} {y - 7:.0f}"
        )
        yield f'<path class="head" d="{head}"/>'
    for link, points in layout.ways:
        if link.label:
            yield from _label(link, points)


def _curve(link: Link, points: list[tuple[float, float]]) -> str:
    begin = f"M{points[0][0]:.0f} {points[0][1]:.0f}"
    if link.leads_back:
        return begin + "".join(f"L{x:.0f} {y:.0f}" for x, y in points[1:])
    parts = []
    for (x, y), (to_x, to_y) in pairwise(points):
        half = (y + to_y) / 2
        parts.append(f"C{x:.0f} {half:.0f} {to_x:.0f} {half:.0f} {to_x:.0f} {to_y:.0f}")
    return begin + "".join(parts)


def _label(link: Link, points: list[tuple[float, float]]) -> Iterator[str]:
    """Put a label on a line, near its end, where lines of one box have parted."""
    (x, y), (to_x, to_y) = points[0], points[1]
    at_x, at_y = x + (to_x - x) * 0.72, y + (to_y - y) * 0.62
    text = shorten(link.label, _LABEL_CHARACTERS, placeholder="…")
    yield (
        f'<text class="label" x="{at_x:.0f}" y="{at_y:.0f}"><title>{escape(link.label)}</title>'
        f"{escape(text)}</text>"
    )


def _boxes(journey: Journey, layout: Layout) -> Iterator[str]:
    entry = entry_sentence(journey.entry)
    yield _box(layout, _ENTRY, "entry", journey.entry.label, entry)
    for index, step in enumerate(journey.steps):
        kind = _KINDS[word_of(step)]
        yield _box(layout, index, kind, step.id, step_sentence(step))


def _box(layout: Layout, index: int, kind: str, title: str, text: str) -> str:
    box = layout.boxes[index]
    left, top = box.x - BOX_WIDTH / 2, box.y - BOX_HEIGHT / 2
    short = shorten(text, _TEXT_CHARACTERS, placeholder="…") or text[:_TEXT_CHARACTERS]
    return (
        f'<g class="box {kind}"><title>{escape(title)}: {escape(text)}</title>'
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9"/>'
        f'<text class="name" x="{box.x:.0f}" y="{box.y - 6:.0f}">'
        f"{escape(title[:_TITLE_CHARACTERS])}</text>"
        f'<text class="what" x="{box.x:.0f}" y="{box.y + 14:.0f}">{escape(short)}</text></g>'
    )
