"""A folder of journeys as one document, and back: what is published and what workers run.

The files travel as they were written, and are read by the same reader wherever they arrive, so that
what `check` accepts is what runs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from orchestrator.catalog.folder import VERSIONS_FOLDER, load
from orchestrator.catalog.templates import FOLDER as TEMPLATES_FOLDER
from orchestrator.core.language.words import Send

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.core.journeys import Journeys, Mode
    from orchestrator.core.language.journey import Journey

_READ: Final = ("*.yaml", f"{VERSIONS_FOLDER}/*.yaml", f"{TEMPLATES_FOLDER}/*/*.yaml")


def files_of(folder: Path) -> dict[str, str]:
    """Return every file of a folder that the catalog reads, by its path in there."""
    found = sorted({path for pattern in _READ for path in folder.glob(pattern)})
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in found}


def is_read(path: str) -> bool:
    """Whether the catalog would read a file of this path in a folder."""
    return any(
        PurePosixPath(path).match(pattern) and _depth(path) == _depth(pattern) for pattern in _READ
    )


def _depth(path: str) -> int:
    return path.count("/")


def load_files(files: Mapping[str, str], mode: Mode) -> Journeys:
    """Return the journeys of such files. Raises JourneyError with their findings."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-journeys-") as name:
        folder = Path(name)
        for path, text in files.items():
            target = folder / path
            if not target.resolve().is_relative_to(folder.resolve()):
                continue  # A path that leads out of the folder is none of the catalog's.
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, "utf-8")
        return load(folder, mode)


def carried_over(
    new: Mapping[str, str], coming: Journeys, old: Mapping[str, str], running: Journeys
) -> dict[str, str]:
    """Return older versions that people may be in, which the new folder does not hold.

    Of journeys that still exist; one whose file is gone altogether is over for everybody. What
    these versions say (templates) comes along.
    """
    names = {journey.name for journey in coming.current}
    current = {(journey.name, journey.version) for journey in running.current}
    carried: dict[str, str] = {}
    for (name, version), journey in running.versions.items():
        if name not in names or (name, version) in coming.versions:
            continue
        kept = f"{VERSIONS_FOLDER}/{name}.v{version}.yaml"
        source = f"{name}.yaml" if (name, version) in current else kept
        if source not in old or version > _newest(coming, name):
            continue
        carried[kept] = old[source]
        for path in _template_files(journey):
            if path in old and path not in new:
                carried[path] = old[path]
    return carried


def changes(running: Journeys | None, coming: Journeys) -> list[str]:
    """Say in short lines what a publication changes."""
    before = {} if running is None else {one.name: one.version for one in running.current}
    after = {one.name: one.version for one in coming.current}
    lines = [f"new: {name} (version {after[name]})" for name in sorted(after.keys() - before)]
    lines += [f"gone: {name}" for name in sorted(before.keys() - after)]
    lines += [
        f"{name}: version {before[name]} → {after[name]}"
        for name in sorted(after.keys() & before)
        if before[name] != after[name]
    ]
    if running is not None:
        was, now = running.templates.sources(), coming.templates.sources()
        changed = sorted(name for name in {**was, **now} if was.get(name) != now.get(name))
        lines += [f"template: {name}" for name in changed]
        held = {terms.name: terms.offer for terms in running.offers}
        made = {terms.name: terms.offer for terms in coming.offers}
        changed = sorted(name for name in {**held, **made} if held.get(name) != made.get(name))
        lines += [f"offer: {name}" for name in changed]
        names = sorted({*running.inputs, *coming.inputs})
        changed = [name for name in names if running.inputs.get(name) != coming.inputs.get(name)]
        lines += [f"input: {name}" for name in changed]
        if running.shop != coming.shop:
            lines.append("shop.yaml: changed")
        if running.channels != coming.channels:
            lines.append("channels.yaml: changed")
    return lines


def _newest(journeys: Journeys, name: str) -> int:
    return max(version for its, version in journeys.versions if its == name)


def _template_files(journey: Journey) -> Iterator[str]:
    words = [step.send or step.ask for step in journey.steps]
    words += [one.then for one in journey.exits]
    for word in words:
        if word is not None:
            channels = word.channels if isinstance(word, Send) else (word.channel,)
            for channel in channels:
                yield f"{TEMPLATES_FOLDER}/{channel}/{word.template}.yaml"
