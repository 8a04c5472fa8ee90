"""How far behind the read model is: records, and seconds.

`feed` notes what it has read and what of it is in the file; the exposition's thread asks at each
scrape, so that a feed that stands still is seen falling behind.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.api.model.store import Part


class Behind(NamedTuple):
    """Records of each topic that are not in the read model yet, and for how long at most."""

    records: Mapping[str, int]
    seconds: float


class _Place(NamedTuple):
    """A partition: up to where records were read, and up to where they are in the file.

    Up to `known_ms` nothing of it is missing.
    """

    read: int
    applied: int
    known_ms: int


class Progress:
    """Where the feed stands in each partition; times are epoch milliseconds."""

    def __init__(self) -> None:
        self._places: dict[Part, _Place] = {}
        # When who asks last saw nothing before a partition; written by their thread alone.
        self._level_ms: dict[Part, int] = {}

    def stands(self, part: Part, position: int, *, now_ms: int) -> None:
        """Begin at a position, of which nothing is known before now."""
        self._places[part] = _Place(position, position, now_ms)

    def read(self, positions: Mapping[Part, int]) -> None:
        """Note records that are not in the file yet."""
        for part, position in positions.items():
            self._places[part] = self._places[part]._replace(read=position)

    def applied(
        self, positions: Mapping[Part, int], newest_ms: Mapping[Part, int], *, now_ms: int
    ) -> None:
        """Note that they are, the newest of each partition of that time."""
        for part, position in positions.items():
            # A producer's clock that runs ahead tells nothing about the future.
            known_ms = min(now_ms, newest_ms.get(part, now_ms))
            self._places[part] = self._places[part]._replace(applied=position, known_ms=known_ms)

    def behind(
        self, positions: Mapping[Part, int], ends: Mapping[Part, int], *, now_ms: int
    ) -> Behind:
        """Return what lies between here and the ends; only one thread asks.

        `positions` are the consumer's, which go over markers that are no records.
        """
        records: Counter[str] = Counter()
        late_ms = 0
        for part, place in self._places.copy().items():
            stands = place.applied
            if place.read == place.applied:
                stands = max(stands, positions.get(part, 0))
            left = max(0, ends.get(part, 0) - stands)
            records[part[0]] += left
            if left:
                since_ms = max(place.known_ms, self._level_ms.get(part, 0))
                late_ms = max(late_ms, now_ms - since_ms)
            else:
                self._level_ms[part] = now_ms
        return Behind(dict(records), late_ms / 1000)
