"""What is wrong, where, and the nearest right word: the sentences of `orchestrator check`.

Every file of this room reports in `Finding`s and raises nothing, so that an author sees all of
them at once.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

# Below it, difflib proposes words that share only their length.
SIMILARITY_MIN: Final = 0.7
# A list of what is allowed helps up to about two lines of a terminal.
LISTED_MAX: Final = 16
QUOTED_CHARACTERS_MAX: Final = 60
# Of one file. Nobody reads more at a time, and looking for the nearest word takes its time.
FINDINGS_MAX: Final = 100
AND_MORE: Final = "there is more; put right what is found so far"


class Finding(NamedTuple):
    """One thing to put right. Sorts by file and line."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """Return the allowed word that `word` was probably meant to be."""
    found = difflib.get_close_matches(word, sorted(allowed), n=1, cutoff=SIMILARITY_MIN)
    return found[0] if found else None


def instead(word: str, allowed: Iterable[str]) -> str:
    """Return the end of a sentence: the nearest allowed word, or else what is allowed."""
    words = sorted(allowed)
    if (found := nearest(word, words)) is not None:
        return f'; did you mean "{found}"?'
    if not words:
        return ""
    if len(words) > LISTED_MAX:
        return f"; allowed: {', '.join(words[:LISTED_MAX])} and {len(words) - LISTED_MAX} more"
    return f"; allowed: {', '.join(words)}"


def quoted(value: object) -> str:
    """Return a value as a message shows it: short and on one line."""
    return f'"{shortened(value)}"' if isinstance(value, str) else shortened(repr(value))


def shortened(text: str) -> str:
    """Return an author's text on one line and short enough for a message."""
    text = " ".join(text[: 4 * QUOTED_CHARACTERS_MAX].split())
    if len(text) > QUOTED_CHARACTERS_MAX:
        text = text[: QUOTED_CHARACTERS_MAX - 1] + "…"
    return text
