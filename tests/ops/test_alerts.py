"""Alert rules and dashboard ask for metrics that exist; alerts fire when they should."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from orchestrator.api.telemetry import Telemetry
    from orchestrator.metrics import Metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
GRAFANA = ROOT / "deploy" / "grafana"
NAME = re.compile(r"\b(?:orchestrator|process)_\w+")
RULES = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
ALERTS = {
    rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule
}
RECORDED = {
    rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule
}
STORIES = ("alerts_test.yml", "burn_test.yml")


def asked_by_rules() -> list[str]:
    return [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]


def asked_by_dashboard() -> list[str]:
    board = json.loads((GRAFANA / "orchestrator.json").read_text())
    return [
        target["expr"] for panel in board["panels"] for target in panel.get("targets", ()) or ()
    ]


def exposed(*of: Metrics | Telemetry) -> set[str]:
    return {
        sample.name
        for metrics in of
        for family in metrics.registry.collect()
        for sample in family.samples
    }


@pytest.mark.parametrize("queries", [asked_by_rules, asked_by_dashboard])
def test_every_metric_that_is_asked_for_exists(
    worked: Metrics, answered: Telemetry, queries: Any
) -> None:
    """A renamed metric would leave an empty panel, or an alert that never fires."""
    asked = {name for query in queries() for name in NAME.findall(query)}

    assert asked <= exposed(worked, answered)
    assert len(asked) > 10


def test_every_bucket_that_is_asked_for_exists(worked: Metrics, answered: Telemetry) -> None:
    """`le` is compared as text: a bound that is no bucket gives no answer at all."""
    bounds = {
        (sample.name, sample.labels["le"])
        for metrics in (worked, answered)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.endswith("_bucket")
    }
    asked = {
        found
        for query in asked_by_rules()
        for found in re.findall(r'(orchestrator_\w+_bucket)\{le="([^"]+)"', query)
    }

    assert asked <= bounds
    assert asked


def test_every_recorded_series_that_is_asked_for_is_recorded() -> None:
    asked = {
        name
        for query in [*asked_by_rules(), *asked_by_dashboard()]
        for name in re.findall(r"orchestrator:\w+:\w+", query)
    }

    assert asked == RECORDED


def test_every_metric_is_on_the_dashboard(worked: Metrics, answered: Telemetry) -> None:
    """What is worth exposing is worth a panel."""
    drawn = " ".join(asked_by_dashboard())
    families = {
        family.name
        for metrics in (worked, answered)
        for family in metrics.registry.collect()
        if "process_" not in family.name
    }

    assert {name for name in families if name not in drawn} == set()


def test_the_dashboard_is_what_its_script_writes() -> None:
    """Change deploy/grafana/dashboard.py and run it; the JSON is not edited by hand."""
    spec = importlib.util.spec_from_file_location("dashboard", GRAFANA / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    assert (GRAFANA / "orchestrator.json").read_text() == script.rendered()


def test_every_panel_asks_a_question_that_prometheus_understands(
    promtool: str, tmp_path: Path
) -> None:
    """Grafana's variables filled in, each query is a valid recording rule."""
    filled = [
        query.replace("$__rate_interval", "1m").replace("$instance", ".*")
        for query in asked_by_dashboard()
    ]
    rules = [{"record": f"panel:query:{number}", "expr": q} for number, q in enumerate(filled)]
    (tmp_path / "panels.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]})
    )
    ran = subprocess.run(
        [promtool, "check", "rules", "panels.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "$" not in "".join(filled)


def test_no_panel_lies_on_another() -> None:
    cells: set[tuple[int, int]] = set()
    board = json.loads((GRAFANA / "orchestrator.json").read_text())
    for panel in board["panels"]:
        place = panel["gridPos"]
        covered = {
            (place["x"] + column, place["y"] + row)
            for column in range(place["w"])
            for row in range(place["h"])
        }
        assert not covered & cells, panel["title"]
        cells |= covered


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_urgent_it_is_and_what_to_do(alert: str) -> None:
    """Severity, one line, and a section of the runbook under its own name."""
    rule = ALERTS[alert]
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    headings = re.findall(r"^## (\w+)$", (ROOT / page).read_text(), re.MULTILINE)

    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert anchor == alert.lower()
    assert alert in headings


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbooks.md").read_text(), re.MULTILINE)

    assert sorted(headings) == sorted(ALERTS)


def test_the_availability_page_names_alerts_and_metrics_that_exist(worked: Metrics) -> None:
    text = (ROOT / "docs" / "availability.md").read_text()
    families = {name.removesuffix("_count") for name in exposed(worked)}

    assert set(re.findall(r"`(Orchestrator\w+)`", text)) <= set(ALERTS)
    assert set(re.findall(r"`(orchestrator_\w+)", text)) <= families


def test_every_alert_is_seen_to_fire_and_to_keep_quiet() -> None:
    """Each has a story in which nothing fires first, and then it does."""
    fired = set()
    for story in STORIES:
        for test in yaml.safe_load((PROMETHEUS / story).read_text())["tests"]:
            expectations = test["promql_expr_test"]
            labels = [sample["labels"] for asked in expectations for sample in asked["exp_samples"]]
            if any(not asked["exp_samples"] for asked in expectations):
                fired |= set(re.findall(r'alertname="(\w+)"', " ".join(labels)))

    assert fired == set(ALERTS)


@pytest.mark.parametrize("story", STORIES)
def test_the_rules_pass_their_stories(promtool: str, story: str) -> None:
    ran = subprocess.run(
        [promtool, "test", "rules", story],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_stories_notice_rules_that_are_wrong(promtool: str, tmp_path: Path) -> None:
    """Rules made deaf, or too loud, fail by name: the stories are worth something."""
    spoils = {
        "OrchestratorWorkerDown": ("== 0", "== 2"),
        "OrchestratorNoProgress": ("> 0", ">= 0"),
        "OrchestratorEventsWaiting": ("> 30", "> 3000"),
        "OrchestratorWaitsLate": ("0.01", "0.9"),
        "OrchestratorInputBehind": ("> 60", "> 6000"),
        "OrchestratorApiBehind": ("> 30", "> 3000"),
        "OrchestratorApiErrors": ('route!~"/health/.*"', 'route=~".*"'),
        "OrchestratorApiUnanswered": ("> 0.05", "> 1"),
    }
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if rule.get("alert") in spoils:
            right, wrong = spoils[rule["alert"]]
            assert right in rule["expr"]
            rule["expr"] = rule["expr"].replace(right, wrong)
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "alerts_test.yml").write_text((PROMETHEUS / "alerts_test.yml").read_text())
    ran = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )

    assert ran.returncode == 1
    assert set(re.findall(r'alertname="(\w+)"', ran.stdout + ran.stderr)) >= set(spoils)


@pytest.mark.parametrize("config", ["prometheus.yml", "prometheus.compose.yml"])
def test_prometheus_accepts_its_configuration(promtool: str, config: str) -> None:
    ran = subprocess.run(
        [promtool, "check", "config", config],
        cwd=PROMETHEUS,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
