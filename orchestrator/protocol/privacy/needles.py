"""What a customer is found by in a record: their ids, and what else one was told to look for.

An id counts as a whole word, so that `ana` is not found in a banana; anything else counts wherever
it stands. A mail address or a phone number is looked for as its SHA-256 too, as audiences have it.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ID: Final = "the id"
ABSORBED: Final = "an id of theirs before a merge"
IDS: Final = frozenset({ID, ABSORBED})
# A word of MessagePack from this length on has its length in a byte that may look like a letter.
_WORD_BYTES_MAX: Final = 31


class Needles:
    """Everything that one customer is looked for by.

    `also` are further values, in their order; `absorbed` the ids that were merged into theirs.
    """

    def __init__(
        self, customer: str, also: Sequence[str] = (), absorbed: Iterable[str] = ()
    ) -> None:
        self.key: Final = customer.encode()
        before = sorted(absorbed)
        self.absorbed: Final = frozenset(one.encode() for one in before)
        self._id: Final = re.compile(_words([customer]))
        # An empty pattern would be found in everything.
        self._absorbed: Final = re.compile(_words(before)) if before else None
        self._also: Final = [
            (f"--also {number}", re.compile(b"|".join(map(re.escape, _disguises(value)))))
            for number, value in enumerate(also, start=1)
        ]

    def found_in(self, *parts: bytes | None) -> frozenset[str]:
        """Return by what the customer is found in parts of a record; empty when they are not."""
        found = set()
        for part in parts:
            if not part:
                continue
            if part == self.key or self._id.search(part):
                found.add(ID)
            if self._absorbed is not None and (
                part in self.absorbed or self._absorbed.search(part)
            ):
                found.add(ABSORBED)
            found.update(name for name, pattern in self._also if pattern.search(part))
        return frozenset(found)

    def found_in_record(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Iterable[tuple[str, bytes | None]] = (),
    ) -> frozenset[str]:
        """Return by what the customer is found in a record, its headers included."""
        return self.found_in(key, value, *(text for _, text in headers))


def _words(ids: Iterable[str]) -> bytes:
    return b"|".join(_word(text) for one in ids for text in _spellings(one))


def _word(text: bytes) -> bytes:
    if len(text) > _WORD_BYTES_MAX:
        return re.escape(text)
    return rb"(?<![0-9A-Za-z_])" + re.escape(text) + rb"(?![0-9A-Za-z_])"


def _spellings(text: str) -> list[bytes]:
    """Return a text as it may stand in a record: as it is, and as JSON may escape it."""
    ways = (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    return [one.encode() for one in dict.fromkeys(ways)]


def _disguises(value: str) -> list[bytes]:
    ways = _spellings(value)
    folded = value.strip().lower()
    for one in dict.fromkeys((value, value.strip(), folded)):
        ways += _spellings(one)
        digest = sha256(one.encode()).hexdigest()
        ways += [digest.encode(), digest.upper().encode()]
    return list(dict.fromkeys(ways))
