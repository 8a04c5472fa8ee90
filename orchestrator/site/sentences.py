"""A journey in words: what gets in, what each step does, what ends it.

The pictures show these texts in short, screen readers get them whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.core.language.journey import STEP_WORDS, After
from orchestrator.core.language.scalars import duration_text

if TYPE_CHECKING:
    from orchestrator.core.language.journey import Entry, Goal, Step
    from orchestrator.core.language.words import Heard, Until, Wait

_DAY_MINUTES: Final = 60


def word_of(step: Step) -> str:
    """Return the one word of a step."""
    return next(word for word in STEP_WORDS if getattr(step, word) is not None)


def entry_sentence(entry: Entry) -> str:
    """Return who gets in."""
    if entry.schedule is not None:
        zone = f" ({entry.schedule.zone})" if entry.schedule.zone else ""
        text = f"at the times of “{entry.schedule.cron}”{zone}"
    elif entry.date is not None:
        way = _shifted(entry.date.before, entry.date.after)
        yearly = ", every year" if entry.date.yearly else ""
        text = f"{way}{entry.date.of.source}, at {time_text(entry.date.time)}{yearly}"
    elif entry.absence is not None:
        text = f"no {entry.absence.of} for {duration_text(entry.absence.for_)}"
    elif entry.segment is not None:
        text = f"as soon as {entry.segment.source}"
    else:
        text = f"on {entry.on}"
    if entry.when is not None:
        text += f", when {entry.when.source}"
    if entry.key is not None:
        text += f"; one run for each {entry.key.source}"
    if isinstance(entry.reentry, After):
        text += f"; again after {duration_text(entry.reentry.after)}"
    elif entry.reentry == "once":
        text += "; once"
    return text


def goal_sentence(goal: Goal) -> str:
    """Return what a journey is for."""
    when = "" if goal.when is None else f" when {goal.when.source}"
    ends = ", which ends it" if goal.ends else ""
    return f"{goal.on}{when}, owed to a message of the last {duration_text(goal.within)}{ends}"


def step_sentence(step: Step) -> str:
    """Return what a step does."""
    match word_of(step):
        case "send":
            assert step.send is not None
            its_class = f" ({step.send.command_class.value})" if step.send.command_class else ""
            joint = " and " if step.send.all_ else " or "
            by = joint.join(step.send.channels)
            offer = f", with the offer {step.send.offer}" if step.send.offer else ""
            return f"sends “{step.send.template}” by {by}{its_class}{offer}"
        case "ask":
            assert step.ask is not None
            return f"asks for {step.ask.attribute} by {step.ask.channel}, once"
        case "wait":
            assert step.wait is not None
            return f"waits {wait_text(step.wait)}"
        case "branch":
            return "goes on where the first true condition says"
        case "split":
            return "parts customers by weight"
        case "holdout":
            assert step.holdout is not None
            return f"leaves out {step.holdout.percent:g} % of the customers"
        case "set":
            return f"writes {', '.join(step.set or ())} into the profile"
        case "emit":
            assert step.emit is not None
            return f"tells the event {step.emit.event}"
        case "webhook":
            assert step.webhook is not None
            return f"tells another system “{step.webhook.template}”"
        case "audience":
            assert step.audience is not None
            if step.audience.add is not None:
                return f"adds to the audience {step.audience.add}"
            return f"removes from the audience {step.audience.remove}"
        case "task":
            assert step.task is not None
            return f"gives {step.task.channel} the task “{step.task.template}”"
        case "go_to":
            return f"goes to {step.go_to}"
        case _:
            return f"is over: {step.end}"


def wait_text(wait: Wait) -> str:
    """Return how long, or until when, somebody waits; without what may end it earlier."""
    if wait.date is not None:
        yearly = " every year" if wait.yearly else ""
        at = "" if wait.time is None else f" at {time_text(wait.time)}"
        return f"until {_shifted(wait.before, wait.after)}{wait.date.source}{at}{yearly}"
    parts = [duration_text(wait.for_)] if wait.for_ else []
    until = " or ".join(day.value.capitalize() for day in wait.weekday)
    if wait.time is not None:
        until = f"{until} {time_text(wait.time)}".strip()
    if wait.best_time:
        soon = f" within {duration_text(wait.within)}" if "within" in wait.model_fields_set else ""
        until = f"the customer's best hour{soon}"
    if until:
        parts.append(f"until {until}")
    return ", then ".join(parts)


def heard_text(heard: Until | Heard) -> str:
    """Return what a wait listens for."""
    if heard.event is None:
        return "" if heard.when is None else heard.when.source
    return heard.event if heard.when is None else f"{heard.event}, when {heard.when.source}"


def time_text(minute: int) -> str:
    """Return a time of day as authors write it."""
    return f"{minute // _DAY_MINUTES:02d}:{minute % _DAY_MINUTES:02d}"


def _shifted(before_ms: int, after_ms: int) -> str:
    if before_ms:
        return f"{duration_text(before_ms)} before "
    return f"{duration_text(after_ms)} after " if after_ms else ""
