"""What is wrong, where, and the nearest right word: the sentences of `orchestrator check`.

Every file of this room reports in `Finding`s and raises nothing, so that an author sees all of
them at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final, NamedTuple

# Below it, difflib proposes words that share only their length.
SIMILARITY_MIN: Final = 0.6
# A list of what is allowed helps up to about two lines of a terminal.
LISTED_MAX: Final = 16
QUOTED_CHARACTERS_MAX: Final = 60


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
    text = value if isinstance(value, str) else repr(value)
    text = " ".join(text.split())
    if len(text) > QUOTED_CHARACTERS_MAX:
        text = text[: QUOTED_CHARACTERS_MAX - 1] + "…"
    return f'"{text}"' if isinstance(value, str) else text
