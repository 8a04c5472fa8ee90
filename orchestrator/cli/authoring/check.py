"""`orchestrator check`: reads the journeys as a worker would and prints what is wrong.

Nothing is started and nothing is written; the findings are made in `catalog`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from orchestrator.catalog import Reading, read
from orchestrator.catalog.findings import instead
from orchestrator.catalog.rules.pressure import let_through, pressures
from orchestrator.errors import JourneyError, UsageError
from orchestrator.protocol.inputs.trial import TrialRecord, told, trial_findings
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.journeys import Journeys

_EPILOG = """\b
Examples:
  orchestrator check
  orchestrator check journeys --json
  orchestrator check --input shop_orders --record order.json

\b
Exit codes: 0 nothing found, 1 findings, 2 there is no such folder.
"""


@click.command(epilog=_EPILOG)
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for machines.")
@click.option(
    "--input",
    "input_name",
    metavar="NAME",
    help="With --record: the input of inputs.yaml whose rules are tried.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="With --input: the value of one record, as the topic holds it; print what becomes of it.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with settings. [ORCHESTRATOR_CONFIG]",
)
def check(
    folder: Path | None,
    config: Path | None,
    input_name: str | None,
    record: Path | None,
    *,
    as_json: bool,
) -> int:
    """Report every finding in the journeys, at once, as `file:line: message`.

    DIR is the folder of the journeys; without it the setting `journeys`
    (ORCHESTRATOR_JOURNEYS), by default the folder `journeys`. Nothing is started.
    """
    settings = Settings.load(config=config, journeys=folder)
    if (input_name is None) is not (record is None):
        raise UsageError("--input, --record: allowed: both, or none of them")
    now_ms = time.time_ns() // 1_000_000
    reading = tried(read(settings.journeys, settings.mode, now_ms=now_ms))
    if input_name is not None and record is not None and reading.journeys is not None:
        return _try(reading.journeys, input_name, record)
    if as_json:
        click.echo(json.dumps(_document(reading), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(str(finding) for finding in reading.findings) or _summary(reading))
        if reading.journeys is not None:
            for line in _worst(reading.journeys):
                click.echo(line)
    return 1 if reading.findings else 0


def _try(journeys: Journeys, name: str, path: Path) -> int:
    """Print what becomes of one record; 1 when it would be a dead letter."""
    declared = journeys.inputs.get(name)
    if declared is None:
        raise UsageError(f"--input: there is no input {name!r}{instead(name, journeys.inputs)}")
    if declared.wants_registry:
        raise UsageError(
            f"--record: {name} is read with a schema registry, which check does not ask; "
            "allowed: inputs in JSON, or an example in inputs.yaml"
        )
    now_ms = time.time_ns() // 1_000_000
    fate = told(name, declared, TrialRecord(0, now_ms, None, path.read_bytes()))
    for line in fate.lines:
        click.echo(line)
    return 1 if fate.refused else 0


def tried(reading: Reading) -> Reading:
    """Return the reading with what shows when the rules of its inputs are tried."""
    if reading.findings or reading.inputs is None:
        return reading
    found = tuple(sorted(set(trial_findings(reading.inputs))))
    return Reading(None, found, reading.inputs) if found else reading


def refuse_untrue(folder: Path, mode: Literal["test", "live"]) -> None:
    """Raise JourneyError when the inputs of a folder do not do what their examples say."""
    findings = tried(read(folder, mode)).findings
    if findings:
        raise JourneyError(tuple(str(finding) for finding in findings))


def _summary(reading: Reading) -> str:
    journeys = reading.journeys
    assert journeys is not None, "a reading without findings holds journeys"
    parts = [_counted(len(journeys.current), "journey")]
    if older := len(journeys.versions) - len(journeys.current):
        parts.append(_counted(older, "older version"))
    parts.append(_counted(len(journeys.channels), "channel"))
    if journeys.offers:
        parts.append(_counted(len(journeys.offers), "offer"))
    if journeys.inputs:
        parts.append(_counted(len(journeys.inputs), "input"))
    return f"{', '.join(parts)}: nothing found (content {journeys.content_hash[:12]})"


def _worst(journeys: Journeys) -> Iterator[str]:
    found = pressures(journeys.current)
    if not found:
        return
    total = sum(one.messages for one in found)
    capped = let_through(journeys.shop)
    caps = f", of which the caps let {capped} through" if capped is not None else ""
    yield f"at the worst, one customer gets {total} promotional messages in a week{caps}:"
    for one in found:
        yield f"  {one.messages:>3}  {one.journey}{' (for each key)' if one.keyed else ''}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _document(reading: Reading) -> dict[str, object]:
    journeys = reading.journeys
    return {
        "findings": [
            {"file": finding.path, "line": finding.line, "message": finding.message}
            for finding in reading.findings
        ],
        "journeys": [
            {"name": name, "version": version}
            for name, version in (journeys.versions if journeys is not None else ())
        ],
        "messages_per_week": [
            {"journey": one.journey, "messages": one.messages, "for_each_key": one.keyed}
            for one in pressures(journeys.current if journeys is not None else ())
        ],
        "content_hash": journeys.content_hash if journeys is not None else None,
    }
