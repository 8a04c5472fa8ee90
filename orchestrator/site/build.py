"""Journeys and scenario results → the pages of the site, as texts by file name.

One page holds everything, so that it can be mailed, archived and opened from a disk. Nothing is
fetched from anywhere and the page's policy forbids it; its one script and one style sheet are named
by their hashes.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from liquid import Environment, Mode, StrictUndefined
from markupsafe import Markup

from orchestrator import __version__
from orchestrator.catalog.rules.pressure import pressures
from orchestrator.core.calendar import first_zone, next_occurrence
from orchestrator.core.expressions.condition import Failed
from orchestrator.core.expressions.templates import OFFER
from orchestrator.protocol.commit.rounds import schedule_zone
from orchestrator.simulator.report import timeline
from orchestrator.site.offers import days_of, offers_of, shown_in, valid_throughout
from orchestrator.site.picture import picture
from orchestrator.site.profile import attributes_of, segments_of
from orchestrator.site.sentences import (
    entry_sentence,
    goal_sentence,
    heard_text,
    step_sentence,
    word_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.core.journeys import Journeys
    from orchestrator.core.language.journey import Journey, Step
    from orchestrator.simulator.story import Result

PAGE: Final = "index.html"
CALENDAR_DAYS: Final = 28
# A table that fires every minute would fill the calendar alone.
_TIMES_A_DAY_SHOWN: Final = 3
_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def build(journeys: Journeys, results: Sequence[Result], now_ms: int) -> dict[str, str]:
    """Return the files of the site. `now_ms` is where the calendar begins."""
    assets = files("orchestrator.site") / "assets"
    style = (assets / "site.css").read_text("utf-8")
    script = (assets / "site.js").read_text("utf-8")
    environment = Environment(tolerance=Mode.STRICT, undefined=StrictUndefined, autoescape=True)
    template = environment.from_string((assets / "page.liquid").read_text("utf-8"))
    worst = pressures(journeys.current)
    listed = [_journey(one, journeys, results) for one in journeys.current]
    first, last = _shown_days(journeys, now_ms)
    page = template.render(
        style=Markup(style),  # noqa: S704 - Our own file.
        script=Markup(script),  # noqa: S704 - Our own file.
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=__version__,
        content=journeys.content_hash[:12],
        written=_day_text(now_ms),
        journeys=listed,
        stages=_stages(listed),
        offers=offers_of(journeys),
        attributes=attributes_of(journeys),
        segments=segments_of(journeys),
        weeks=_weeks(journeys, now_ms),
        open_offers=valid_throughout(journeys, first, last),
        always=[one["name"] for one in listed if one["calendar"] is None],
        pressure=[one._asdict() for one in worst],
        pressure_total=sum(one.messages for one in worst),
        passed=sum(not result.failures for result in results),
        failed=sum(bool(result.failures) for result in results),
        others=[_result(one) for one in results if not _about(one, journeys)],
    )
    return {PAGE: page}


def _journey(journey: Journey, journeys: Journeys, results: Sequence[Result]) -> dict[str, Any]:
    told = [_result(one) for one in results if _about(one, journeys) == journey.name]
    channels = Counter(word.channel for step in journey.steps if (word := _reaching(step)))
    return {
        "name": journey.name,
        "version": journey.version,
        "owner": journey.owner,
        "kind": journey.kind.value,
        "stage": journey.stage.value,
        "priority": journey.priority,
        "description": journey.description,
        "entry": entry_sentence(journey.entry),
        "calendar": None if journey.entry.schedule is None else journey.entry.schedule.cron,
        "exits": [
            one.on if one.when is None else f"{one.on}, when {one.when.source}"
            for one in journey.exits
        ],
        "goal": "" if journey.goal is None else goal_sentence(journey.goal),
        "channels": [f"{name} ({count})" for name, count in sorted(channels.items())],
        "picture": picture(journey),
        "steps": [_step(step) for step in journey.steps],
        "messages": list(_messages(journey, journeys)),
        "scenarios": told,
        "failed": sum(not one["passed"] for one in told),
    }


def _step(step: Step) -> dict[str, Any]:
    ways = [
        f"{'else' if arm.when is None else arm.when.source} → {arm.next}"
        for arm in step.branch or ()
    ]
    ways += [f"{share.weight} parts → {share.next}" for share in step.split or ()]
    if step.wait is not None:
        ways += [f"{heard_text(arm)} → {arm.next}" for arm in step.wait.until]
        ways += [f"begins again on {heard_text(one)}" for one in step.wait.reset_on]
    if step.next is not None:
        ways.append(f"then {step.next}")
    return {"id": step.id, "word": word_of(step), "sentence": step_sentence(step), "ways": ways}


def _reaching(step: Step) -> Any:
    return step.send or step.ask or step.task or step.webhook or step.audience


def _messages(journey: Journey, journeys: Journeys) -> Iterator[dict[str, Any]]:
    """Yield every message with its words in each language, values in brackets."""
    words = [(step.id, step.send or step.ask) for step in journey.steps]
    words += [("exit", one.then) for one in journey.exits]
    for step, word in words:
        if word is None:
            continue
        values: dict[str, Any] = {name: f"[{name}]" for name in word.variables}
        terms = journeys.offers.get(getattr(word, "offer", None) or "")
        written = journeys.templates.written(word.channel, word.template)
        languages = []
        for language in written:
            seen = values if terms is None else values | {OFFER: shown_in(terms, language)}
            content = journeys.templates.render(word.channel, word.template, (language,), seen)
            if content is None or isinstance(content, Failed):
                # Values that are lists or objects show no placeholder.
                content = {name: part.source for name, part in written[language].items()}
            parts = [{"name": name, "text": text} for name, text in content.items()]
            languages.append({"language": language, "parts": parts})
        yield {
            "step": step,
            "channel": word.channel,
            "template": word.template,
            "offer": getattr(word, "offer", None) or "",
            "languages": languages,
        }


def _result(result: Result) -> dict[str, Any]:
    script = result.scenario.script
    return {
        "sentence": script.scenario,
        "passed": not result.failures,
        "failures": [f"line {one.line}: {one.message}" for one in result.failures],
        "story": "\n".join(timeline(result)),
    }


def _about(result: Result, journeys: Journeys) -> str | None:
    """Return the journey whose folder a scenario stands in."""
    names = {journey.name for journey in journeys.current}
    folders = result.scenario.path.replace("\\", "/").split("/")
    return next((one for one in reversed(folders[:-1]) if one in names), None)


def _stages(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    order = dict.fromkeys(("awareness", "consideration", "purchase", "service", "advocacy"))
    return [
        {"name": stage, "journeys": [one for one in listed if one["stage"] == stage]}
        for stage in order
        if any(one["stage"] == stage for one in listed)
    ]


def _shown_days(journeys: Journeys, now_ms: int) -> tuple[date, date]:
    """Return the first and the last day of the calendar: whole weeks, from Monday."""
    zone = first_zone((journeys.shop.zone,))
    today = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone).date()
    first = today - timedelta(days=today.weekday())
    return first, first + timedelta(days=CALENDAR_DAYS - 1)


def _weeks(journeys: Journeys, now_ms: int) -> list[list[dict[str, Any]]]:
    """Return the days of the next weeks, from Monday, with what begins on each."""
    zone = first_zone((journeys.shop.zone,))
    today = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone).date()
    first, _ = _shown_days(journeys, now_ms)
    offers = days_of(journeys)
    begins: dict[str, list[dict[str, str]]] = {}
    for plan in journeys.scheduled:
        assert plan.entry.schedule is not None
        own_zone, at_ms = schedule_zone(journeys, plan), now_ms
        while (following := next_occurrence(plan.entry.schedule.cron, own_zone, at_ms)) is not None:
            at_ms = following
            local = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)
            if local.date() >= first + timedelta(days=CALENDAR_DAYS):
                break
            day = begins.setdefault(local.date().isoformat(), [])
            if sum(one["journey"] == plan.name for one in day) < _TIMES_A_DAY_SHOWN:
                day.append({"journey": plan.name, "time": f"{local:%H:%M}"})
            else:
                at_ms += _DAY_MS - at_ms % _DAY_MS - 1
    days = [first + timedelta(days=number) for number in range(CALENDAR_DAYS)]
    cells = [
        {
            "day": f"{day.day}",
            "month": f"{day:%b}" if day.day == 1 or day == first else "",
            "label": f"{day:%A}, {day.day} {day:%B %Y}",
            "past": day < today,
            "today": day == today,
            "begins": sorted(begins.get(day.isoformat(), []), key=lambda one: one["time"]),
            "offers": offers.get(day.isoformat(), []),
        }
        for day in days
    ]
    return [cells[at : at + 7] for at in range(0, len(cells), 7)]


def _hash(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _day_text(now_ms: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=now_ms)
    return f"{moment.day} {moment:%B %Y}"
