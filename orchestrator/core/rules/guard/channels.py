"""Which channel a message takes when its step names several.

`reach` asks here. The customer's own choice comes first (`profile.preferred_channel`), then where
they respond most, then the journey's order; of these the first that reaches them. The same message
never goes out on two channels, unless the step says `all`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orchestrator.core.contact import response_score
from orchestrator.core.decision import Refusal
from orchestrator.core.expressions.condition import is_empty
from orchestrator.core.rules.guard.checks import unreachable

if TYPE_CHECKING:
    from orchestrator.core.command import CommandClass
    from orchestrator.core.language.words import Send
    from orchestrator.core.rules.draft import Draft
    from orchestrator.core.rules.guard.checks import Reason

PREFERRED_ATTRIBUTE: Final = "preferred_channel"
# A sender asks for the expiry before it hands over, and its report takes a while.
GRACE_MS: Final = 300_000


def in_order(draft: Draft, word: Send) -> list[str]:
    """Return the channels of a step in the order that is best for this customer."""
    preferred = draft.attributes.get(PREFERRED_ATTRIBUTE)
    chosen = None if preferred is None else preferred.value

    def rank(channel: str) -> tuple[bool, int]:
        return channel != chosen, -_score(draft, channel)

    return sorted(word.channels, key=rank)


def _score(draft: Draft, channel: str) -> int:
    """Return how much the customer responds on a channel, under every id that they have had."""
    score = response_score(draft.contact.responses, channel, draft.now_ms)
    for habits in () if draft.kin is None else draft.kin.habits.values():
        score += response_score(habits.responses, channel, draft.now_ms)
    return score


def cut_off(draft: Draft, channel: str, command_class: CommandClass) -> Reason | None:
    """Return why the customer cannot be reached on a channel, if so."""
    declared = draft.journeys.channels.get(channel)
    name = None if declared is None else declared.address_ref
    if name is not None and name.startswith("profile."):
        address = draft.attributes.get(name.removeprefix("profile."))
        if address is None or is_empty(address.value):
            return Refusal.NO_ADDRESS, name
    return unreachable(draft, channel, command_class)
