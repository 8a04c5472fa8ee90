"""Writes `demo-report.html`: one file that shows the day to somebody who was not there.

`demo/day` hands in the audited summary, Ana's panels and her explanation from the journey log. The
file holds its styles and pictures itself and asks no other machine for anything; it follows the
reader's light or dark mode and fits a phone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Final

from orchestrator.core.decision import Refusal
from orchestrator.demo.ana import PANELS, Entry, Sight
from orchestrator.demo.judge.side_by_side import broken_promises, html_day_in_silos, html_table
from orchestrator.demo.ledger import percentile
from orchestrator.timeline.explanation import Mark
from orchestrator.timeline.sentences import REFUSED_BECAUSE, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.demo.judge.two_worlds import Comparison
    from orchestrator.demo.ledger import Summary
    from orchestrator.timeline.explanation import Explanation, Moment

# The drawing is small on purpose: on a phone it is shown at nearly this size, so that its text
# can still be read.
WIDTH: Final = 460
HEIGHT: Final = 230
LEFT: Final = 52
BOTTOM: Final = 26
TOP: Final = 12
# Milliseconds at the lines of the logarithmic scales.
TICKS_MS: Final = (1, 10, 100, 1_000, 10_000, 100_000)
SHARES: Final = (0.0, 0.5, 0.9, 0.99)
# The scale stretches by powers of ten, to the slowest of some 250 purchases.
NINES_MAX: Final = 2.4
SIGNS: Final = {
    Mark.SENT: ("good", "sent"),
    Mark.NOT_SENT: ("bad", "not sent"),
    Mark.ENTERED: ("good", "→"),
    Mark.ENDED: ("bad", "■"),
    Mark.MOVED: ("way", "…"),
    Mark.REFUSED: ("bad", "✗"),
    Mark.FINAL: ("good", "✓"),
    Mark.NOTHING: ("", ""),
}


@dataclass(frozen=True, slots=True)
class Day:
    """What the report is made of. `why` is the story of the e-mail: (tone, headline, lines).

    `account` says how much `explain` has answered for, and how much came out the same again.
    """

    summary: Summary
    comparison: Comparison
    panels: Mapping[str, Sequence[Entry]]
    purchase_at: float
    explanation: Explanation
    why: Sequence[tuple[str, str, Sequence[str]]]
    subtitle: str
    next_commands: Sequence[str]
    colophon: str
    account: str = ""


def write_report(day: Day) -> str:
    """Return the page."""
    template = Template(files("orchestrator.demo").joinpath("report.html").read_text("utf-8"))
    summary = day.summary
    return template.substitute(
        subtitle=escape(day.subtitle),
        verdict_class="" if summary.verdict.holds and not day.comparison.broken else "broken",
        verdict=_verdict(summary) + _broken(day.comparison) + _account(day.account),
        tiles=_tiles(summary),
        ana_intro=_ana_intro(day),
        panels="".join(_panel(PANELS[channel], day.panels[channel], day) for channel in PANELS),
        why="".join(
            f'<li class="{tone}"><b>{escape(headline)}</b>{"<br>".join(map(escape, lines))}</li>'
            for tone, headline, lines in day.why
        ),
        two_worlds=html_table(day.comparison),
        anas_silos=html_day_in_silos(day.comparison, purchase_at=day.purchase_at),
        latency_intro=_latency_intro(summary),
        curve=_curve(summary),
        curve_legend=_curve_legend(summary),
        kill_intro=_kill_intro(summary),
        scatter=_scatter(summary),
        commands=_bars(summary.commands),
        refusals=_refusals(summary.refusals),
        books_note=_books_note(summary),
        timeline=_timeline(day.explanation),
        next=escape("\n".join(day.next_commands)),
        colophon=escape(day.colophon),
    )


def milliseconds(value: float | None) -> str:
    """Return a latency as the report shows it."""
    if value is None:
        return "none"
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def _verdict(summary: Summary) -> str:
    verdict = summary.verdict
    said = "Every purchase had its effect exactly once." if verdict.holds else "It does not hold."
    return (
        f"<b>lost {verdict.lost}</b><b>doubled {verdict.doubled}</b>"
        f"<span>{said} {verdict.purchases} accepted purchases and {verdict.commands} commands, "
        "counted from the topics after the day.</span>"
    )


def _broken(comparison: Comparison) -> str:
    lines = broken_promises(comparison)
    return "".join(f"<span>A promise is broken: {escape(line)}.</span>" for line in lines)


def _account(told: str) -> str:
    return f"<span>{escape(told[:1].upper() + told[1:])}.</span>" if told else ""


def _tiles(summary: Summary) -> str:
    tiles = [(f"{count:,}".replace(",", " "), name) for name, count in summary.counters.items()]
    calm, every = summary.calm_latencies_ms, summary.latencies_ms
    tiles += [
        (milliseconds(percentile(calm, 0.5)), "p50 until visible"),
        (milliseconds(percentile(calm, 0.99)), "p99 until visible"),
        (milliseconds(percentile(every, 0.99)), "p99 with kill -9"),
    ]
    return "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in tiles
    )


def _ana_intro(day: Day) -> str:
    changed = [
        entry.at - day.purchase_at
        for entries in day.panels.values()
        for entry in entries
        if day.purchase_at <= entry.at <= day.purchase_at + 1
    ]
    if not changed:
        return "No panel changed within a second of her purchase."
    last = duration(round(max(changed) * 1000))
    return (
        f"{len(changed)} things on four channels changed within <b>{last}</b> of her purchase. "
        "Times with a plus sign count from the moment at which she pressed the button; the other "
        "ones from the opening of the shop."
    )


def _panel(title: str, entries: Sequence[Entry], day: Day) -> str:
    lines = "".join(_entry(entry, day) for entry in entries)
    return f'<div class="card"><h3>{escape(title)}</h3><ul>{lines or "<li>nothing</li>"}</ul></div>'


def _entry(entry: Entry, day: Day) -> str:
    match entry.sight:
        case Sight.THERE:
            said = escape(entry.text)
        case Sight.ON_ITS_WAY:
            said = f'{escape(entry.text)} <span class="mark way">on its way</span>'
        case Sight.GONE:
            said = (
                f'<span class="taken">{escape(entry.text)}</span> '
                '<span class="mark good">gone</span>'
            )
        case Sight.RECALLED:
            note = f" ({entry.note})" if entry.note else ""
            said = (
                f'<span class="taken">{escape(entry.text)}</span> '
                f'<span class="mark bad">not sent{escape(note)}</span>'
            )
    after = ' class="after"' if entry.at >= day.purchase_at else ""
    return f'<li{after}><span class="stamp">{escape(entry.stamp)}</span>{said}</li>'


def _latency_intro(summary: Summary) -> str:
    calm = summary.calm_latencies_ms
    return (
        "Measured by a <code>read_committed</code> reader, from the moment at which a purchase "
        "was due to be sent until its first post-purchase command could be read: "
        f"p50 <b>{milliseconds(percentile(calm, 0.5))}</b>, "
        f"p99 <b>{milliseconds(percentile(calm, 0.99))}</b> over {len(calm)} purchases; with the "
        f"{len(summary.latencies_ms) - len(calm)} that met the kill, "
        f"p99 {milliseconds(percentile(summary.latencies_ms, 0.99))}. "
        "Broker, both workers, this reader and the picture share one machine."
    )


def _kill_intro(summary: Summary) -> str:
    if not summary.pauses:
        return "No worker was killed today."
    pause = summary.pauses[0]
    met = len(summary.latencies_ms) - len(summary.calm_latencies_ms)
    if pause.seconds == 0:
        return f"{pause.begin:.1f} s after opening a worker was killed; no purchase waited for it."
    return (
        f"{pause.begin:.1f} s after opening one of the two workers was killed in the middle of its "
        f"work. {met} purchases met it: those of its customers waited until the broker had given "
        f"it up and its partitions were recovered, and the last of them had its effect "
        f"{pause.seconds:.1f} s after the kill. Each dot is a purchase, at the time it was sent; "
        "the red ones met the kill."
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """A logarithmic scale of latencies; only as high as the slowest needs."""

    ticks: tuple[int, ...]

    @classmethod
    def of(cls, summary: Summary) -> _Scale:
        slowest = max(summary.latencies_ms, default=0.0)
        high = next((tick for tick in TICKS_MS[3:] if tick >= slowest), TICKS_MS[-1])
        return cls(TICKS_MS[: TICKS_MS.index(high) + 1])

    def y(self, latency_ms: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        share = math.log(min(max(latency_ms, low), high) / low) / math.log(high / low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    def svg(self, title: str, inside: str) -> str:
        lines = []
        for tick in self.ticks:
            y = self.y(tick)
            name = f"{tick // 1000} s" if tick >= 1000 else f"{tick} ms"
            lines.append(
                f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
            )
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
            f"<title>{escape(title)}</title>{''.join(lines)}{inside}</svg>"
        )


def _curve(summary: Summary) -> str:
    """Draw latency by percentile, the scale of which stretches towards the slowest."""
    scale = _Scale.of(summary)
    names = "".join(
        f'<text x="{_share_x(share):.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{'fastest' if share == 0 else f'p{share * 100:g}'}</text>"
        for share in SHARES
    )
    lines = _percentile_line(summary.latencies_ms, "all", scale)
    lines += _percentile_line(summary.calm_latencies_ms, "calm", scale)
    return scale.svg("Latency by percentile", names + lines)


def _share_x(share: float) -> float:
    # Each factor of ten towards the slowest gets the same width.
    nines = min(-math.log10(max(1 - share, 10**-NINES_MAX)), NINES_MAX)
    return LEFT + 14 + nines / NINES_MAX * (WIDTH - LEFT - 40)


def _percentile_line(latencies_ms: Sequence[float], name: str, scale: _Scale) -> str:
    ordered = sorted(latencies_ms)
    if not ordered:
        return ""
    points = " ".join(
        f"{_share_x(rank / len(ordered)):.1f},{scale.y(value):.1f}"
        for rank, value in enumerate(ordered)
    )
    return f'<polyline class="{name}" points="{points}"/>'


def _curve_legend(summary: Summary) -> str:
    met = len(summary.latencies_ms) - len(summary.calm_latencies_ms)
    return (
        '<i style="background:var(--good)"></i>purchases of the undisturbed day'
        f'<i style="background:var(--bad)"></i>with the {met} that met the kill'
    )


def _scatter(summary: Summary) -> str:
    """Draw each purchase by the time at which it was sent."""
    last = max((due for due, _ in summary.samples), default=summary.seconds)
    span = max(last, summary.seconds, 1.0)
    scale = _Scale.of(summary)

    def x(second: float) -> float:
        return LEFT + 4 + second / span * (WIDTH - LEFT - 20)

    drawn = []
    for pause in summary.pauses:
        begin, end = x(pause.begin), x(min(pause.end, span))
        drawn.append(
            f'<rect class="band" x="{begin:.1f}" y="{TOP}" width="{max(0.0, end - begin):.1f}" '
            f'height="{HEIGHT - BOTTOM - TOP}"/>'
            f'<line class="kill" x1="{begin:.1f}" x2="{begin:.1f}" y1="{TOP}" '
            f'y2="{HEIGHT - BOTTOM}"/>'
            f'<text class="strong" x="{begin - 5:.1f}" y="{TOP + 11}" text-anchor="end">'
            "kill -9</text>"
        )
    for due, latency_ms in summary.samples:
        slow = any(
            pause.begin <= due + latency_ms / 1000 and due <= pause.end for pause in summary.pauses
        )
        drawn.append(
            f'<circle class="{"hit" if slow else "dot"}" cx="{x(due):.1f}" '
            f'cy="{scale.y(latency_ms):.1f}" r="2.6"/>'
        )
    step = 5 if span <= 60 else 20
    drawn += [
        f'<text x="{x(second):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{second} s</text>'
        for second in range(0, int(span) + 1, step)
    ]
    return scale.svg("Latency of each purchase over the day", "".join(drawn))


def _bars(counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=1)
    return "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{count}</td>'
        f'<td style="width:45%"><div class="bar" style="width:{100 * count / most:.0f}%">'
        "</div></td></tr>"
        for name, count in counts.items()
    )


def _refusals(counts: Mapping[str, int]) -> str:
    if not counts:
        return "<tr><td>nothing was refused</td></tr>"
    known = {refusal.value: REFUSED_BECAUSE[refusal] for refusal in Refusal}
    return "".join(
        f'<tr><td class="number">{count}</td><td><code>{escape(reason)}</code><br>'
        f'<span class="soft small">{escape(known.get(reason, ""))}</span></td></tr>'
        for reason, count in counts.items()
    )


def _books_note(summary: Summary) -> str:
    parts = []
    if summary.dropped:
        dropped = ", ".join(f"{count} {reason}" for reason, count in summary.dropped.items())
        parts.append(f"Senders kept back at the last look: {dropped}.")
    if summary.dead_letters:
        letters = ", ".join(f"{count} {reason}" for reason, count in summary.dead_letters.items())
        parts.append(f"Dead letters: {letters}.")
    return escape(" ".join(parts))


def _timeline(explanation: Explanation) -> str:
    rows = []
    for moment in explanation.moments:
        if _is_mere_feedback(moment):
            continue
        facts = "<br>".join(_fact_line(fact.mark, fact.text) for fact in moment.facts)
        rows.append(
            f'<tr><td class="stamp">{moment.at:%H:%M:%S}.{moment.at.microsecond // 1000:03d}</td>'
            f"<td>{escape(_short(moment.cause.sentence()))}</td><td>{facts}</td></tr>"
        )
    return "".join(rows)


def _is_mere_feedback(moment: Moment) -> bool:
    """Whether a sender reported something that changed nothing: true, and of no interest."""
    told = (moment.cause.type or "").startswith(("message.", "audience."))
    return told and all(fact.mark is Mark.NOTHING for fact in moment.facts)


def _fact_line(mark: Mark, text: str) -> str:
    tone, name = SIGNS[mark]
    sign = f'<span class="mark {tone}">{name}</span> ' if name else ""
    return sign + escape(text)


def _short(sentence: str) -> str:
    # Ids of feedback events carry a command id, which is long and tells a reader nothing.
    head, _, tail = sentence.partition(" ")
    return sentence if len(tail) <= 24 else f"{head} {tail[:20]}…"


def why_not_sent(
    entries: Iterable[Entry], explanation: Explanation, purchase_at: float
) -> list[tuple[str, str, list[str]]]:
    """Tell the way of Ana's recalled e-mail, from what the panels and the journey log saw."""
    seen = {entry.id: entry for entry in entries if entry.channel == "email"}
    recalled = [message for message in explanation.not_sent if message.command in seen]
    if not recalled:
        return [("", "She got every e-mail", ["None was on its way when she bought."])]
    # The one whose turn came meanwhile shows the whole way.
    message = next((m for m in recalled if seen[m.command].note), recalled[-1])
    entry = seen[message.command]
    end = next(m for m in explanation.moments if m.cause.type == "purchase")
    story = [
        (
            "",
            f"On its way: {entry.text}",
            [
                (
                    f"The step “{message.step}” of {message.journey} sent it to the e-mail "
                    "provider, which works off a queue of eight seconds."
                )
            ],
        ),
        (
            "good",
            "Ana buys the tent",
            [
                (
                    f"{end.cause.sentence()}, {purchase_at:.1f} s after opening, while the e-mail "
                    "waits there."
                )
            ],
        ),
        (
            "bad",
            f"One decision, one transaction, visible {entry.stamp} after the purchase",
            [fact.text for fact in end.facts],
        ),
        (
            "bad",
            "A cancel and a fence",
            [
                (
                    "A message.cancel follows the e-mail on its own topic, and the topic fences "
                    f"says that {message.enrollment} is over: no command of it up to number "
                    f"{message.sequence} may go out any more."
                )
            ],
        ),
    ]
    if entry.note:
        story.append(
            (
                "bad",
                "Its turn comes",
                [
                    (
                        f"Before the call to the provider the sender looks once more; {entry.note}"
                        ". It reports message.dropped."
                    )
                ],
            )
        )
    return story
