"""The coordinator of the consumer group: members, generations, and whose partitions are whose.

`kafka` asks it whether offsets may be committed; workers join it. Members that are silent for
longer than the session are given up, and so is who does not come to a rebalance in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from orchestrator.protocol.commit.transaction import TopicPartition

SESSION_TIMEOUT_MS: Final = 6_000


@dataclass(slots=True)
class Member:
    """One member. `homes` are partitions of customers, `elsewhere` other input partitions."""

    slot: str
    beat_ms: int
    homes: tuple[int, ...] = ()
    elsewhere: tuple[TopicPartition, ...] = ()


class Group:
    """One consumer group."""

    def __init__(self, homes: int, elsewhere: tuple[TopicPartition, ...]) -> None:
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.rebalancing = False
        self.rejoined: set[str] = set()
        self._homes = homes
        self._elsewhere = elsewhere
        self._deadline_ms = 0
        self._named = 0

    def accepts(self, generation: int, member: str) -> bool:
        """Whether offsets of this member in this generation may be committed."""
        return member in self.members and generation == self.generation

    @property
    def slots(self) -> set[str]:
        """The slots whose workers are members."""
        return {member.slot for member in self.members.values()}

    def join(self, slot: str, now_ms: int) -> str:
        """Let a worker become a member; return its id. A rebalance begins."""
        self._named += 1
        name = f"{slot}.{self._named}"
        self.members[name] = Member(slot, now_ms)
        self._begin(now_ms)
        self.rejoin(name)
        return name

    def rejoin(self, member: str) -> None:
        """Let a member that has let go of its partitions wait for the next generation."""
        self.rejoined.add(member)
        self._complete()

    def leave(self, member: str, now_ms: int) -> None:
        """Let a member go that says so."""
        if self.members.pop(member, None) is not None:
            self.rejoined.discard(member)
            self._begin(now_ms)
            self._complete()

    def pass_time(self, now_ms: int, beating: Collection[str]) -> list[str]:
        """Give up who was silent for too long; return them."""
        for name in beating:
            if name in self.members:
                self.members[name].beat_ms = now_ms
        silent = [
            name
            for name, member in self.members.items()
            if now_ms - member.beat_ms > SESSION_TIMEOUT_MS
            or (self.rebalancing and now_ms > self._deadline_ms and name not in self.rejoined)
        ]
        for name in silent:
            self.leave(name, now_ms)
        return silent

    def _begin(self, now_ms: int) -> None:
        if not self.rebalancing:
            self.rebalancing = True
            self.rejoined = set()
            self._deadline_ms = now_ms + SESSION_TIMEOUT_MS

    def _complete(self) -> None:
        if not self.rebalancing or not self.members or self.rejoined < self.members.keys():
            return
        self.rebalancing = False
        self.generation += 1
        self._assign()

    def _assign(self) -> None:
        """Share partitions out; who has some keeps them as far as that is fair."""
        names = sorted(self.members)
        free = set(range(self._homes))
        kept: dict[str, list[int]] = {}
        for position, name in enumerate(names):
            fair = self._homes // len(names) + (position < self._homes % len(names))
            kept[name] = [one for one in self.members[name].homes if one in free][:fair]
            free -= set(kept[name])
        for index in sorted(free):
            kept[min(names, key=lambda name: len(kept[name]))].append(index)
        for position, name in enumerate(names):
            member = self.members[name]
            member.homes = tuple(sorted(kept[name]))
            member.elsewhere = tuple(
                one
                for number, one in enumerate(self._elsewhere)
                if number % len(names) == (position + self.generation) % len(names)
            )
