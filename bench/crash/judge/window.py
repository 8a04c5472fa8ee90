"""The last 64 events of a customer, by which a repeat is told from a new one.

When two ids become one, the newest 64 of both stay, by the second in which they were decided. Which
of one second stay is nobody's promise, so that a window may be unsure about an event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SEEN_MAX: Final = 64
Key = tuple[str, str]
"""Source and id of an event."""


@dataclass(slots=True)
class Entry:
    """One event that a window holds; not `sure` when it may have fallen out of it."""

    second: int
    group: int
    body: str
    sure: bool = True


@dataclass(slots=True)
class Window:
    """What a customer has seen, oldest first. Entries of one group have no order among them."""

    entries: dict[Key, Entry] = field(default_factory=dict)
    groups: int = 0

    def look(self, key: Key) -> Entry | None:
        """Return what is held of an event; None when it certainly is not."""
        return self.entries.get(key)

    def add(self, key: Key, body: str, now_ms: int) -> None:
        """Take an event in as the newest one."""
        self.entries.pop(key, None)
        self.groups += 1
        self.entries[key] = Entry(now_ms // 1_000, self.groups, body)
        self._trim()

    def union(self, other: Window) -> None:
        """Take in what another id has seen."""
        for key, entry in other.entries.items():
            mine = self.entries.get(key)
            if mine is None or (mine.second, mine.body) < (entry.second, entry.body):
                self.entries[key] = entry
        ordered = sorted(self.entries.items(), key=lambda one: one[1].second)
        seconds = sorted({entry.second for entry in self.entries.values()})
        numbers = {second: number for number, second in enumerate(seconds, 1)}
        self.entries = {
            key: Entry(one.second, numbers[one.second], one.body, one.sure) for key, one in ordered
        }
        self.groups = len(seconds)
        self._trim()

    def began_ms(self) -> int | None:
        """Return when the first event was decided; None when nobody remembers."""
        if not self.entries or len(self.entries) >= SEEN_MAX:
            return None
        return min(entry.second for entry in self.entries.values()) * 1_000

    def _trim(self) -> None:
        if len(self.entries) <= SEEN_MAX:
            return
        newest = sorted(self.entries.items(), key=lambda one: -one[1].group)
        later_sure = later = at = 0
        while at < len(newest):
            group = [one for one in newest[at:] if one[1].group == newest[at][1].group]
            # Whichever of them stay: so many came later than what is before them.
            sure = sum(entry.sure for _, entry in group)
            for key, entry in group:
                if later_sure >= SEEN_MAX:
                    del self.entries[key]
                elif later + len(group) > SEEN_MAX:
                    entry.sure = False
            later_sure += sure
            later += len(group)
            at += len(group)
