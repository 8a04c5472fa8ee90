"""A trial over recorded events counts what would have gone out, and tells nobody."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import orjson
import pytest

from orchestrator.cli import run
from orchestrator.simulator.history import Trial, page

SHOP = Path(__file__).parents[2] / "journeys"
TENT = [{"sku": "tent-2", "category": "camping"}]


def line(type_, event_id, customer, time, **data):
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": event_id,
            "source": "/shop",
            "type": type_,
            "subject": customer,
            "time": time,
            "data": data,
        }
    )


def bought(event_id, customer, time):
    data = {"order_id": event_id, "total": "289.00", "currency": "EUR", "items": TENT}
    return line("purchase", event_id, customer, time, **data)


HISTORY = [
    line("cart.abandoned", "1", "ana", "2026-01-05T08:00:00Z", cart_id="c1", items=TENT),
    line("cart.abandoned", "2", "ben", "2026-01-05T08:30:00Z", cart_id="c2", items=TENT),
    bought("3", "ben", "2026-01-05T08:45:00Z"),
    bought("4", "ben", "2026-01-05T08:45:00Z").replace(b'"4"', b'"3"'),
    line("cart.abandoned", "5", "ben", "2026-01-05T09:30:00Z", cart_id="c3", items=TENT),
    b"",
    b'{"specversion":"1.0"}',
    bought("6", "ana", "2026-01-05T12:00:00Z"),
    line("store.visited", "7", "eva", "2026-01-05T11:00:00Z"),
    line("store.visited", "8", "eva", "2026-01-12T12:00:00Z"),
]


@pytest.fixture
def counted(journeys):
    trial = Trial(journeys)
    trial.play(HISTORY)
    return trial.document()


def rows(counted, part):
    return [tuple(row.values()) for row in counted[part]]


def test_what_would_have_gone_out_is_counted_by_journey_step_and_channel(counted):
    assert rows(counted, "entered") == [("cart_abandonment", 2), ("post_purchase", 2)]
    assert rows(counted, "sent") == [
        ("cart_abandonment", "reminder_email", "email", 1),
        ("post_purchase", "care_guide", "email", 2),
        ("post_purchase", "thank_you", "email", 2),
    ]
    assert rows(counted, "other") == [
        ("audience.add", "ads", 1),
        ("audience.remove", "ads", 1),
        ("message.cancel", "email", 1),
    ]
    assert rows(counted, "ended") == [("cart_abandonment", "exit", 2)]
    assert rows(counted, "refused") == [("cart_abandonment", "(entry)", "already_owned", 1)]


def test_messages_per_customer_are_a_distribution_with_those_who_got_none(counted):
    assert counted["customers"] == 3
    assert counted["messages_per_customer"]["customers_by_number"] == {"0": 1, "2": 1, "3": 1}
    assert counted["messages_per_customer"]["percentiles"] == {
        "p50": 2,
        "p90": 3,
        "p99": 3,
        "most": 3,
    }


def test_what_was_not_played_is_told_with_its_first_line(counted):
    assert (counted["events"], counted["duplicates"], counted["out_of_order"]) == (8, 1, 1)
    assert rows(counted, "rejected") == [("schema", 1, "line 7: id: is missing")]
    text = "\n".join(page(counted))
    assert "8 events of 3 customers, 2026-01-05 to 2026-01-12\n" in text
    assert "1 not played: schema (first line 7: id: is missing)" in text
    assert "  2  post_purchase     thank_you       email" in text


def test_waits_beyond_the_last_event_do_not_come_due(counted):
    assert "review_request" not in {row["step"] for row in counted["sent"]}


def test_nobody_is_counted_when_nothing_happened(journeys):
    trial = Trial(journeys)
    trial.play([])

    assert "  none" in page(trial.document())


def test_the_command_line_reads_a_file_or_its_input(open_shop, tmp_path, monkeypatch, capsys):
    path = tmp_path / "events.jsonl"
    good = b"\n".join(one for one in HISTORY if one != b'{"specversion":"1.0"}')
    path.write_bytes(good)

    assert run(["simulate", "--journeys", str(open_shop), "--history", str(path)]) == 0
    assert "Messages per customer\n  p50 2, p90 3, p99 3, most 3" in capsys.readouterr().out

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(HISTORY))))
    assert run(["simulate", "--journeys", str(open_shop), "--history", "-", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["events"] == 8


@pytest.mark.parametrize("arguments", [[], ["tests/scenarios", "--history", "pyproject.toml"]])
def test_either_scenarios_or_a_history_are_played(arguments, capsys, monkeypatch):
    monkeypatch.chdir(SHOP.parent)

    assert run(["simulate", *arguments]) == 2
    assert "or --history FILE" in capsys.readouterr().err


def draft(open_shop, tmp_path, **changes):
    """Return a copy of the shop in which journeys are changed; None takes one out."""
    folder = tmp_path / "draft"
    shutil.copytree(open_shop, folder)
    for name, change in changes.items():
        path = folder / f"{name}.yaml"
        if change is None:
            path.unlink()
        else:
            before, after = change
            assert before in path.read_text()
            path.write_text(path.read_text().replace(before, after))
    return folder


def compared(open_shop, tmp_path, capsys, folder, *more):
    history = tmp_path / "events.jsonl"
    history.write_bytes(b"\n".join(HISTORY))
    code = run(
        ["simulate", "--journeys", str(folder), "--compare", str(open_shop),
         "--history", str(history), *more]
    )  # fmt: skip
    return code, capsys.readouterr().out


def test_a_comparison_shows_who_gets_something_else_and_why(open_shop, tmp_path, capsys):
    folder = draft(open_shop, tmp_path, cart_abandonment=None)

    _, told = compared(open_shop, tmp_path, capsys, folder, "--json")
    document = json.loads(told)

    assert document["differing"] == 1
    (ana,) = document["customers"]
    assert ana["customer"] == "ana"
    assert ana["differences"][0] == {
        "journey": "cart_abandonment",
        "step": "reminder_email",
        "channel": "email",
        "here": 0,
        "there": 1,
        "because": "there is no such journey",
    }


def test_a_comparison_names_the_refusal_that_makes_the_difference(open_shop, tmp_path, capsys):
    with_default = "{value: profile.first_name, default: outdoor friend}"
    folder = draft(open_shop, tmp_path, cart_abandonment=(with_default, "profile.first_name"))

    _, told = compared(open_shop, tmp_path, capsys, folder)

    assert "1 customers do not get the same" in told
    assert "refused: missing_variable" in told


def test_a_draft_that_does_the_same_differs_for_nobody(open_shop, tmp_path, capsys):
    _, told = compared(open_shop, tmp_path, capsys, draft(open_shop, tmp_path))

    assert "0 customers do not get the same" in told


def test_compare_without_a_history_is_refused(capsys):
    assert run(["simulate", "--compare", str(SHOP), "x"]) == 2
    assert "goes with --history" in capsys.readouterr().err
