"""Whether the effect of an accepted event can be seen here: what read-your-writes waits for.

A receipt names where records stand on an input topic. The journey log names for every decision the
position of its cause, and where a forwarded record stood first; the meta record of the changelog
says up to where a partition's states include the decisions; dead letters name the position too.
All three are exact, whatever way a record takes. Fed by `feed`, asked by `read_model`.
"""

from __future__ import annotations

import base64
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.api.model.store import DeadLetter, Part

# Decisions that are remembered one by one, for each input partition; older ones by a floor.
RECENT_MAX: Final = 20_000
POSITIONS_MAX: Final = 2_000
RECEIPT_CHARACTERS_MAX: Final = 8_192
_PREFIX: Final = "r1."

# The first and the number of records that stand one after the other.
_Run = tuple[str, int, int, int]
_runs: Final = msgspec.msgpack.Decoder(list[_Run])


class Position(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class Decided(NamedTuple):
    """Where the record stood when it was decided: its home partition, and the topic there."""

    home: int
    topic: str
    offset: int


class Refused(NamedTuple):
    """A record became a dead letter: it never has an effect."""

    position: Position
    letter: DeadLetter


def receipt_of(positions: Iterable[Position]) -> str:
    """Return the receipt of accepted records, as an opaque text."""
    runs: list[_Run] = []
    for one in sorted(positions):
        if runs:
            topic, partition, first, count = runs[-1]
            if (topic, partition, first + count) == one:
                runs[-1] = (topic, partition, first, count + 1)
                continue
        runs.append((*one, 1))
    return _PREFIX + base64.urlsafe_b64encode(msgspec.msgpack.encode(runs)).decode().rstrip("=")


def positions_of(receipt: str) -> list[Position]:
    """Read a receipt. Raises ValueError for what is none."""
    if not receipt.startswith(_PREFIX) or len(receipt) > RECEIPT_CHARACTERS_MAX:
        raise ValueError("it is not one that this API has given")
    text = receipt.removeprefix(_PREFIX)
    try:
        runs = _runs.decode(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (ValueError, msgspec.DecodeError):
        raise ValueError("it is not one that this API has given") from None
    counts = [count for _, _, _, count in runs]
    if not runs or min(counts) < 1 or sum(counts) > POSITIONS_MAX:
        raise ValueError("it is not one that this API has given")
    if any(partition < 0 or first < 0 for _, partition, first, _ in runs):
        raise ValueError("it is not one that this API has given")
    return [
        Position(topic, partition, offset)
        for topic, partition, first, count in runs
        for offset in range(first, first + count)
    ]


class _Recent:
    """Decisions about one input partition, by the offset that its producer was told."""

    __slots__ = ("decided", "floor", "order")

    def __init__(self, floor: int) -> None:
        self.decided: dict[int, Decided] = {}
        self.order: deque[int] = deque()
        self.floor = floor

    def add(self, offset: int, decided: Decided) -> None:
        if offset not in self.decided:
            self.order.append(offset)
        self.decided[offset] = decided
        if len(self.order) > RECENT_MAX:
            oldest = self.order.popleft()
            del self.decided[oldest]
            self.floor = max(self.floor, oldest)


class Effects:
    """What has become visible here.

    `floors` are offsets of which it is known that they, and those before them, were decided before
    this process began to look; only a record that was on its way home just then is not told apart.
    """

    def __init__(
        self, floors: Mapping[Part, int], decided: Mapping[int, Mapping[str, int]]
    ) -> None:
        self._recent = {part: _Recent(floor) for part, floor in floors.items()}
        self._states = {home: dict(positions) for home, positions in decided.items()}

    def log(self, position: Position, decided: Decided) -> None:
        """Take in that the journey log names the decision about a record."""
        part = position[:2]
        recent = self._recent.get(part)
        if recent is None:
            recent = self._recent[part] = _Recent(-1)
        recent.add(position.offset, decided)

    def states(self, home: int, positions: Mapping[str, int]) -> None:
        """Take in up to where the states of a home partition include decisions."""
        self._states.setdefault(home, {}).update(positions)

    def pending(
        self,
        positions: Iterable[Position],
        dead_letter: Callable[[str, int, int], DeadLetter | None],
    ) -> tuple[list[Position], Refused | None]:
        """Return the records whose effect is not here yet, and one that never has any."""
        waiting: list[Position] = []
        refused: Refused | None = None
        for position in positions:
            recent = self._recent.get(position[:2])
            decided = None if recent is None else recent.decided.get(position.offset)
            if decided is not None:
                if not self._includes(decided):
                    waiting.append(position)
            elif (letter := dead_letter(*position)) is not None:
                refused = refused or Refused(position, letter)
            elif recent is None or position.offset > recent.floor:
                waiting.append(position)
        return waiting, refused

    def _includes(self, decided: Decided) -> bool:
        return self._states.get(decided.home, {}).get(decided.topic, 0) > decided.offset
