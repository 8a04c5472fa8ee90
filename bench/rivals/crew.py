"""One system as several processes under a supervisor, which starts again whatever ends.

The fleet of the crash run with a contestant in its slots: each process has a folder of its own, as
on a machine of its own. Who was stopped sleeps past its group's patience, then goes on.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bench.crash.fleet import Fleet, Slot
from bench.systems import Running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.rivals.arena import World

# Past the session: a heartbeat may just have been sent when it was stopped.
OVERSLEPT_SECONDS: Final = 5.0
# Three workers of stock Faust that started at once came to rest without answering, twice of twice.
GROW_SECONDS: Final = 8.0


class Crew(Fleet):
    """The processes of one world's system."""

    def __init__(self, world: World, processes: int) -> None:
        self.notes = world.log.with_suffix("")
        self.notes.mkdir(parents=True, exist_ok=True)
        self._world = world
        super().__init__(
            self.notes,
            world.deployment.environment,
            processes,
            stopped_seconds=world.contestant.session_seconds + OVERSLEPT_SECONDS,
            tell=lambda _: None,
        )
        for slot in self.slots[1:]:
            slot.wanted = False

    def start(self) -> None:
        """Start the first process and the supervision; `grow` lets the others join."""
        self._spawn(self.slots[0])
        self._thread.start()

    def grow(self) -> None:
        """Let the others join, one after the other."""
        for slot in self.slots[1:]:
            slot.wanted = True
            time.sleep(GROW_SECONDS)

    def program_of(self, slot: Slot) -> tuple[Sequence[str], Mapping[str, str]]:
        """Return what a slot runs: the contestant, in the slot's own folder."""
        folder = self._world.folder / slot.name
        folder.mkdir(exist_ok=True)
        contestant = self._world.contestant
        program, arguments = contestant.program(self._world.deployment, folder)
        return (
            (program, *arguments),
            self._world.deployment.environment | contestant.variables(folder),
        )

    def first(self) -> Running:
        """Return the first process, for who waits until the system answers."""
        slot = self.slots[0]
        assert slot.process is not None
        assert slot.log is not None
        return Running(self._world.contestant.name, slot.process, slot.log, time.monotonic_ns())

    def exits(self) -> dict[int, int]:
        """Return how often a process has ended, by exit code."""
        return dict(self.diary.exit_codes)

    def last_words(self) -> str:
        """Return the last line that names an error in what the processes wrote."""
        lines = [
            line.strip()
            for path in sorted(self.notes.glob("*.log"))
            for line in path.read_text("utf-8", errors="replace").splitlines()
        ]
        return next(
            (line[:300] for line in reversed(lines) if "Error" in line or "Exception" in line), ""
        )


@contextmanager
def crew(world: World, processes: int) -> Iterator[Crew]:
    """Start the first; end all on the way out, gently first."""
    fleet = Crew(world, processes)
    fleet.start()
    try:
        yield fleet
    finally:
        fleet.close()
