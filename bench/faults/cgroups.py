"""A control group of version 1, for one row: made before it, removed after it."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final, Self

from bench.faults.case import NotHere

_ROOT: Final = Path("/sys/fs/cgroup")


class Cgroup:
    """A context manager; its processes have to be gone at its end."""

    def __init__(self, controller: str, name: str) -> None:
        self.path = _ROOT / controller / name

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise NotHere(f"needs cgroups of version 1 and root: {error}") from None
        return self

    def __exit__(self, *_: object) -> None:
        for _attempt in range(20):
            with contextlib.suppress(OSError):
                self.path.rmdir()
                return
            time.sleep(0.1)

    def write(self, name: str, value: str) -> None:
        """Set one of its files."""
        (self.path / name).write_text(value, encoding="ascii")

    def read(self, name: str) -> str:
        """Return one of its files."""
        return (self.path / name).read_text(encoding="ascii")
