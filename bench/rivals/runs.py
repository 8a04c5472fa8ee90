"""The raw results of `make bench-rivals`: one JSON file per run, so that a run can be gone on with.

A key is `part/variant/system/repetition`; what stands in the folder is not measured again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Runs:
    """Rows in a folder, each in a file of its own, written when it is measured."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Topics of an interrupted run may still be there.
        self.token = f"{int(time.time()):x}"
        self._rows: dict[str, dict[str, Any]] = {}
        self.surroundings: list[dict[str, Any]] = []
        if self._machine.exists():
            self.surroundings = orjson.loads(self._machine.read_bytes())
        for path in sorted(folder.glob("*.*.json")):
            document = orjson.loads(path.read_bytes())
            self._rows[document["key"]] = document
        # What failed the last time gets another chance; what fails now does not.
        self._again = {key for key, row in self._rows.items() if "failed" in row}

    def __contains__(self, key: str) -> bool:
        return key in self._rows and key not in self._again

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def _machine(self) -> Path:
        return self.folder / "machine.json"

    def began(self, surroundings: dict[str, Any]) -> None:
        """Note where and on what this goes on."""
        self.surroundings.append(surroundings)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._machine.write_bytes(orjson.dumps(self.surroundings, option=orjson.OPT_INDENT_2))

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row, at once."""
        self._rows[key] = {"key": key, **row}
        self._again.discard(key)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{key.replace('/', '.')}.json"
        beside = path.with_suffix(".part")
        beside.write_bytes(orjson.dumps(self._rows[key], option=orjson.OPT_INDENT_2))
        beside.replace(path)

    def of(self, part: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield variant, system and row of a part."""
        for key, row in self._rows.items():
            found, variant, system, _ = key.split("/")
            if found == part:
                yield variant, system, row

    def rows(self, part: str, variant: object, system: str) -> list[dict[str, Any]]:
        """Return the rows of a part, a variant and a system: one for each repetition."""
        return [
            row
            for found, name, row in self.of(part)
            if (found, name) == (str(variant), system) and "skipped" not in row
        ]
