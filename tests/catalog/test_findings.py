"""Every kind of mistake in a journey gets one finding: its line, what is wrong, the right word.

The cases stand in mistakes.yaml; each breaks the valid journey of conftest.py in one place. All
findings are compared, so a case also shows that one mistake does not cause a second finding.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from orchestrator.catalog import load, read
from orchestrator.errors import JourneyError, UsageError

MISTAKES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text())


def _findings(folder: Path) -> str:
    found = read(folder).findings
    return "\n".join(str(one).removeprefix(f"{folder}/") for one in found)


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case["mistake"])
def test_a_mistake_gets_its_finding(folder: Path, case: dict[str, str]) -> None:
    """The finding names the line, what is wrong and what is allowed; there is no other."""
    path = folder / "cart.yaml"
    text = path.read_text()
    assert text.count(case["written"]) == 1, "the case must break one place"
    path.write_text(text.replace(case["written"], case["instead"]))

    expected = [f"cart.yaml:{line}" for line in case["found"].splitlines()]
    assert _findings(folder).split("\n") == expected


def test_a_promotional_step_of_another_journey_needs_an_exit_too(folder: Path) -> None:
    """What counts is the class of the message, not what the journey calls itself."""
    path = folder / "cart.yaml"
    text = path.read_text().replace("kind: promotional", "kind: service")
    text = text.replace("on: purchase", "on: order.returned")
    path.write_text(text.replace("template: cart}", "template: cart, class: promotional}"))

    assert _findings(folder) == (
        'cart.yaml:27: step "reminder_push": send.class: is promotional, '
        "so the journey needs an exit on purchase"
    )


def test_all_mistakes_of_all_files_are_found_at_once(folder: Path) -> None:
    """A mistake in a word hides neither those in other places nor those between the places."""
    path = folder / "cart.yaml"
    text = path.read_text().replace("wait: 1h", "wait: soon").replace("next: list", "next: lst")
    text = text.replace("on: order.cancelled", "on: order.canceled")
    text = text.replace("owner: crm@shop.example\n", "")
    path.write_text(text.replace("{channel: push,", "{channel: psuh,"))
    (folder / "shop.yaml").write_text("zone: Europe/Madird\n")
    (folder / "channels.yaml").write_text("email: {kind: massage}\npush: {kind: message}\n")

    lines = [line.split(": ", 1) for line in _findings(folder).split("\n")]
    assert [where for where, _ in lines] == [
        "cart.yaml:1",
        "cart.yaml:14",
        "cart.yaml:19",
        "cart.yaml:26",
        "cart.yaml:27",
        "cart.yaml:36",
        "cart.yaml:38",
        "channels.yaml:1",
        "shop.yaml:1",
    ]


def test_the_loader_raises_all_findings_in_one_error(folder: Path) -> None:
    """A worker refuses to start with the same lines that `check` prints."""
    (folder / "cart.yaml").write_text("name: cart\n")

    with pytest.raises(JourneyError) as raised:
        load(folder, "test")

    assert raised.value.findings == tuple(str(one) for one in read(folder).findings)
    assert len(raised.value.findings) == 6


def test_a_folder_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    """It is a setting that is wrong, not a journey."""
    with pytest.raises(UsageError, match=r"journeys: .*/nowhere is no folder"):
        load(tmp_path / "nowhere", "test")
