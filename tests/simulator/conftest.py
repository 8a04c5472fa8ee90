"""Scenarios written into a test, played against the shop in the box."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.catalog import load
from orchestrator.simulator.report import failure_lines
from orchestrator.simulator.scenario import name_findings, read_scenario
from orchestrator.simulator.story import play

SHOP = Path(__file__).parents[2] / "journeys"


@pytest.fixture(scope="session")
def open_shop(tmp_path_factory):
    """The shop in the box where nobody has to agree to anything: its stories are about the rest."""
    folder = tmp_path_factory.mktemp("shop") / "journeys"
    shutil.copytree(SHOP, folder)
    channels = folder / "channels.yaml"
    text = channels.read_text().replace("  needs_consent: false\n", "")
    channels.write_text(text.replace("  kind: ", "  needs_consent: false\n  kind: "))
    return folder


@pytest.fixture(scope="session")
def journeys(open_shop):
    return load(open_shop, "test")


@pytest.fixture
def read(tmp_path, journeys):
    """Write a scenario and read it again: (scenario or None, findings without the path)."""

    def read_text(text):
        path = tmp_path / "a.scenario.yaml"
        path.write_text(text, encoding="utf-8")
        scenario, findings = read_scenario(path)
        if scenario is not None:
            findings = name_findings(scenario, journeys)
        return scenario, [f"{finding.line}: {finding.message}" for finding in findings]

    return read_text


@pytest.fixture
def failures(read, journeys):
    """Play a scenario and return what is told about each failure, without the path."""

    def play_text(text):
        scenario, findings = read(text)
        assert findings == []
        result = play(scenario, journeys)
        told = ["\n".join(failure_lines(result, one)) for one in result.failures]
        return [one.removeprefix(f"{scenario.path}:") for one in told]

    return play_text
