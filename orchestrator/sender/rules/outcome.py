"""What a provider's answer means, as the callables of a channel team return it.

The distinction that matters is between *nothing was sent* and *nobody knows*: after the first any
command may be tried again, after the second only one that is delivered at least once.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

REASON_CHARACTERS_MAX: Final = 64


class Delivered(Struct, frozen=True):
    """The provider has taken it; `provider_id` is its own name for it, kept with the attempt."""

    provider_id: str = ""


class Bounced(Struct, frozen=True):
    """The address takes nothing, now and later: the channel does not reach this customer."""

    reason: str = "bounced"


class Failed(Struct, frozen=True):
    """It can never be sent. `reason` is a word of yours without personal data."""

    reason: str = "failed"


class Retry(Struct, frozen=True):
    """Certainly nothing was sent: try again, after `after_seconds` when the provider says so."""

    reason: str = "temporary"
    after_seconds: float | None = None


class Unknown(Struct, frozen=True):
    """Nobody can know whether it was sent (a timeout, a connection that broke).

    `at_least_once`: tried again. `at_most_once`: never again, and reported as failed with the
    reason `unknown`. An exception in your callable means the same.
    """

    reason: str = "no_answer"
    after_seconds: float | None = None


Outcome = Delivered | Bounced | Failed | Retry | Unknown
