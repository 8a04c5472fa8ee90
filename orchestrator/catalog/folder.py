"""A folder → `Journeys`, or every finding in it.

`orchestrator check` and the worker both read journeys here, so what passes the one starts in the
other. Each file goes through `tree.py` and `draft.py`; then `rules/` looks at each journey in its
surroundings, and this file at how the files fit together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from orchestrator.catalog.draft import Draft, read_journey, read_model
from orchestrator.catalog.findings import Finding, instead, quoted, shortened
from orchestrator.catalog.offers import OfferFile, offer_findings
from orchestrator.catalog.rules.derived import derived_findings
from orchestrator.catalog.rules.journeys import Surroundings, journey_findings, shop_findings
from orchestrator.catalog.rules.pressure import pressure_findings, ring_findings
from orchestrator.catalog.rules.promises import clash_findings, ended_findings
from orchestrator.catalog.rules.stages import stage_findings
from orchestrator.catalog.templates import read_templates
from orchestrator.catalog.tree import FILE_BYTES_MAX, Node, read_tree
from orchestrator.catalog.vocabulary import Vocabulary
from orchestrator.core.expressions.templates import NO_TEMPLATES, Templates
from orchestrator.core.journeys import Journeys
from orchestrator.core.language.scalars import NAME_PATTERN
from orchestrator.core.language.shop import Channel, Shop
from orchestrator.errors import JourneyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOP_FILE: Final = "shop.yaml"
CHANNELS_FILE: Final = "channels.yaml"
OFFERS_FILE: Final = "offers.yaml"
VERSIONS_FOLDER: Final = "versions"
# Not journeys; the last one is a file of the language to come.
RESERVED: Final = frozenset({"shop", "channels", "offers", "inputs"})
_VERSION_FILE: Final = re.compile(r"(?P<name>.+)\.v(?P<version>[0-9]{1,9})\.yaml", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a folder holds: journeys, or findings, never both."""

    journeys: Journeys | None
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Folder:
    """What has been read of a folder so far."""

    path: Path
    findings: list[Finding] = field(default_factory=list)
    shop: Shop | None = None
    shop_line: int = 1
    channels: dict[str, Channel] = field(default_factory=dict)
    channel_kinds: dict[str, str | None] | None = None
    offers: OfferFile | None = None
    drafts: list[Draft] = field(default_factory=list)


def load(folder: Path, mode: Literal["test", "live"]) -> Journeys:
    """Return the journeys of a folder. Raises JourneyError with all findings at once."""
    reading = read(folder, mode)
    if reading.journeys is None:
        raise JourneyError(tuple(str(finding) for finding in reading.findings))
    return reading.journeys


def read(
    folder: Path, mode: Literal["test", "live"] = "test", *, now_ms: int | None = None
) -> Reading:
    """Read a folder to its end, whatever is in it. Raises UsageError when there is none.

    With `now_ms`, offers that have ended are told where journeys still tell them. No worker asks
    so: that time passes must not keep one from starting.
    """
    if not folder.is_dir():
        raise UsageError(f"journeys: {folder} is no folder; allowed: the folder of the journeys")
    state = _Folder(folder)
    _read_shop(state)
    _read_channels(state)
    _read_offers(state)
    _read_journeys(state)
    vocabulary = Vocabulary(state.shop) if state.shop is not None else None
    templates = _read_templates(state)
    around = Surroundings(vocabulary, state.channel_kinds, templates, state.shop, state.offers)
    if state.offers is not None:
        kinds = state.channel_kinds
        state.findings.extend(offer_findings(state.offers, state.shop, kinds, templates))
    for draft in state.drafts:
        state.findings.extend(journey_findings(draft, around))
        state.findings.extend(_name_findings(draft))
    state.findings.extend(_version_findings(state))
    state.findings.extend(_shop_wide_findings(state, now_ms))
    findings = tuple(sorted(set(state.findings)))
    if findings or state.shop is None:
        return Reading(None, findings)
    journeys = (draft.journey for draft in state.drafts)
    written = templates or NO_TEMPLATES
    offers = state.offers.offers if state.offers is not None else {}
    return Reading(Journeys(state.shop, state.channels, journeys, mode, written, offers=offers), ())


def _read_file(state: _Folder, path: Path) -> Node | None:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        state.findings.append(Finding(str(path), 1, f"cannot be read: {error.strerror}"))
        return None
    tree, findings = read_tree(str(path), data)
    state.findings.extend(findings)
    return tree


def _read_shop(state: _Folder) -> None:
    path = state.path / SHOP_FILE
    if not path.exists():
        state.findings.append(
            Finding(str(path), 1, "is missing; it may be as short as `zone: UTC`")
        )
        return
    if (tree := _read_file(state, path)) is None:
        return
    state.shop, findings = read_model(str(path), tree, Shop)
    state.findings.extend(findings)
    if state.shop is not None:
        state.shop_line = tree.line_of("messages_per_week_max")
        state.findings.extend(shop_findings(str(path), tree, state.shop))
        vocabulary = Vocabulary(state.shop)
        state.findings.extend(stage_findings(str(path), tree, state.shop, vocabulary))
        state.findings.extend(derived_findings(str(path), tree, state.shop, vocabulary))


