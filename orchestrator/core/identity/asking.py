"""Asking for a merge, when an event says that two ids are one customer.

`decide` comes here with `profile.identified`, at the home of whoever it is about. That may be one
of both ids, or a third one that only tells of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.customer import Cause
from orchestrator.core.decision import MergeRequested
from orchestrator.core.identity.notices import MergeAsked

if TYPE_CHECKING:
    from orchestrator.core.event import Event
    from orchestrator.core.rules.draft import Draft


def ask_to_merge(draft: Draft, event: Event) -> None:
    """Ask the owner of the id that is to be absorbed, unless both are one already."""
    own = draft.customer
    ids = [
        own.id if one in own.absorbed else one
        for one in (event.data.get("anonymous_id"), event.data.get("customer_id"))
        if isinstance(one, str) and one
    ]
    if len(set(ids)) < 2:
        return
    pair = draft.journeys.identities.pair(*ids)
    draft.log(MergeRequested(pair.absorbed, pair.survivor))
    cause = Cause(event.source, event.id)
    draft.notices.append(MergeAsked(pair.absorbed, pair.survivor, cause))
