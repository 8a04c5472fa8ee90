"""The pytest plugin: a shop's `*.scenario.yaml` files are tests of its journeys.

Installed with the package (entry point `pytest11`). Only files of that name are collected, so that
no other YAML is touched; one file is one test. The journeys come from the folder that the scenario
names, else from the ini option `orchestrator_journeys`, by default `journeys` beside the ini file.
What is heavy is imported when the first scenario is met: runs without any pay nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.core.journeys import Journeys
    from orchestrator.simulator.scenario import Scenario
    from orchestrator.simulator.story import Result

_SUFFIX: Final = ".scenario.yaml"  # As simulator/scenario says; a test holds the two together.
_JOURNEYS: Final = pytest.StashKey[dict[Path, "Journeys"]]()


class UnexpectedError(Exception):
    """A scenario did not go as expected; the lines say how."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a shop say where its journeys are."""
    parser.addini(
        "orchestrator_journeys",
        "Folder of the journeys that *.scenario.yaml files are played against.",
        type="string",
        default="journeys",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take the files that are called scenarios, and no others."""
    if file_path.name.endswith(_SUFFIX):
        collector: pytest.Collector = ScenarioFile.from_parent(parent, path=file_path)
        return collector
    return None


class ScenarioFile(pytest.File):
    """One file, which holds one scenario."""

    def collect(self) -> Iterator[pytest.Item]:
        """Return its test, called like the file."""
        yield ScenarioItem.from_parent(self, name=self.path.name.removesuffix(_SUFFIX))


class ScenarioItem(pytest.Item):
    """One scenario, played in virtual time."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._scenario: Scenario | None = None

    def runtest(self) -> None:
        """Read the scenario and play it; tell what is not as expected."""
        from orchestrator.simulator.scenario import name_findings, read_scenario  # noqa: PLC0415
        from orchestrator.simulator.story import play  # noqa: PLC0415

        path = self.path
        if path.is_relative_to(Path.cwd()):
            path = path.relative_to(Path.cwd())
        scenario, findings = read_scenario(path)
        if scenario is None:
            raise UnexpectedError("\n".join(str(finding) for finding in findings))
        self._scenario = scenario
        journeys = self._journeys(scenario.script.journeys)
        if unknown := name_findings(scenario, journeys):
            raise UnexpectedError("\n".join(str(finding) for finding in unknown))
        result = play(scenario, journeys)
        if result.failures:
            raise UnexpectedError("\n".join(_told(result)))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:  # type: ignore[override]  # Its union is pytest's own.
        """Show what was expected and what happened, and no traceback of ours."""
        from orchestrator.errors import OrchestratorError  # noqa: PLC0415

        if isinstance(excinfo.value, UnexpectedError | OrchestratorError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where the scenario stands."""
        return self.path, 0, f"scenario: {self.name}"

    def _journeys(self, named: str | None) -> Journeys:
        """Return the journeys of a folder, which is read once in a run."""
        from orchestrator.catalog import load  # noqa: PLC0415

        if named is None:
            ini = self.config.inipath
            beside = ini.parent if ini is not None else self.config.rootpath
            folder = beside / str(self.config.getini("orchestrator_journeys"))
        else:
            folder = self.path.parent / named
        known = self.config.stash.setdefault(_JOURNEYS, {})
        folder = folder.resolve()
        if folder not in known:
            known[folder] = load(folder, "test")
        return known[folder]


def _told(result: Result) -> Iterator[str]:
    from orchestrator.simulator.report import failure_lines, timeline  # noqa: PLC0415

    for failure in result.failures:
        yield from failure_lines(result, failure)
    yield ""
    yield from timeline(result)