def _read_channels(state: _Folder) -> None:
    path = state.path / CHANNELS_FILE
    if not path.exists():
        state.findings.append(Finding(str(path), 1, "is missing; it declares the channels"))
        return
    if (tree := _read_file(state, path)) is None:
        return
    state.channel_kinds = {}
    for name, node in tree.value.items():
        line = tree.key_lines[name]
        if re.match(NAME_PATTERN, name) is None:
            message = f"{quoted(name)} is not a name; write a-z, 0-9 and _, beginning with a letter"
            state.findings.append(Finding(str(path), line, message))
        channel, findings = _read_channel(str(path), node, name, line)
        state.findings.extend(findings)
        state.channel_kinds[name] = channel.kind if channel is not None else None
        if channel is not None:
            state.channels[name] = channel


def _read_channel(
    path: str, node: Node, name: str, line: int
) -> tuple[Channel | None, list[Finding]]:
    channel, findings = read_model(path, Node(node.value, line, node.key_lines), Channel)
    return channel, [
        found._replace(message=f"{shortened(name)}: {found.message}") for found in findings
    ]


def _read_offers(state: _Folder) -> None:
    path = state.path / OFFERS_FILE
    if path.exists() and (tree := _read_file(state, path)) is not None:
        state.offers = OfferFile(str(path), tree)
        state.findings.extend(state.offers.findings)


def _read_templates(state: _Folder) -> Templates | None:
    if state.shop is None or state.channel_kinds is None:
        return None
    templates, findings = read_templates(
        state.path, state.shop, state.channel_kinds, lambda path: _read_file(state, path)
    )
    state.findings.extend(findings)
    return templates


def _read_journeys(state: _Folder) -> None:
    for path in _journey_files(state):
        if (tree := _read_file(state, path)) is None:
            continue
        draft, findings = read_journey(str(path), tree)
        state.findings.extend(findings)
        if draft is not None:
            state.drafts.append(draft)


def _journey_files(state: _Folder) -> Iterator[Path]:
    """Yield the files of journeys in a fixed order; report files that nobody would read."""
    found = 0
    for folder in (state.path, state.path / VERSIONS_FOLDER):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix == ".yml":
                state.findings.append(Finding(str(path), 1, "is not read; name it .yaml"))
            if path.suffix != ".yaml" or (folder == state.path and path.stem in RESERVED):
                continue
            found += 1
            yield path
    if not found:
        state.findings.append(Finding(str(state.path), 1, "holds no journey"))


def _name_findings(draft: Draft) -> Iterator[Finding]:
    """Yield names that differ from the file's: a name in a log has to lead to its file."""
    path, journey = Path(draft.path), draft.journey
    if path.parent.name != VERSIONS_FOLDER:
        if "name" not in draft.damaged and journey.name != path.stem:
            message = (
                f"name: {quoted(journey.name)} stands in the file {path.name}; call both the same"
            )
            yield draft.finding(message, "name")
        return
    match = _VERSION_FILE.fullmatch(path.name)
    if match is None:
        message = f"the file is called {path.name}; an older version is <name>.v<version>.yaml"
        yield draft.finding(message)
        return
    if "name" not in draft.damaged and journey.name != match["name"]:
        message = f"name: {quoted(journey.name)} stands in the file {path.name}; call both the same"
        yield draft.finding(message, "name")
    if "version" not in draft.damaged and journey.version != int(match["version"]):
        message = f"version: {journey.version} stands in the file {path.name}; call both the same"
        yield draft.finding(message, "version")


def _shop_wide_findings(state: _Folder, now_ms: int | None) -> Iterator[Finding]:
    """Yield what is wrong only when all journeys are looked at together."""
    current = [
        draft
        for draft in state.drafts
        if not draft.damaged and Path(draft.path).parent.name != VERSIONS_FOLDER
    ]
    yield from ring_findings(current)
    yield from clash_findings(state.offers, state.shop, current)
    if now_ms is not None:
        yield from ended_findings(state.offers, state.shop, current, now_ms)
    if state.shop is not None:
        path = str(state.path / SHOP_FILE)
        yield from pressure_findings(path, state.shop_line, state.shop, current)


def _version_findings(state: _Folder) -> Iterator[Finding]:
    whole = [draft for draft in state.drafts if not draft.damaged & {"name", "version"}]
    older = [draft for draft in whole if Path(draft.path).parent.name == VERSIONS_FOLDER]
    current = {draft.journey.name: draft for draft in whole if draft not in older}
    files = {path.stem for path in state.path.glob("*.yaml")} - RESERVED
    seen: dict[tuple[str, int], Draft] = {}
    for draft in [*current.values(), *older]:
        key = (draft.journey.name, draft.journey.version)
        if (first := seen.setdefault(key, draft)) is not draft:
            message = f"version: {key[1]} of {quoted(key[0])} stands in {Path(first.path).name} too"
            yield draft.finding(message, "version")
    for draft in older:
        journey = draft.journey
        if (newest := current.get(journey.name)) is None:
            if journey.name not in files:
                hint = instead(journey.name, files) if files else ""
                message = (
                    f"name: there is no {journey.name}.yaml beside {VERSIONS_FOLDER}/; to end a "
                    f'journey but for who is in it, keep that file with `when: "false"`{hint}'
                )
                yield draft.finding(message, "name")
        elif journey.version > newest.journey.version:
            message = (
                f"version: {journey.version} is newer than {newest.journey.version} in "
                f"{Path(newest.path).name}; the newest stands there"
            )
            yield draft.finding(message, "version")
