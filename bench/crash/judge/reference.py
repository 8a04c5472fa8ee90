"""A second, small idea of what the journeys mean: sequential, in memory, without the core's code.

`replay` takes every customer through it: the inputs in the order and with the `now` that the
journey log recorded. It reads the same YAML, by itself, and knows only the words that the crash
journeys use. What it shares with the product is the CEL library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cel
import yaml

from bench.crash.judge.quiet import Quiet

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Model:
    """The journeys of a run, and what their expressions mean."""

    def __init__(self, folder: Path) -> None:
        self.shop = yaml.safe_load((folder / "shop.yaml").read_text(encoding="utf-8"))
        channels = folder / "channels.yaml"
        self.channels = yaml.safe_load(channels.read_text(encoding="utf-8"))
        self.offers = yaml.safe_load((folder / "offers.yaml").read_text(encoding="utf-8"))
        self.quiet = Quiet(self.shop, self.channels)
        self.journeys: dict[str, Mapping[str, Any]] = {}
        for path in sorted(folder.glob("*.yaml")):
            if path.name not in {"shop.yaml", "channels.yaml", "offers.yaml"}:
                # Plain loaders read the word `on` as true, as YAML 1.1 has it.
                text = path.read_text(encoding="utf-8").replace("on:", '"on":')
                journey = yaml.safe_load(text)
                self.journeys[journey["name"]] = journey
        self.exit_types = {one["on"] for j in self.journeys.values() for one in j.get("exits", ())}
        self._programs: dict[str, cel.Program] = {}

    def ends_fenced(self, entry: Mapping[str, Any]) -> bool:
        """Whether what an entry of the log ends, or hands over, belongs into `fences`."""
        promotional = self.journeys[entry["journey"]]["kind"] == "promotional"
        return promotional and entry.get("reason") != "completed"

    def evaluate(self, source: str, scope: Mapping[str, Any]) -> Any:
        """Return the value of an expression; None when it names something that is not there."""
        program = self._programs.get(source)
        if program is None:
            program = self._programs[source] = cel.compile(source)
        try:
            return program.execute(dict(scope))
        except Exception:  # noqa: BLE001 - The binding raises many types; all mean no value.
            return None
