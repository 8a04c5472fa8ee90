"""`orchestrator check` as a person and as a machine see it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from orchestrator.cli import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_findings_are_printed_one_per_line_and_the_exit_code_is_1(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (folder / "cart.yaml").read_text()
    (folder / "cart.yaml").write_text(text.replace("next: list", "next: lst"))
    (folder / "shop.yaml").write_text("zonne: UTC\n")

    assert run(["check", str(folder)]) == 1
    cart, shop = capsys.readouterr().out.splitlines()
    assert cart == (
        f'{folder}/cart.yaml:28: step "reminder_push": next: "lst" does not exist; '
        'did you mean "list"?'
    )
    assert shop == f'{folder}/shop.yaml:1: zonne: no such word here; did you mean "zone"?'


def test_nothing_found_is_told_with_what_the_journeys_may_ask_of_a_customer(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(folder)]) == 0
    first, worst, *_ = capsys.readouterr().out.splitlines()

    assert re.fullmatch(r"1 journey, 4 channels: nothing found \(content [0-9a-f]{12}\)", first)
    assert worst == "at the worst, one customer gets 1 promotional messages in a week:"


def test_machines_get_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["findings"] == []
    assert document["journeys"] == [{"name": "cart", "version": 2}]
    assert re.fullmatch(r"[0-9a-f]{64}", document["content_hash"])

    (folder / "cart.yaml").write_text("name: [")
    assert run(["check", str(folder), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["file"] == f"{folder}/cart.yaml"
    assert finding["line"] == 1
    assert finding["message"].startswith("not YAML: ")


def test_the_folder_comes_from_the_environment_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_JOURNEYS", str(folder))

    assert run(["check"]) == 0
    assert "1 journey," in capsys.readouterr().out


def test_a_missing_folder_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
