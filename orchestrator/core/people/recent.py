"""What was said to the customer last, and whether they have seen it: for a person who talks next.

`draft` notes a message when it is emitted, `decide` and `ending` what became of it. Kept only in a
shop whose journeys have tasks, and only of the newest messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from orchestrator.core.customer import RECENT_MAX, Recent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.core.command import Command
    from orchestrator.core.customer import Contact

CANCELLED: Final = "cancelled"
# Reports may come in any order; the one that says more stays.
_SAYS_MORE: Final = {
    "sent": 0,
    **dict.fromkeys((CANCELLED, "dropped", "failed", "bounced"), 1),
    "delivered": 2,
    "opened": 3,
    "clicked": 4,
    "replied": 5,
}
SEEN: Final = frozenset({"opened", "clicked", "replied"})


def noted(contact: Contact, command: Command) -> Contact:
    """Return the contact with the newest message."""
    told = Recent(
        id=command.id,
        time_ms=command.time_ms,
        channel=command.channel,
        template=command.template or "",
        journey=command.journey,
    )
    return replace(contact, recent=(*contact.recent, told)[-RECENT_MAX:])


def fated(contact: Contact, commands: Iterable[object], fate: str, at_ms: int) -> Contact:
    """Return the contact after something became of messages."""
    if not contact.recent or fate not in _SAYS_MORE:
        return contact
    about = frozenset(commands)
    recent = tuple(
        replace(one, fate=fate, fate_ms=at_ms)
        if one.id in about and _SAYS_MORE[fate] > _SAYS_MORE.get(one.fate, 0)
        else one
        for one in contact.recent
    )
    return contact if recent == contact.recent else replace(contact, recent=recent)
