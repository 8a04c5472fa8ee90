"""`orchestrator simulate SCENARIO…`: plays stories against the journeys in virtual time.

No broker and no clock: reading, playing and the sentences stand in `simulator`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click
import orjson

from orchestrator.catalog import Finding, load
from orchestrator.cli.authoring.history import recorded
from orchestrator.errors import UsageError
from orchestrator.settings import Settings
from orchestrator.simulator.comparison import Comparison, Lives, comparison_page
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
  orchestrator simulate --journeys drafts --compare journeys --history topic:touchpoints

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
    metavar="FILE|topic:NAME",
    help="Play recorded events instead: a file of one CloudEvent a line, oldest first (- reads "
    "them here), or everything that a topic holds now.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="With --history: play it through the journeys of DIR too, and show who gets what else.",
)
@click.option(
    "--customers",
    default=10,
    show_default=True,
    metavar="N",
    help="How many of those who get something else --compare shows.",
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
    history: str | None,
    compare: Path | None,
    journeys: Path | None,
    config: Path | None,
    *,
    customers: int,
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
    if compare is not None and history is None:
        raise UsageError("--compare: goes with --history")
    if history is not None:
        return _try(settings, history, compare, customers, as_machine=as_machine)
    run = _Run(settings.mode, settings.journeys)
    for path in files(scenarios):
        run.take(path)
    if as_machine:
        click.echo(orjson.dumps(_document(run), option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n".join(_page(run, told=told)))
    failed = any(result.failures for result in run.results)
    return 1 if failed or run.findings else 0


def _try(
    settings: Settings, history: str, compare: Path | None, customers: int, *, as_machine: bool
) -> int:
    """Play recorded events; what cannot be played is told, and makes the exit code 1."""
    versions = []
    for folder in (settings.journeys, compare):
        if folder is not None:
            journeys = load(folder, settings.mode)
            lives = Lives(journeys)
            # Only a comparison asks what each customer got.
            versions.append((Trial(journeys, None if compare is None else lives.note), lives))
    trials = [trial for trial, _ in versions]
    for value, headers in recorded(settings, history):
        for trial in trials:
            trial.take(value, headers)
    for trial in trials:
        trial.finish()
    if len(versions) == 1:
        counted = trials[0].document()
        lines = page(counted)
    else:
        counted = Comparison(*versions).document(customers)
        lines = comparison_page(counted, here=str(settings.journeys), there=str(compare))
    if as_machine:
        click.echo(orjson.dumps(counted, option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n".join(lines))
    return 1 if trials[0].rejected else 0


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
