"""The commands of one lane that are in hand: whose turn it is, who waits, what may be committed.

`handover` takes from it and gives back; `lane_reader` fills it. Pure: times are handed in. One
customer's commands are handed over one at a time and in the order of the lane, as far as they are
ready; one that waits, or is held by a pause, stands in nobody's way.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.sender.rules.command import Command, Place

REPEAT_WAIT_MS: Final = 1_000
"""How long a second record of a command waits before it looks whether the first one has ended."""


class Entry:
    """A command in hand. `turn` tells a current place in a waiting list from one that is past."""

    __slots__ = ("aside", "command", "customer", "dropped", "number", "turn")

    def __init__(self, command: Command, number: int, customer: str) -> None:
        self.command = command
        self.number = number
        self.customer = customer
        """Whose turn it waits for."""
        self.turn = 0
        self.aside = False
        """It waits for a time or for a resume; its customer is free."""
        self.dropped = False
        """Its partition was given away: what is begun ends, nothing is begun."""


class Lane:
    """One lane of one sender. Not safe for threads."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._numbers = itertools.count()
        self._ready: deque[Entry] = deque()
        self._waiting: list[tuple[int, int, int, Entry]] = []
        self._held: dict[int, Entry] = {}
        self._busy: dict[str, deque[Entry]] = {}
        self._by_id: dict[str, Entry] = {}
        # Offsets in hand by partition; readers go upwards, so the first one is the lowest.
        self._open: dict[int, dict[int, None]] = {}
        self._next: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def ready(self) -> int:
        """How many could be handed over now."""
        return len(self._ready)

    @property
    def held(self) -> int:
        """How many a pause holds."""
        return len(self._held)

    def holds(self, command_id: str) -> bool:
        """Whether a command is in hand."""
        return command_id in self._by_id

    def repeats(self, entry: Entry) -> bool:
        """Whether another record of the same command is in hand before this one."""
        return self._by_id.get(entry.command.id, entry) is not entry

    def oldest(self) -> Command | None:
        """Return the command that has been in hand for longest."""
        first = next(iter(self._by_id.values()), None)
        return None if first is None else first.command

    def is_past(self, place: Place) -> bool:
        """Whether the record at a place has been read."""
        return self._next.get(place.partition, 0) > place.offset

    def assign(self, partition: int, offset: int) -> None:
        """Begin with a partition at the offset that is read next."""
        self._open[partition] = {}
        self._next[partition] = offset

    def revoke(self, partitions: Iterable[int]) -> None:
        """Let go of partitions: the next owner reads again what is not begun here."""
        gone = set(partitions)
        for partition in gone:
            self._open.pop(partition, None)
            self._next.pop(partition, None)
        for command_id, entry in list(self._by_id.items()):
            if entry.command.place.partition in gone:
                entry.dropped = True
                entry.aside = False
                entry.turn += 1
                self._held.pop(entry.number, None)
                del self._by_id[command_id]
        self._ready = deque(entry for entry in self._ready if not entry.dropped)
        for behind in self._busy.values():
            kept = [entry for entry in behind if not entry.dropped]
            behind.clear()
            behind.extend(kept)

    def passed(self, partition: int, offset: int) -> None:
        """Note a record that is nobody's turn: unreadable, or of a type not known."""
        if partition in self._next:
            self._next[partition] = offset + 1

    def take(self, command: Command, now_ms: int) -> None:
        """Accept the next command of a partition.

        A second record of a command that is in hand waits for the first one's end, and is then
        found to be a duplicate.
        """
        partition, offset = command.place.partition, command.place.offset
        if partition not in self._next:
            return
        self._open[partition][offset] = None
        self._next[partition] = offset + 1
        # A cancel may come under another id of the same customer, after a merge; it must not
        # overtake the message, or nobody would take back what is being handed over just now.
        held = (self._by_id.get(one) for one in command.cancels)
        first = next((one for one in held if one is not None), None)
        customer = command.customer if first is None else first.customer
        entry = Entry(command, next(self._numbers), customer)
        if self._by_id.setdefault(command.id, entry) is entry:
            self._ready.append(entry)
        else:
            # It takes the first one's place in `_by_id` only by name; both are in hand.
            self._by_id[f"{command.id}\0{entry.number}"] = entry
            self.wait(entry, now_ms + REPEAT_WAIT_MS)

    def next(self) -> Entry | None:
        """Return the entry whose turn it is and mark its customer busy, or None."""
        while self._ready:
            entry = self._ready.popleft()
            behind = self._busy.get(entry.customer)
            if behind is None:
                self._busy[entry.customer] = deque()
                return entry
            behind.append(entry)
        return None

    def wait(self, entry: Entry, until_ms: int) -> None:
        """Put an entry aside until then."""
        if not entry.dropped:
            entry.turn += 1
            entry.aside = True
            heapq.heappush(self._waiting, (until_ms, entry.number, entry.turn, entry))

    def hold(self, entry: Entry) -> None:
        """Put an entry aside until something is resumed, or until it expires."""
        if not entry.dropped:
            self._held[entry.number] = entry
            self.wait(entry, entry.command.expires_at_ms)

    def put_back(self, entry: Entry) -> None:
        """Return an entry that could not go yet; it is first again."""
        self.free(entry)
        if not entry.dropped:
            self._ready.appendleft(entry)

    def free(self, entry: Entry) -> None:
        """Let the customer's next one follow; called once for each entry that `next` returned."""
        behind = self._busy.pop(entry.customer)
        self._ready.extendleft(reversed(behind))

    def release(self) -> None:
        """Look again at everything that stands aside: a pause ended, or a kill began."""
        for entry in self._by_id.values():
            if entry.aside:
                self._wake(entry)

    def hurry(self, command_ids: Iterable[str]) -> None:
        """Look again at these commands now."""
        for command_id in command_ids:
            entry = self._by_id.get(command_id)
            if entry is not None and entry.aside:
                self._wake(entry)

    def due(self, now_ms: int) -> int | None:
        """Make ready whose time has come; return when the next one's comes, or None."""
        while self._waiting:
            until_ms, _, turn, entry = self._waiting[0]
            if entry.turn == turn and until_ms > now_ms:
                return until_ms
            heapq.heappop(self._waiting)
            if entry.turn == turn:
                self._wake(entry)
        return None

    def _wake(self, entry: Entry) -> None:
        entry.turn += 1
        entry.aside = False
        self._held.pop(entry.number, None)
        self._ready.append(entry)

    def done(self, entry: Entry) -> None:
        """Let go of a command that is final and reported."""
        if entry.dropped:
            return
        command = entry.command
        del self._open[command.place.partition][command.place.offset]
        if self._by_id.get(command.id) is entry:
            del self._by_id[command.id]
        else:
            del self._by_id[f"{command.id}\0{entry.number}"]

    def positions(self) -> dict[int, int]:
        """Return the offset to commit for each partition: everything before it is done."""
        return {
            partition: next(iter(self._open[partition]), following)
            for partition, following in self._next.items()
        }
