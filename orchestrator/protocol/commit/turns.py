"""Whose turn it is, among the partitions of a worker, with what time brings: due waits and visits.

`machine` has one for each of both. A transaction takes few of them, so that a purchase does not
wait for everybody whose wait ends at nine; the fewer partitions it touches, the sooner the broker
has committed it. So one partition after the other has its turn, over all transactions, and none
stands behind another's backlog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.protocol.commit.partition import CustomerPartition


class Turns:
    """The turns of one kind of work."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = -1  # Whose turn it was last.

    def take(
        self,
        homes: Mapping[int, CustomerPartition],
        inputs_max: int,
        decide_next: Callable[[CustomerPartition], bool],
    ) -> int:
        """Decide up to so many inputs; return how many.

        `decide_next` decides a partition's next input, and returns False when there is none for
        now or no room.
        """
        decided = 0
        owned = sorted(index for index, home in homes.items() if home.owned)
        behind = [index for index in owned if index > self._last]
        for index in (*behind, *owned[: len(owned) - len(behind)]):
            while decided < inputs_max and decide_next(homes[index]):
                decided += 1
                self._last = index
        return decided
