"""Tells an event and waits for what the owner of the customer decides about it.

`routes` and `screen` come here with everything that our people say and that pages ask for. Nothing
is decided here: the answer is the decision's, read from the journey log after its commit.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from fastapi import Query
from pydantic import BaseModel, Field

from orchestrator.api.ingest import cloud_event
from orchestrator.api.model.answers import Refusal
from orchestrator.api.model.effects import receipt_of
from orchestrator.api.model.read_model import NeverApplied, NotYet
from orchestrator.api.problems import Problem
from orchestrator.api.routes.customers import check_id
from orchestrator.api.routes.events import checked_event, write

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.api.application import Api
    from orchestrator.api.model.answers import Answer
    from orchestrator.api.model.effects import Position

WAIT_SECONDS_MAX: Final = 10.0
_RECEIPT: Final = "r1.kZSrdG91Y2hwb2ludHMDzQTSAQ"
WAIT: Final = Query(
    ge=0, le=WAIT_SECONDS_MAX, description="seconds to wait for the effect; 0 does not wait"
)


class Told(BaseModel):
    """The broker has the event; `applied` when its effect was seen within the wait."""

    receipt: str = Field(description="give it to a GET as `after`", examples=[_RECEIPT])
    event: str = Field(description="the id of the event", examples=["5f0c…"])
    applied: bool = Field(description="whether the effect is visible", examples=[True])
    outcome: str | None = Field(description="of the decision; null before it", examples=["applied"])
    entries: list[dict[str, Any]] = Field(
        description="what the decision did", examples=[[{"kind": "ended", "reason": "exit"}]]
    )


class Said(NamedTuple):
    """What to tell: an event without its customer; `event_id` None makes one up."""

    type: str
    data: Mapping[str, Any]
    event_id: str | None = None


class Asked(NamedTuple):
    """An event that the broker has, and the decision about it; None when it is not there yet."""

    event_id: str
    positions: list[Position]
    answer: Answer | None

    @property
    def receipt(self) -> str:
        """What brings a later read up to the effect."""
        return receipt_of(self.positions)


async def ask(api: Api, caller: str, customer: str, said: Said, *, seconds: float) -> Asked:
    """Tell an event, and return the decision about it, or none when it takes too long.

    Raises Problem when the broker does not have it, or when it became a dead letter.
    """
    check_id(customer)
    document = cloud_event(
        source=f"/api/{caller}",
        event_id=said.event_id or uuid.uuid4().hex,
        event_type=said.type,
        subject=customer,
        data={name: value for name, value in said.data.items() if value is not None},
    )
    event = checked_event(api, document)
    source, event_id = document["source"], document["id"]
    answers = api.model.answers
    with answers.expected(source, event_id) as future:
        positions = await write(api, [event])
        answers.stands(positions[0], future)
        answer: Answer | None = None
        if seconds > 0:
            started = time.perf_counter()
            outcome = "unanswered"
            try:
                async with asyncio.timeout(seconds):
                    answer = await future
                outcome = _outcome(answer)
            except TimeoutError:
                pass
            except Refusal as error:
                outcome = "dead_letter"
                raise dead_letter(error.letter.reason, error.letter.detail) from None
            finally:
                api.telemetry.asked(said.type, outcome, time.perf_counter() - started)
    return Asked(event_id, positions, answer)


def _outcome(answer: Answer) -> str:
    """Return the owner's word as it is counted."""
    if answer.entry("offer_granted"):
        return "granted"
    return "refused" if answer.entry("offer_refused") else "answered"


async def tell(api: Api, caller: str, customer: str, said: Said, *, wait_seconds: float) -> Told:
    """Tell an event; with a wait, return when its effect can be read here."""
    started = asyncio.get_running_loop().time()
    asked = await ask(api, caller, customer, said, seconds=wait_seconds)
    left = wait_seconds - (asyncio.get_running_loop().time() - started)
    applied = asked.answer is not None and await is_visible(api, asked, max(0.05, left))
    return Told(
        receipt=asked.receipt,
        event=asked.event_id,
        applied=applied,
        outcome=None if asked.answer is None else asked.answer.outcome,
        entries=[] if asked.answer is None else list(asked.answer.entries),
    )


async def is_visible(api: Api, asked: Asked, seconds: float) -> bool:
    """Wait until the effect can be read here; return whether it can."""
    try:
        await api.model.wait_for(asked.positions, seconds=seconds)
    except NotYet:
        return False
    except NeverApplied as error:
        letter = error.refused.letter
        raise dead_letter(letter.reason, letter.detail) from None
    return True


def dead_letter(reason: str, why: str) -> Problem:
    """Return the problem of an event that never has an effect."""
    return Problem(
        409,
        "the event became a dead letter and never has an effect",
        slug="dead-letter",
        reason=reason,
        why=why,
    )


def no_answer(asked: Asked, what: str) -> Problem:
    """Return the problem of a decision that did not come in time."""
    return Problem(504, what, slug="no-answer", receipt=asked.receipt)
