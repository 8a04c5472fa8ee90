"""`orchestrator pause` and `resume` on a real Kafka, with the worker killed while it lets go."""

import os
import subprocess
import sys
import time

import orjson
import pytest

from tests.runtime.deployment import event, wait_until

CUSTOMERS = [f"c{n:03}" for n in range(300)]
FILES = {
    "shop.yaml": "zone: UTC\n",
    "channels.yaml": "email: {kind: message, needs_consent: false, partitions: 3}\n",
    "sale.yaml": """\
name: sale
version: 1
owner: crm@shop.example
kind: promotional
stage: awareness
entry: {on: search.done, reentry: always}
exits:
  - on: purchase
steps:
  - id: letter
    send: {channel: email, template: letter}
""",
}


@pytest.fixture
def folder(tmp_path):
    """A shop with one campaign."""
    path = tmp_path / "journeys"
    path.mkdir()
    for name, text in FILES.items():
        (path / name).write_text(text)
    return path


@pytest.fixture
def orchestrator(deployment, folder):
    """Run a verb against the deployment; return the finished process."""

    def verb(*arguments):
        values = deployment.settings | {"journeys": folder}
        environment = os.environ | {
            f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in values.items()
        }
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return verb


def searches(deployment, customers, number=1):
    deployment.produce(
        *(event("search.done", f"s{number}-{one}", one) for one in customers),
        partitioner="murmur2_random",
    )


def letters(deployment):
    """Return who got a letter, once for each."""
    return sorted(
        key.decode()
        for key, value, _ in deployment.read("commands.email.promotional")
        if value["type"] == "message.send"
    )


def entries(deployment, kind):
    return [
        entry
        for _, record, _ in deployment.read("journey-log")
        for entry in record["entries"]
        if entry["kind"] == kind
    ]


@pytest.mark.timeout(240)
def test_who_is_held_gets_one_letter_after_the_resume_although_the_worker_dies_in_its_round(
    deployment, folder, orchestrator
):
    worker = deployment.start(journeys=folder)
    searches(deployment, ["early"])
    wait_until(lambda: letters(deployment) == ["early"], "a letter")

    paused = orchestrator("pause", "journey", "sale", "--reason", "wrong price", "--by", "eva")
    wait_until(lambda: "wrong price" in worker.log.read_text(), "takeover of the pause")
    searches(deployment, CUSTOMERS)
    deployment.produce(event("purchase", "p1", CUSTOMERS[0], order_id="1", total="1.00",
        currency="EUR", items=[{"sku": "tent", "quantity": 1, "price": "1.00"}]),
        partitioner="murmur2_random")  # fmt: skip
    wait_until(lambda: len(entries(deployment, "held")) == len(CUSTOMERS), "everybody held")
    listed = orchestrator("pause", "--list")
    assert letters(deployment) == ["early"]

    # A worker that starts into a pause knows it, and dies in the third group of the round.
    worker.kill()
    worker.wait()
    bounds = {"group_records_max": 20, "failpoint": "after_acks:6"}
    doomed = deployment.start(journeys=folder, **bounds)
    searches(deployment, ["late"])
    wait_until(lambda: len(entries(deployment, "held")) == len(CUSTOMERS) + 1, "the last one held")
    assert letters(deployment) == ["early"]
    resumed = orchestrator("resume", "journey", "sale", "--reason", "all right", "--by", "eva")
    assert doomed.wait(60) == -9
    before = letters(deployment)
    deployment.start(journeys=folder)

    wanted = sorted(["early", "late", *CUSTOMERS[1:]])
    wait_until(lambda: len(letters(deployment)) >= len(wanted), "the rest of the letters")
    time.sleep(1)
    assert 1 < len(before) < len(wanted), "the worker died before or after the round"
    assert letters(deployment) == wanted
    assert (paused.returncode, resumed.returncode) == (0, 0), paused.stderr + resumed.stderr
    assert "journey/sale  paused, since 20" in listed.stdout
    assert "by eva: wrong price" in listed.stdout
    replayed = orchestrator("replay")
    assert "0 differences" in replayed.stdout, replayed.stdout + replayed.stderr
    assert "not made again" not in replayed.stdout


def test_a_kill_drops_what_would_go_out_and_a_wrong_name_is_not_taken_for_a_pause(
    deployment, folder, orchestrator
):
    worker = deployment.start(journeys=folder)

    unknown = orchestrator("pause", "journey", "sail", "--reason", "wrong price")
    not_paused = orchestrator("resume", "journey", "sale", "--reason", "right again")
    killed = orchestrator("pause", "channel", "email", "--kill", "--reason", "blocked")
    wait_until(lambda: "blocked" in worker.log.read_text(), "takeover of the pause")
    searches(deployment, ["ana"])
    wait_until(lambda: entries(deployment, "send_refused"), "a refusal")

    assert unknown.returncode == 2
    assert 'did you mean "sale"' in unknown.stderr
    assert not_paused.returncode == 1
    assert "journey/sale is not paused" in not_paused.stderr
    assert killed.returncode == 0, killed.stderr
    assert letters(deployment) == []
    (refused,) = entries(deployment, "send_refused")
    assert refused["reason"] == "paused"
    assert refused["detail"].startswith("channel/email by ")
    ((key, record, _),) = deployment.read("control")
    assert key == b"channel/email"
    assert orjson.dumps(record).startswith(b'{"scope":"channel/email","paused":true,"kill":true,')


def test_an_offer_that_is_published_is_killed_by_its_name(deployment, folder, orchestrator):
    (folder / "offers.yaml").write_text("""\
cheap:
  owner: crm@shop.example
  text: {en: 10 % off}
  gives: {percent_off: 10}
  valid_for: 30d
  channels: [email]
""")
    sale = folder / "sale.yaml"
    sale.write_text(sale.read_text().replace("letter}", "letter, offer: cheap}"))
    worker = deployment.start(journeys=folder)

    unknown = orchestrator("pause", "offer", "cheep", "--kill", "--reason", "too cheap")
    killed = orchestrator("pause", "offer", "cheap", "--kill", "--reason", "too cheap")
    wait_until(lambda: "too cheap" in worker.log.read_text(), "takeover of the pause")
    searches(deployment, ["ana"])
    wait_until(lambda: entries(deployment, "send_refused"), "a refusal")

    assert unknown.returncode == 2
    assert 'did you mean "cheap"' in unknown.stderr
    assert killed.returncode == 0, killed.stderr
    assert letters(deployment) == []
    (refused,) = entries(deployment, "send_refused")
    assert refused["detail"].startswith("offer/cheap by ")
