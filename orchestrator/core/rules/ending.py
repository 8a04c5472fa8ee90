"""What the end of an enrollment means: cancels, fence, audiences, tasks, and what is remembered.

`exits` ends enrollments early, `advance` when a journey has run to its end or a step failed.
Messages of a completed journey stay open, so that an exit can still recall them.
"""

from __future__ import annotations

from msgspec.structs import replace

from orchestrator.core.command import CommandClass, CommandType
from orchestrator.core.contact import uncounted
from orchestrator.core.customer import (
    ENDED_KEY_MS,
    ENDED_KEYS_MAX,
    Enrollment,
    FenceEntry,
    JourneyMemory,
    OpenCommand,
)
from orchestrator.core.decision import Ended, EndReason, PromiseEnd, PromiseEnded
from orchestrator.core.offers.ledger import is_open, telling
from orchestrator.core.people.recent import CANCELLED, fated
from orchestrator.core.rules.draft import Draft, Instruction


def complete(draft: Draft, enrollment: Enrollment, *, step: str | None, label: str | None) -> None:
    """End an enrollment that has run to its end, at the step that says so or below the last."""
    draft.log(
        Ended(
            enrollment=enrollment.id,
            journey=enrollment.journey,
            version=enrollment.version,
            reason=EndReason.COMPLETED,
            step=step,
            detail=label,
        )
    )
    remember_end(draft, enrollment)
    waiting = tuple(command for command in enrollment.open_commands if command.kind != "audience")
    draft.drop(enrollment)
    leave_audiences(draft, enrollment, step=step)
    if waiting:
        draft.put(replace(enrollment, step=None, wake_at_ms=None, open_commands=waiting))


def end(
    draft: Draft,
    enrollment: Enrollment,
    reason: EndReason,
    *,
    fenced: bool,
    detail: str | None = None,
) -> None:
    """End an enrollment now: log it, fence it, recall what it emitted, forget it."""
    recalled = tuple(command for command in enrollment.open_commands if command.kind != "audience")
    draft.log(
        Ended(
            enrollment=enrollment.id,
            journey=enrollment.journey,
            version=enrollment.version,
            reason=reason,
            step=enrollment.step,
            cancelled=tuple(command.id for command in recalled),
            detail=detail,
        )
    )
    draft.drop(enrollment)
    if enrollment.step is not None:
        remember_end(draft, enrollment)
    if fenced:
        # All its commands are older than this decision, unless a step of this decision failed.
        born = (command.sequence for command in enrollment.open_commands)
        draft.fence_off(
            FenceEntry(
                enrollment=enrollment.id,
                ended_at_ms=draft.now_ms,
                sequence=max(draft.customer.sequence, *born, 0),
                expires_at_ms=max(enrollment.longest_expires_at_ms, draft.now_ms),
            )
        )
    recall(draft, enrollment, recalled)
    leave_audiences(draft, enrollment, step=enrollment.step)


def remember_end(draft: Draft, enrollment: Enrollment) -> None:
    """Write into the journey's memory that this enrollment has ended now."""
    memory = draft.memories.get(enrollment.journey)
    if memory is None:
        memory = JourneyMemory(entries=1, last_entry_ms=enrollment.entered_at_ms)
    keys = memory.ended_keys
    if enrollment.key is not None:
        kept = tuple(
            (key, at_ms)
            for key, at_ms in keys
            if at_ms >= draft.now_ms - ENDED_KEY_MS and key != enrollment.key
        )
        keys = (*kept, (enrollment.key, draft.now_ms))[-ENDED_KEYS_MAX:]
    after = replace(memory, last_end_ms=draft.now_ms, ended_keys=keys)
    draft.remember(enrollment.journey, after)


def leave_audiences(draft: Draft, enrollment: Enrollment, *, step: str | None) -> None:
    """Take the customer out of what this enrollment added them to, unless another one stays in."""
    still_in = {
        (command.channel, command.audience)
        for other in draft.enrollments
        for command in other.open_commands
        if command.kind == "audience"
    }
    for command in enrollment.open_commands:
        place = (command.channel, command.audience)
        if command.kind != "audience" or place in still_in:
            continue
        still_in.add(place)  # Two adds of one audience need one remove.
        command_class = CommandClass(command.command_class)
        draft.emit(
            enrollment,
            Instruction(
                type=CommandType.AUDIENCE_REMOVE,
                step=step or command.step,
                channel=command.channel,
                command_class=command_class,
                expires_at_ms=draft.expires_at_ms(command_class, draft.now_ms),
                note=command.audience or "",
                audience=command.audience,
            ),
        )


def recall_offer(draft: Draft, offer: str) -> tuple[str, ...]:
    """Cancel what tells an offer and is still on its way; return the ids of those commands."""
    recalled: list[str] = []
    for enrollment in draft.enrollments:
        telling = tuple(
            command
            for command in enrollment.open_commands
            if command.offer == offer and command.expires_at_ms >= draft.now_ms
        )
        if telling:
            recall(draft, enrollment, telling, note=f"offer/{offer}")
            left = tuple(one for one in enrollment.open_commands if one not in telling)
            draft.put_open(enrollment, left)
            recalled += (command.id for command in telling)
    return tuple(recalled)


def recall(
    draft: Draft, enrollment: Enrollment, recalled: tuple[OpenCommand, ...], *, note: str = ""
) -> None:
    """Cancel messages and close tasks, with one command for each lane they travelled on.

    A lane is a topic, and there the partition of an id: what was emitted under an id that was
    absorbed since is taken back where its sender reads.
    """
    lanes: dict[tuple[str, str, bool, str | None], list[OpenCommand]] = {}
    for command in recalled:
        promotional = command.command_class == CommandClass.PROMOTIONAL
        lane = (command.kind, command.channel, promotional, command.customer)
        lanes.setdefault(lane, []).append(command)
    if draft.contact.sends:
        draft.contact = uncounted(draft.contact, (command.id for command in recalled))
    ids = frozenset(command.id for command in recalled)
    if draft.promises:
        # One event may end several enrollments whose messages tell the same promise.
        before = (command_id for command in draft.commands for command_id in command.cancels)
        _take_back(draft, ids.union(before))
    draft.contact = fated(draft.contact, ids, CANCELLED, draft.now_ms)
    for (kind, channel, promotional, sent_under), commands in lanes.items():
        draft.emit(
            enrollment,
            Instruction(
                type=CommandType.TASK_CLOSE if kind == "task" else CommandType.MESSAGE_CANCEL,
                step=enrollment.step or commands[-1].step,
                channel=channel,
                command_class=CommandClass(commands[0].command_class),
                expires_at_ms=max(command.expires_at_ms for command in commands),
                note=note + ("promotional" if promotional else "") + (sent_under or ""),
                cancels=tuple(command.id for command in commands),
                sent_under=sent_under,
            ),
        )


def _take_back(draft: Draft, recalled: frozenset[str]) -> None:
    """Close promises that only recalled messages tell: most likely nobody has read of them.

    Otherwise they would keep others from being promised until the sender has said what it dropped.
    """
    for name, promise in draft.promises.items():
        told = telling(promise)
        if told and recalled.issuperset(told) and is_open(promise, draft.now_ms):
            reason = PromiseEnd.RECALLED
            closed = replace(promise, closed_ms=draft.now_ms, closed=reason.value)
            draft.change_promises({**draft.promises, name: closed})
            draft.log(PromiseEnded(name, reason, promise.channel))
