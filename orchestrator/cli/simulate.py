"""`orchestrator simulate SCENARIO…`: plays stories against the journeys in virtual time.

No broker and no clock: reading, playing and the sentences stand in `simulator`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

import click
import orjson

from orchestrator.catalog import Finding, load
from orchestrator.errors import UsageError
from orchestrator.settings import Settings
from orchestrator.simulator.history import Trial, page
from orchestrator.simulator.report import document, failure_lines, timeline
from orchestrator.simulator.scenario import SUFFIX, name_findings, read_scenario
from orchestrator.simulator.story import Result, play

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.core.journeys import Journeys

_EPILOG = """\b
Examples:
  orchestrator simulate tests/scenarios
  orchestrator simulate --timeline tests/scenarios/welcome/new_subscriber.scenario.yaml
  orchestrator simulate --journeys drafts --history events.jsonl

\b
Exit codes: 0 everything happened as expected, 1 something did not or a file has findings,
2 wrong usage or settings.
"""
_MARGIN: Final = "  "


@dataclass(slots=True)
class _Run:
    """What has been played, and what could not be read."""

    mode: Literal["test", "live"]
    default: Path
    results: list[Result] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    loaded: dict[Path, Journeys] = field(default_factory=dict)

    def take(self, path: Path) -> None:
        """Read and play one file."""
        scenario, findings = read_scenario(path)
        self.findings += findings
        if scenario is None:
            return
        folder = self.default
        if (named := scenario.script.journeys) is not None:
            folder = (path.parent / named).resolve()
            if not folder.is_dir():
                message = f"journeys: {named} is no folder beside this file"
                self.findings.append(Finding(str(path), scenario.line("journeys"), message))
                return
        if folder not in self.loaded:
            self.loaded[folder] = load(folder, self.mode)
        journeys = self.loaded[folder]
        if unknown := name_findings(scenario, journeys):
            self.findings += unknown
        else:
            self.results.append(play(scenario, journeys))


@click.command(epilog=_EPILOG, short_help="Play scenarios in virtual time, without Kafka.")
@click.argument("scenarios", metavar="[SCENARIO]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--history",
    type=click.File("rb"),
    metavar="FILE",
    help="Play recorded events instead, one CloudEvent a line, oldest first; - reads them here.",
)
@click.option(
    "--journeys",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the journeys. [ORCHESTRATOR_JOURNEYS; default journeys]",
)
@click.option("--timeline", "told", is_flag=True, help="Tell every story, not only failed ones.")
@click.option("--json", "as_machine", is_flag=True, help="One JSON document for machines.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file with settings. [ORCHESTRATOR_CONFIG]",
)
def simulate(
    scenarios: tuple[Path, ...],
    history: BinaryIO | None,
    journeys: Path | None,
    config: Path | None,
    *,
    told: bool,
    as_machine: bool,
) -> int:
    """Play each SCENARIO, a file or a folder of *.scenario.yaml, and compare what happens.

    The clock jumps from one due wait to the next; nothing is started and nothing is written.
    With --history, count what the journeys would have done with recorded events.
    """
    settings = Settings.load(config=config, journeys=journeys)
    if (history is None) is (not scenarios):
        raise UsageError("SCENARIO: allowed: files or folders of scenarios, or --history FILE")
    if history is not None:
        return _try(settings, history, as_machine=as_machine)
    run = _Run(settings.mode, settings.journeys)
    for path in files(scenarios):
        run.take(path)
    if as_machine:
        click.echo(orjson.dumps(_document(run), option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n".join(_page(run, told=told)))
    failed = any(result.failures for result in run.results)
    return 1 if failed or run.findings else 0


def _try(settings: Settings, history: BinaryIO, *, as_machine: bool) -> int:
    """Play recorded events; lines that cannot be played are told, and make the exit code 1."""
    trial = Trial(load(settings.journeys, settings.mode))
    trial.play(history)
    counted = trial.document()
    if as_machine:
        click.echo(orjson.dumps(counted, option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n".join(page(counted)))
    return 1 if trial.rejected else 0


def files(given: Sequence[Path]) -> list[Path]:
    """Return the files of scenarios that are named, each once. Raises UsageError for none."""
    found: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            inside = sorted(path.rglob(f"*{SUFFIX}"))
            if not inside:
                raise UsageError(f"SCENARIO: {path} holds no file *{SUFFIX}")
            found |= dict.fromkeys(inside)
        elif path.exists():
            found[path] = None
        else:
            raise UsageError(f"SCENARIO: {path} does not exist; allowed: a file or a folder")
    return list(found)


def _page(run: _Run, *, told: bool) -> Iterator[str]:
    yield from (str(finding) for finding in run.findings)
    for result in run.results:
        path, script = result.scenario.path, result.scenario.script
        yield f"{'FAILED' if result.failures else 'passed'}  {path}  {script.scenario}"
        for failure in result.failures:
            yield from (_MARGIN + line for line in failure_lines(result, failure))
        if told or result.failures:
            yield from (_MARGIN + line for line in timeline(result))
    failed = sum(1 for result in run.results if result.failures)
    parts = [f"{len(run.results) - failed} passed", f"{failed} failed"]
    if run.findings:
        unread = len({finding.path for finding in run.findings})
        parts.append(f"{unread} could not be played")
    yield ", ".join(parts)


def _document(run: _Run) -> dict[str, Any]:
    return {
        "findings": [
            {"file": one.path, "line": one.line, "message": one.message} for one in run.findings
        ],
        "scenarios": [document(result) for result in run.results],
    }
