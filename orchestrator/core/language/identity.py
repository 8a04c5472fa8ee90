"""How a shop tells anonymous ids from known ones, and what it does about ids that share an address.

Part of `shop.yaml`; `core/identity` reads it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from orchestrator.core.language.scalars import Model, Text

ANY: Final = "*"
UUID: Final = "<uuid>"
# What collectors and app kits commonly hand out.
ANONYMOUS: Final = (
    *("anon-*", "anonymous-*", "cookie-*", "device-*", "visitor-*", "web-*"),
    UUID,
)


def _checked(pattern: str) -> str:
    """Refuse a pattern that could mean every id, or take long."""
    if pattern.count(ANY) > 1:
        raise ValueError(f"{pattern!r} has more than one *; write one, like anon-*")
    if not pattern.replace(ANY, ""):
        raise ValueError(f"{pattern!r} means every id; then nobody would be known")
    if pattern.count("<") + pattern.count(">") != 2 * pattern.count(UUID):
        raise ValueError(f"{pattern!r}: the only word in angle brackets is {UUID}")
    return pattern


Pattern = Annotated[Text, AfterValidator(_checked)]
OnShared = Literal["merge", "report", "ignore"]


class Identity(Model):
    """Which ids are anonymous, and what is done about known ids that share an address."""

    anonymous: tuple[Pattern, ...] = Field(default=ANONYMOUS, max_length=64)
    """What anonymous ids look like: `web-*` is every id that begins like that, `<uuid>` stands for
    a UUID. When two ids turn out to be one customer, a known one stays, and of two of a kind the
    smaller one by its bytes. By default ids like `anon-1`, `anonymous-1`, `cookie-1`, `device-1`,
    `visitor-1`, `web-1`, and bare UUIDs."""
    shared_email: OnShared = "report"
    """What happens when two known ids have the same e-mail address: `report` it, `merge` them, or
    `ignore` it. Only a hash of the address is kept for this."""
    shared_phone: OnShared = "report"
    """The same for a phone number, which has to begin with `+` and its country."""
