"""What the owner of one customer tells the owner of another, on the forward topic.

A decision carries them (`Decision.notices`); at the other home each is an input like an event.
`protocol/notices` writes and reads them. All times are epoch milliseconds, UTC.
"""

from __future__ import annotations

from msgspec import Struct

from orchestrator.core.customer import Cause, Customer

# The first byte of the key of an index of addresses; no customer id in UTF-8 has it.
INDEX_BYTE = b"\xfe"


class MergeAsked(Struct, frozen=True, gc=False):
    """An event, or a shared address, says that two ids are one customer.

    It goes to the one that is to be absorbed.
    """

    absorbed: str
    survivor: str
    cause: Cause

    @property
    def home(self) -> str:
        """The customer whose owner has to hear it."""
        return self.absorbed


class StateMoved(Struct, frozen=True):
    """Everything that is known about an absorbed id; `state.now_ms` is when it was absorbed."""

    survivor: str
    state: Customer
    cause: Cause

    @property
    def home(self) -> str:
        """The customer whose owner has to hear it."""
        return self.survivor


class AddressClaimed(Struct, frozen=True, gc=False):
    """A known customer has this address now, or no longer.

    `by` is "email" or "phone", `digest` the SHA-256 of the address as `addresses` writes it.
    """

    by: str
    digest: bytes
    customer: str
    ended: bool = False

    @property
    def key(self) -> bytes:
        """Where the index stands that has to hear it."""
        return INDEX_BYTE + self.by[:1].encode() + self.digest


class AddressShared(Struct, frozen=True, gc=False):
    """Other known customers have the address that this one has claimed."""

    customer: str
    by: str
    digest: bytes
    others: tuple[str, ...]

    @property
    def home(self) -> str:
        """The customer whose owner has to hear it."""
        return self.customer


Notice = MergeAsked | StateMoved | AddressClaimed | AddressShared
