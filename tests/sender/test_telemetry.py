"""The metrics of a sender: bounded, documented, and without anybody's name."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

from prometheus_client import generate_latest

from orchestrator.metrics import serve
from orchestrator.sender.telemetry import LANES, OUTCOMES, Telemetry

PAGE = Path(__file__).parents[2] / "docs" / "senders.md"
ROW = re.compile(r"^\| `(orchestrator_sender_\w+)` \| (\w+) \|[^|]+\|([^|]*)\|", re.MULTILINE)


def worked() -> Telemetry:
    """Return metrics after one of everything."""
    telemetry = Telemetry("email")
    for lane in LANES:
        telemetry.count(lane, "dropped", "fenced")
        telemetry.called(lane, 0.1)
        telemetry.checked(lane, 0.01)
        telemetry.dead_letter(lane)
        for name in ("in_hand", "held", "oldest_age_seconds"):
            telemetry.watch(name, lane, lambda: 1.0)
    telemetry.watch_in_flight(lambda: 1.0)
    return telemetry


def test_the_page_lists_every_metric_with_its_type_and_labels_and_no_other():
    exposed = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for family in worked().registry.collect()
        if not family.name.startswith("process_")
    }
    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(PAGE.read_text(encoding="utf-8"))
    }

    assert documented == exposed


def test_whatever_a_team_gives_as_a_reason_makes_one_series():
    telemetry = Telemetry("email")
    for number in range(100):
        telemetry.count("promotional", "failed", f"ana{number}@shop.example")
    text = generate_latest(telemetry.registry).decode()

    assert 'reason="other"' in text
    assert "shop.example" not in text


def test_the_page_names_every_outcome_that_is_counted():
    page = PAGE.read_text(encoding="utf-8")

    assert all(f"`{outcome}`" in page for outcome in OUTCOMES)


def test_metrics_are_served_on_loopback():
    server = serve(worked().registry, "127.0.0.1", 0, lambda: True)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
            assert b"orchestrator_sender_commands_total" in answer.read()
    finally:
        server.close()
