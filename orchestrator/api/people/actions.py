"""What our people do, as events of the contract: hand-off, outcome, exit, claim and close.

Each returns what to tell, or does it and says what the owner of the customer has decided.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.api.model.tasks import Wanted
from orchestrator.api.people.asking import Said, ask, is_visible, no_answer
from orchestrator.api.problems import Problem

if TYPE_CHECKING:
    from orchestrator.api.application import Api
    from orchestrator.api.model.tasks import Waiting

# The profile attribute that holds the newest note; who wrote it and when stands beside it.
NOTE: Final = "note"
BY_CHARACTERS_MAX: Final = 60
TEXT_CHARACTERS_MAX: Final = 500
# After the decision, so long for the list of tasks to show it.
_SEEN_SECONDS: Final = 2.0

By = Annotated[
    str | None,
    Field(
        default=None,
        description="who; the token's name is added",
        min_length=1,
        max_length=BY_CHARACTERS_MAX,
        examples=["eva"],
    ),
]
OfferName = Annotated[str, Field(min_length=1, max_length=128, examples=["free_shipping"])]


class _Word(BaseModel):
    model_config = ConfigDict(extra="forbid")

    by: By


class Handoff(_Word):
    """A person starts to talk with the customer, or has ended."""

    state: Literal["started", "ended"] = Field(examples=["started"])


class OfferAnswer(_Word):
    """What the customer said to an offer."""

    kind: Literal["offer.accepted", "offer.rejected"] = Field(examples=["offer.accepted"])
    offer: OfferName


class CaseOpened(_Word):
    """The customer has a problem; without an id the case gets one."""

    kind: Literal["case.opened"] = Field(examples=["case.opened"])
    case_id: str | None = Field(default=None, min_length=1, max_length=128, examples=["c-7"])
    subject: str | None = Field(
        default=None, min_length=1, max_length=TEXT_CHARACTERS_MAX, examples=["a pole is missing"]
    )


class CaseClosed(_Word):
    """The problem is solved."""

    kind: Literal["case.closed"] = Field(examples=["case.closed"])
    case_id: str = Field(min_length=1, max_length=128, examples=["c-7"])


class Note(_Word):
    """Something to know about the customer; it takes the place of the note before."""

    kind: Literal["note"] = Field(examples=["note"])
    text: str = Field(min_length=1, max_length=TEXT_CHARACTERS_MAX, examples=["calls back at 5"])


Outcome = Annotated[
    OfferAnswer | CaseOpened | CaseClosed | Note, Field(discriminator="kind", title="Outcome")
]


def who(caller: str, by: str | None) -> str:
    """Return who did something, as colleagues read it."""
    return caller if by is None else f"{by} via {caller}"


def handoff(caller: str, word: Handoff) -> Said:
    """Return what to tell of a hand-off."""
    return Said(f"handoff.{word.state}", {"by": who(caller, word.by)})


def outcome(caller: str, word: OfferAnswer | CaseOpened | CaseClosed | Note) -> Said:
    """Return what to tell of a conversation's outcome."""
    by = who(caller, word.by)
    match word:
        case OfferAnswer():
            return Said(word.kind, {"offer": word.offer, "by": by})
        case CaseOpened():
            case_id = word.case_id or f"case-{uuid.uuid4().hex[:12]}"
            return Said(word.kind, {"case_id": case_id, "subject": word.subject, "by": by})
        case CaseClosed():
            return Said(word.kind, {"case_id": word.case_id, "by": by})
        case Note():
            return Said("profile.updated", {"attributes": {NOTE: word.text}, "by": by})


def exit_from(caller: str, enrollment: str, by: str | None) -> Said:
    """Return what to tell to take a customer out of a journey."""
    data = {"enrollment": enrollment, "by": who(caller, by)}
    return Said("enrollment.exit_requested", data)


def open_task(api: Api, task_id: str) -> Waiting:
    """Return an open task. Raises Problem when there is none."""
    found = api.model.tasks(Wanted(api.model.now_ms(), task=task_id), 1)
    if not found:
        raise Problem(404, "there is no such open task: it is closed or expired, or never was")
    return found[0]


async def claim(api: Api, caller: str, task_id: str, by: str, *, seconds: float) -> str:
    """Claim a task for somebody; return the receipt when it is theirs.

    Raises Problem: 409 for somebody else's or one that is over, 504 for no answer.
    """
    task = open_task(api, task_id)
    said = Said("task.claimed", {"task_id": task_id, "by": by})
    asked = await ask(api, caller, task.customer, said, seconds=seconds)
    if asked.answer is None:
        raise no_answer(asked, "nobody has said yet whose the task is; claim it again")
    refused = asked.answer.entry("claim_refused")
    if refused is not None:
        raise _refused(refused)
    await is_visible(api, asked, _SEEN_SECONDS)
    return asked.receipt


async def close(
    api: Api, caller: str, task_id: str, by: str, outcome: str | None, *, seconds: float
) -> str:
    """Close a task with an outcome; return the receipt. Raises Problem as `claim` does."""
    task = open_task(api, task_id)
    said = Said("task.closed", {"task_id": task_id, "by": by, "outcome": outcome})
    asked = await ask(api, caller, task.customer, said, seconds=seconds)
    if asked.answer is None:
        raise no_answer(asked, "nobody has said yet that the task is closed; look again")
    final = asked.answer.entry("message_final")
    if final is None or final.get("command") != task_id:
        raise _over()
    await is_visible(api, asked, _SEEN_SECONDS)
    return asked.receipt


def _refused(entry: dict[str, Any]) -> Problem:
    if entry.get("reason") != "already_claimed":
        return _over()
    somebody = entry.get("detail") or "somebody else"
    return Problem(
        409, f"{somebody} has this task", slug="already-claimed", claimed_by=entry.get("detail")
    )


def _over() -> Problem:
    return Problem(409, "the task is closed or expired", slug="not-open")
