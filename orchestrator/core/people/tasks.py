"""Tasks of our people: one of them claims a task, and closes it with an outcome.

A task is an open command of its enrollment, so that the end of the enrollment closes it. The first
claim counts until it is closed; `decide` is the one place where two people at once become one
after the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from orchestrator.core.decision import ClaimRefusal, ClaimRefused, TaskClaimed

if TYPE_CHECKING:
    from orchestrator.core.customer import Enrollment
    from orchestrator.core.event import Event
    from orchestrator.core.journeys import Journeys
    from orchestrator.core.language.words import Task
    from orchestrator.core.rules.draft import Draft

# Who claims a task without a name.
SOMEBODY: Final = "somebody"


def take_task(draft: Draft, event: Event) -> None:
    """Give a task to who claims it, unless it is somebody else's or over."""
    task_id, said = str(event.data.get("task_id")), event.data.get("by")
    by = said if isinstance(said, str) and said else SOMEBODY
    for enrollment in draft.enrollments:
        for task in enrollment.open_commands:
            if task.id != task_id or task.kind != "task":
                continue
            if task.claimed_by is None:
                claimed = replace(task, claimed_by=by, claimed_ms=draft.now_ms)
                commands = enrollment.open_commands
                draft.put_open(
                    enrollment, tuple(claimed if one is task else one for one in commands)
                )
                draft.log(TaskClaimed(task.id, enrollment.id, by))
            elif task.claimed_by != by:
                reason = ClaimRefusal.ALREADY_CLAIMED
                draft.log(ClaimRefused(task.id, by, reason, task.claimed_by))
            return
    draft.log(ClaimRefused(task_id, by, ClaimRefusal.NOT_OPEN))


def queue_of(journeys: Journeys, word: Task) -> str:
    """Return which of our people a task waits for: as its step says, else as its channel does."""
    channel = journeys.channels.get(word.channel)
    return word.queue or (None if channel is None else channel.queue) or word.channel


def has_task(enrollment: Enrollment, task_id: object) -> bool:
    """Whether a task belongs to an enrollment and is open."""
    return any(one.id == task_id and one.kind == "task" for one in enrollment.open_commands)
