"""Asking for a merge, when an event says that two ids are one customer.

`decide` comes here with `profile.identified`, at the home of whoever it is about. That may be one
of both ids, or a third one that only tells of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from orchestrator.core.customer import Cause
from orchestrator.core.decision import MergeRequested
from orchestrator.core.identity.notices import (
    AddressClaimed,
    AddressShared,
    MergeAsked,
    Notice,
    StateMoved,
)

if TYPE_CHECKING:
    from orchestrator.core.event import Event
    from orchestrator.core.identity.ids import Identities
    from orchestrator.core.rules.draft import Draft


def sent_on(notice: Notice, survivor: str, identities: Identities) -> Notice | None:
    """Return a notice as it goes on from an absorbed id to the one that it is now.

    None when there is nothing left to tell: both ids of a merge have become one.
    """
    match notice:
        case MergeAsked():
            if survivor == notice.survivor:
                return None
            pair = identities.pair(survivor, notice.survivor)
            return MergeAsked(pair.absorbed, pair.survivor, notice.cause)
        case StateMoved():
            return replace(notice, survivor=survivor)
        case AddressShared():
            return replace(notice, customer=survivor)
        case AddressClaimed():
            return notice  # It is for an address, which nobody absorbs.
        case _:
            assert_never(notice)


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
