"""What derived attributes keep in the state of a customer, which is where it is a field.

`tally` writes and reads it; to everybody else it is bytes. All times are epoch milliseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field


class Tally(Struct, frozen=True, array_like=True, gc=False):
    """What was counted under one customer id for derived attributes.

    `content` is MessagePack that only `tally` reads, so that events that count for
    nothing do not pay for it. Of two of one id, the one with the larger `version` holds everything.
    """

    version: int
    content: bytes


class Derived(Struct, frozen=True, array_like=True, gc=False):
    """What derived attributes are made of.

    `due_ms` is when the next event leaves a window; `tallies` are by the id they were counted
    under.
    """

    due_ms: int | None = None
    tallies: Mapping[str, Tally] = field(default_factory=dict)


NO_DERIVED: Final = Derived()
