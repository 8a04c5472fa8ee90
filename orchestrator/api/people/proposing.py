"""What may be shown to a visitor now: the core's proposals on the read model, promising nothing.

A page asks this for every visit, so the answer is kept for a second, for as long as neither the
customer's state nor what is published or paused has changed. Nothing is compiled for a request.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from pydantic import BaseModel, Field

from orchestrator.core.customer import Customer
from orchestrator.core.encoded.state import decode_customer
from orchestrator.core.people.proposals import NextBest, next_best
from orchestrator.protocol.commit.group import HOPS_MAX
from orchestrator.protocol.outputs import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.core.journeys import Journeys

# An answer may be this old; what a visitor gets is said by the owner, not here.
KEPT_MS: Final = 1_000
_KEPT_MAX: Final = 20_000
_TIME: Final = "2026-11-22T10:00:00.000Z"


class ProposedView(BaseModel):
    """An offer that may be shown after asking for it; `code` only for who holds it already."""

    offer: str = Field(examples=["free_shipping"])
    because: str = Field(description="promised, in_journey or qualifies", examples=["qualifies"])
    text: str = Field(examples=["Free shipping this weekend"])
    expires_at: str = Field(examples=[_TIME])
    provisional: bool
    code: str | None = Field(examples=[None])
    journey: str | None = Field(description="that tells it", examples=[None])


class NotProposedView(BaseModel):
    """An offer that may not be shown now, and why; `otherwise` names what to show instead."""

    offer: str = Field(examples=["winter_sale"])
    reason: str = Field(examples=["offer_contradicted"])
    detail: str | None = Field(examples=["come_back15 until 2026-12-22T10:00:00Z"])
    otherwise: str | None = Field(description="a template", examples=[None])


class Offers(BaseModel):
    """What may be offered, best first, and what not."""

    proposed: list[ProposedView]
    not_proposed: list[NotProposedView]


class NextBestView(Offers):
    """What may be shown to a visitor now. It promises nothing: ask before you show."""

    customer: str = Field(examples=["ana"])
    channel: str | None = Field(examples=["web"])
    as_of: str = Field(examples=[_TIME])


class _Kept(NamedTuple):
    state: bytes | None
    journeys: Journeys
    at_ms: int
    body: bytes


def offers_view(found: NextBest) -> Offers:
    """Return the core's proposals as the API writes them."""
    return Offers.model_validate(_offers(found))


class Proposals:
    """Answers of this process, each for as long as it is true."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str | None], _Kept] = OrderedDict()

    def answer(
        self,
        customer_id: str,
        channel: str | None,
        *,
        state_of: Callable[[str], bytes | None],
        journeys: Journeys,
        now_ms: int,
    ) -> bytes:
        """Return the answer about a customer, by any of their ids, as JSON.

        `state_of` returns the newest state of an id, None for one that nobody knows. Raises
        UnknownStateFormat for a state that a newer release has written.
        """
        for _ in range(HOPS_MAX):
            state = state_of(customer_id)
            kept = self._fresh(customer_id, channel, state, journeys, now_ms)
            if kept is not None:
                return kept
            customer = Customer(customer_id) if state is None else decode_customer(state)
            if customer.merged_into is None:
                break
            # Who has come on a new laptop is who they are, not a stranger.
            customer_id = customer.merged_into
        found = next_best(journeys, customer, now_ms, channel)
        about = {"customer": customer_id, "channel": channel, "as_of": rfc3339(now_ms)}
        body = msgspec.json.encode(about | _offers(found))
        self._forget(now_ms)
        key = (customer_id, channel)
        self._kept[key] = _Kept(state, journeys, now_ms, body)
        self._kept.move_to_end(key)
        return body

    def _fresh(
        self,
        customer_id: str,
        channel: str | None,
        state: bytes | None,
        journeys: Journeys,
        now_ms: int,
    ) -> bytes | None:
        key = (customer_id, channel)
        kept = self._kept.get(key)
        if (
            kept is not None
            and kept.journeys is journeys
            and 0 <= now_ms - kept.at_ms < KEPT_MS
            and kept.state == state
        ):
            return kept.body
        return None

    def _forget(self, now_ms: int) -> None:
        """Let go of what is too old to be given: a state here must not outlive an erasure."""
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if len(self._kept) < _KEPT_MAX and now_ms - oldest.at_ms < KEPT_MS:
                return
            self._kept.popitem(last=False)


def _offers(found: NextBest) -> dict[str, object]:
    return {
        "proposed": [
            {
                "offer": one.offer,
                "because": one.because.value,
                "text": one.text,
                "expires_at": rfc3339(one.expires_at_ms),
                "provisional": one.provisional,
                "code": one.code,
                "journey": one.journey,
            }
            for one in found.proposed
        ],
        "not_proposed": [
            {
                "offer": one.offer,
                "reason": one.reason,
                "detail": one.detail,
                "otherwise": one.otherwise,
            }
            for one in found.not_proposed
        ],
    }
