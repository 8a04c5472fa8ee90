"""`orchestrator simulate` as a person and as a machine see it, and the pytest plugin of a shop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import run
from orchestrator.simulator import plugin, scenario

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "journeys"
STORY = """\
scenario: A subscriber
story:
  - at: 0s
    event: newsletter.subscribed
    expect:
      - send: email
        template: welcome
consents: [email]
"""
WRONG = STORY.replace("template: welcome", "template: seen_recently")


@pytest.fixture
def folder(tmp_path):
    """A folder with one good scenario, and YAML that is none."""
    (tmp_path / "good.scenario.yaml").write_text(STORY)
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    return tmp_path


def simulate(*arguments):
    return run(["simulate", "--journeys", str(SHOP), *map(str, arguments)])


def test_a_folder_whose_scenarios_hold_is_exit_code_0(folder, capsys):
    assert simulate(folder) == 0
    assert capsys.readouterr().out == (
        f"passed  {folder}/good.scenario.yaml  A subscriber\n1 passed, 0 failed\n"
    )


def test_a_wrong_expectation_is_exit_code_1_with_its_line_and_the_timeline(folder, capsys):
    wrong = folder / "wrong.scenario.yaml"
    wrong.write_text(WRONG)

    assert simulate(folder) == 1
    out = capsys.readouterr().out
    assert f"{wrong}:6: it did not happen" in out
    assert 'template: expected "seen_recently", was "welcome"' in out
    assert "           0s  newsletter.subscribed event-1\n" in out
    assert "… wait let_them_look, enrollment welcome#1, for 3d" in out
    assert out.endswith("1 passed, 1 failed\n")


def test_a_broken_file_is_exit_code_1_and_the_others_are_played(folder, capsys):
    (folder / "broken.scenario.yaml").write_text("scenario: [")

    assert simulate(folder) == 1
    out = capsys.readouterr().out
    assert f"{folder}/broken.scenario.yaml:1: not YAML: " in out
    assert out.endswith("1 passed, 0 failed, 1 could not be played\n")


@pytest.mark.parametrize("wrong", ["nowhere", "nothing_inside"])
def test_nothing_to_play_is_wrong_usage(folder, wrong, capsys):
    (folder / "nothing_inside").mkdir()

    assert simulate(folder / wrong) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_machines_get_one_document(folder, capsys):
    (folder / "wrong.scenario.yaml").write_text(WRONG)

    assert simulate(folder, "--json") == 1
    good, wrong = json.loads(capsys.readouterr().out)["scenarios"]
    assert (good["passed"], wrong["passed"]) == (True, False)
    (failure,) = wrong["failures"]
    assert failure["line"] == 6
    assert failure["expected"] == {
        "at": "2026-01-05T08:00:00Z",
        "customer": "ana",
        "send": "email",
        "template": "seen_recently",
    }
    assert failure["differences"] == [
        {"name": "template", "expected": "seen_recently", "was": "welcome"}
    ]
    sent = [fact for turn in good["timeline"] for fact in turn["facts"] if "send" in fact]
    assert sent[0]["variables"] == {"first_name": "outdoor friend"}


def test_a_scenario_may_name_the_folder_of_its_journeys(folder, capsys):
    (folder / "shop").symlink_to(SHOP)
    (folder / "good.scenario.yaml").write_text("journeys: shop\n" + STORY)

    assert run(["simulate", str(folder), "--journeys", str(ROOT / "docs")]) == 0
    (folder / "good.scenario.yaml").write_text("journeys: shpo\n" + STORY)
    assert simulate(folder) == 1
    assert "yaml:1: journeys: shpo is no folder beside this file" in capsys.readouterr().out


def test_a_shop_tests_its_journeys_with_pytest_and_nothing_but_the_package(folder):
    """In a repository of its own: the plugin comes with the installation."""
    (folder / "journeys").symlink_to(SHOP)
    (folder / "wrong.scenario.yaml").write_text(WRONG)
    (folder / "broken.scenario.yaml").write_text("scenario: x\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    assert "2 failed, 1 passed" in done.stdout
    assert "\nwrong.scenario.yaml:6: it did not happen" in done.stdout
    assert "\nbroken.scenario.yaml:1: story: is missing" in done.stdout
    assert "Traceback" not in done.stdout


def test_the_plugin_and_the_command_read_the_same_files():
    assert plugin._SUFFIX == scenario.SUFFIX


def test_every_example_journey_has_scenarios():
    told = {path.parent.name for path in (ROOT / "tests/scenarios").rglob("*.scenario.yaml")}
    journeys = {path.stem for path in SHOP.glob("*.yaml")} - {"shop", "channels", "offers"}

    assert journeys <= told, f"write tests/scenarios/<journey>/ for {journeys - told}"
