"""Which quiet hours count for a message: its channel's own, else the shop's, else none.

`checks` asks when a message is due, `learning/hours` before, so that nobody waits for an hour at
which nothing may go out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.language.words import Send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.command import CommandClass
    from orchestrator.core.journeys import Plan
    from orchestrator.core.language.shop import QuietHours
    from orchestrator.core.language.words import Ask, Wait
    from orchestrator.core.rules.draft import Draft


def quiet_hours(
    draft: Draft, plan: Plan, channel: str, command_class: CommandClass
) -> QuietHours | None:
    """Return the quiet hours that a message keeps."""
    if not plan.journey.keeps_quiet(command_class):
        return None
    declared = draft.journeys.channels.get(channel)
    own = None if declared is None else declared.quiet_hours
    if own == "none":
        return None
    return draft.journeys.shop.quiet_hours if own is None else own


def quiet_after(draft: Draft, plan: Plan, wait: Wait) -> list[QuietHours]:
    """Return the quiet hours of every message that may be the next one when a wait is over.

    Where none comes before the next wait, those of the shop.
    """
    kind = plan.journey.kind
    found = [
        quiet_hours(draft, plan, channel, word.command_class or kind)
        for word in _messages_after(plan, wait)
        for channel in (word.channels if isinstance(word, Send) else (word.channel,))
    ]
    if not found and plan.journey.keeps_quiet(kind):
        found.append(draft.journeys.shop.quiet_hours)
    return [quiet for quiet in found if quiet is not None]


def _messages_after(plan: Plan, wait: Wait) -> Iterator[Send | Ask]:
    """Yield the first message on every way that leads from a wait which has run its time."""
    steps = plan.journey.steps
    begin = next((at for at, step in enumerate(steps) if step.wait is wait), len(steps))
    pending, seen = [*_leads_to(plan, begin)], {begin}
    while pending:
        position = pending.pop()
        if position in seen or position >= len(steps):
            continue
        seen.add(position)
        word = steps[position].send or steps[position].ask
        if word is not None:
            yield word
        elif steps[position].wait is None:
            pending += _leads_to(plan, position)


def _leads_to(plan: Plan, position: int) -> Iterator[int]:
    """Yield the positions of the steps that may follow one."""
    steps = plan.journey.steps
    if position >= len(steps) or steps[position].end is not None:
        return
    step, holdout, arms = steps[position], steps[position].holdout, steps[position].branch or ()
    named = [step.next, step.go_to, None if holdout is None else holdout.next]
    named += [arm.next for arm in arms]
    named += [share.next for share in step.split or ()]
    yield from (plan.positions[name] for name in named if name in plan.positions)
    has_else = any(arm.when is None for arm in arms)
    if step.next is None and step.go_to is None and step.split is None and not has_else:
        yield position + 1
