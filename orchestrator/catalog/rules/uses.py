"""Every expression and every message of a journey, with the place where it stands.

`expressions`, `rules` and `templates` go through a journey with these, so that a new word of the
language is taught to all of them at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from orchestrator.core.language.stated import Stated, of_variables, stated_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.catalog.draft import Draft, Place
    from orchestrator.core.expressions.condition import Expression
    from orchestrator.core.language.journey import Step
    from orchestrator.core.language.words import Ask, Send, Task, Webhook

Gives = Literal["condition", "key", "products", "anything"]

ENTRY_SEES: Final = frozenset({"event", "profile", "segments", "offers", "now_ms"})
# Nothing has happened when a time of the calendar comes.
TIMED_ENTRY_SEES: Final = ENTRY_SEES - {"event"}
# It is asked when the profile has changed, and neither time nor a promise changes a profile.
SEGMENT_SEES: Final = frozenset({"profile", "segments"})
# Segments follow from the profile alone, not from each other.
NAMED_SEGMENT_SEES: Final = frozenset({"profile"})
# The order in which events arrive must make no difference to what they amount to.
DERIVED_SEES: Final = frozenset({"event"})
# It is asked before anything is promised.
STAGE_SEES: Final = frozenset({"event", "profile", "now_ms"})
STEP_SEES: Final = frozenset({"profile", "segments", "enrollment", "trigger", "offers", "now_ms"})
EXIT_SEES: Final = STEP_SEES | {"event"}
WAIT_SEES: Final = STEP_SEES - {"offers", "now_ms"}


class Use(NamedTuple):
    """One expression: where it stands, what it sees, what kind of value it has to give.

    `event_type` is the type of the event that it sees, or that entered; None without any.
    """

    expression: Expression
    place: Place
    sees: frozenset[str]
    event_type: str | None
    gives: Gives


class Said(NamedTuple):
    """One message: the word that says it, the kind of channel that it takes, and its place."""

    word: str
    channel_kind: str
    message: Send | Ask | Task | Webhook
    place: Place
    channel_place: Place


def uses(draft: Draft) -> Iterator[Use]:
    """Yield every expression of a journey."""
    journey = draft.journey
    yield from _of_entry(draft)
    if journey.goal is not None and journey.goal.when is not None:
        yield Use(journey.goal.when, ("goal", "when"), EXIT_SEES, journey.goal.on, "condition")
    for at, exit_ in zip(draft.exits_at, journey.exits, strict=True):
        if exit_.when is not None:
            yield Use(exit_.when, ("exits", at, "when"), EXIT_SEES, exit_.on, "condition")
        if exit_.then is not None:
            for stated in of_variables(exit_.then.variables, ("then", "variables")):
                yield _use(stated, ("exits", at), STEP_SEES, exit_.on)
    for at, step in zip(draft.steps_at, journey.steps, strict=True):
        yield from _of_step(step, ("steps", at), journey.entry.on)


def messages(draft: Draft) -> Iterator[Said]:
    """Yield everything that goes out on a channel of messages, webhooks or tasks."""
    for at, exit_ in zip(draft.exits_at, draft.journey.exits, strict=True):
        if exit_.then is not None:
            yield from _sent(exit_.then, ("exits", at, "then"))
    for at, step in zip(draft.steps_at, draft.journey.steps, strict=True):
        if step.send is not None:
            yield from _sent(step.send, ("steps", at, "send"))
        if step.ask is not None:
            yield _said("ask", "message", step.ask, ("steps", at, "ask"))
        if step.webhook is not None:
            yield _said("webhook", "webhook", step.webhook, ("steps", at, "webhook"))
        if step.task is not None:
            yield _said("task", "task", step.task, ("steps", at, "task"))


def _sent(send: Send, place: Place) -> Iterator[Said]:
    """Yield a message once for each channel that it may take."""
    yield _said("send", "message", send, place)
    for at, channel in enumerate(send.or_):
        yield Said("send", "message", send.on(channel), place, (*place, "or", at))


def _said(word: str, kind: str, message: Send | Ask | Task | Webhook, place: Place) -> Said:
    return Said(word, kind, message, place, (*place, "channel"))


def _of_entry(draft: Draft) -> Iterator[Use]:
    entry = draft.journey.entry
    sees = TIMED_ENTRY_SEES if entry.on is None else ENTRY_SEES
    gives: Gives
    for name, gives in (("when", "condition"), ("key", "key"), ("about", "products")):
        if (expression := getattr(entry, name)) is not None:
            yield Use(expression, ("entry", name), sees, entry.on, gives)
    if entry.segment is not None:
        yield Use(entry.segment, ("entry", "segment"), SEGMENT_SEES, None, "condition")
    if entry.date is not None:
        yield Use(entry.date.of, ("entry", "date", "of"), SEGMENT_SEES, None, "anything")
    absence = entry.absence
    if absence is not None and absence.when is not None:
        yield Use(absence.when, ("entry", "absence", "when"), ENTRY_SEES, absence.of, "condition")


def _of_step(step: Step, place: Place, entered_on: str | None) -> Iterator[Use]:
    for stated in stated_in(step):
        if stated.listens:
            sees = WAIT_SEES if stated.event is None else EXIT_SEES
            yield _use(stated, place, sees, stated.event or entered_on)
        else:
            yield _use(stated, place, STEP_SEES, entered_on)


def _use(stated: Stated, place: Place, sees: frozenset[str], event_type: str | None) -> Use:
    gives: Gives = "condition" if stated.place[-1] == "when" else "anything"
    return Use(stated.expression, (*place, *stated.place), sees, event_type, gives)
