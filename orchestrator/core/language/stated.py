"""Every expression of a step, with the place where its author has written it.

`core/journeys` asks what a journey reads, `catalog/rules/uses` what each expression may see; both
go through a step with this, so that a new word of the language is taught to them at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.core.expressions.condition import Expression
    from orchestrator.core.language.journey import Step
    from orchestrator.core.language.words import Variable, Wait


class Stated(NamedTuple):
    """One expression and its place in the step.

    One that `listens` is asked while somebody waits: with each event of type `event`, or when the
    profile has changed if that is None.
    """

    expression: Expression
    place: tuple[str | int, ...]
    listens: bool = False
    event: str | None = None


def stated_in(step: Step) -> Iterator[Stated]:
    """Yield every expression of a step."""
    for index, arm in enumerate(step.branch or ()):
        if arm.when is not None:
            yield Stated(arm.when, ("branch", index, "when"))
    if step.wait is not None:
        yield from _of_wait(step.wait)
    for name, setting in (step.set or {}).items():
        if setting.value is not None:
            yield Stated(setting.value, ("set", name))
    for word in ("send", "ask", "webhook", "task"):
        if (message := getattr(step, word)) is not None:
            yield from of_variables(message.variables, (word, "variables"))
    if step.emit is not None:
        yield from of_variables(step.emit.data, ("emit", "data"))


def of_variables(
    variables: Mapping[str, Variable], place: tuple[str | int, ...]
) -> Iterator[Stated]:
    """Yield what a message or an event is filled with."""
    for name, variable in variables.items():
        yield Stated(variable.value, (*place, name))


def _of_wait(wait: Wait) -> Iterator[Stated]:
    if wait.date is not None:
        yield Stated(wait.date, ("wait", "date"))
    for name in ("until", "reset_on"):
        for index, one in enumerate(getattr(wait, name)):
            if one.when is not None:
                place = ("wait", name, index, "when")
                yield Stated(one.when, place, listens=True, event=one.event)
