"""Read-your-writes: a GET that names a receipt waits until its events have had their effect here.

The dependency `After` stands in the routes about a customer. A record that became a dead letter
never has an effect, and the answer says so instead of waiting.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Query, Request

from orchestrator.api.model.effects import positions_of
from orchestrator.api.model.read_model import NeverApplied, NotYet
from orchestrator.api.problems import FieldFault, Problem

_TEXT = "The `receipt` of an accepted event: the answer is not older than its effect."


async def caught_up(
    request: Request,
    after: Annotated[str | None, Query(description=_TEXT, max_length=8_192)] = None,
    x_after: Annotated[str | None, Header(description=_TEXT, max_length=8_192)] = None,
) -> None:
    """Wait for a receipt, when there is one."""
    api = request.app.state.api
    if not api.model.ready:
        raise Problem(
            503,
            "the read model has not caught up yet",
            slug="not-ready",
            headers={"Retry-After": "2"},
        )
    receipt = after or x_after
    if receipt is None:
        return
    try:
        positions = positions_of(receipt)
    except ValueError as error:
        fault = FieldFault(field="after", detail=str(error))
        raise Problem(422, "after is no receipt", errors=[fault]) from None
    if any(one.topic not in api.inputs for one in positions):
        fault = FieldFault(field="after", detail="it is of another deployment")
        raise Problem(422, "after is no receipt of this deployment", errors=[fault])
    try:
        await api.model.wait_for(positions, seconds=api.settings.api_wait_seconds)
    except NotYet:
        raise Problem(
            503,
            f"the effect is not here after {api.settings.api_wait_seconds:g} s; ask again",
            slug="not-yet",
            headers={"Retry-After": "1"},
        ) from None
    except NeverApplied as error:
        letter = error.refused.letter
        raise Problem(
            409,
            "the event became a dead letter and never has an effect",
            slug="dead-letter",
            reason=letter.reason,
            why=letter.detail,
        ) from None


After = Depends(caught_up)
