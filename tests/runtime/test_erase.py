"""`orchestrator erase` and `export` on a real Kafka, with a worker that dies after the erasure."""

import os
import stat
import subprocess
import sys
import time

import orjson
import pytest

from tests.runtime.deployment import cart, event, purchase, wait_until

MAIL = "ana.canary@mail.example"
LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.fixture
def orchestrator(deployment):
    """Run a verb against the deployment; return the finished process."""

    def verb(*arguments):
        environment = os.environ | {
            f"ORCHESTRATOR_{name.upper()}": str(value)
            for name, value in deployment.settings.items()
        }
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return verb


def outcomes(deployment, event_id):
    return [
        record["outcome"]
        for _, record, _ in deployment.read("journey-log")
        if record["cause"].get("id") == event_id
    ]


def sequences(deployment, customer):
    lanes = ("email", "email.promotional", "push", "push.promotional", "ads", "ads.promotional")
    return sorted(
        value["data"]["sequence"]
        for lane in lanes
        for key, value, _ in deployment.read(f"commands.{lane}")
        if key.decode() == customer
    )


def happens(deployment, *events):
    deployment.produce(*events, partitioner="murmur2_random")
    last = events[-1]["id"]
    wait_until(lambda: outcomes(deployment, last), f"decision on {last}")


@pytest.mark.timeout(400)
def test_who_is_erased_is_forgotten_for_good_and_a_younger_event_begins_anew(
    deployment, orchestrator, tmp_path
):
    worker = deployment.start()
    known = event("profile.updated", "p1", "ana", attributes={"email": MAIL})
    happens(deployment, known, cart("ana"), cart("ben"), purchase("ana", "1001"))
    happens(deployment, event("cart.abandoned", "cart-2", "ana", cart_id="k2",
        items=[{"sku": "mug", "quantity": 1, "price": "9.00"}]))  # fmt: skip

    exported = tmp_path / "ana.json"
    told = orchestrator("export", "ana", "--output", str(exported))
    again = orchestrator("export", "ana", "--output", str(exported))
    nobody = orchestrator("export", "nobody")
    before = orchestrator("erase", "--only-prove", "ana", "--also", MAIL)

    assert told.returncode == 0, told.stderr
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    document = orjson.loads(exported.read_bytes())
    assert document["state"]["profile"]["email"]["value"] == MAIL
    assert {one["order_id"] for one in document["state"]["orders"]} == {"1001"}
    assert len(document["events"]) == 4
    assert [c["value"]["data"]["sequence"] for c in document["commands"]] == sequences(
        deployment, "ana"
    )
    assert (again.returncode, nobody.returncode) == (2, 1)
    assert before.returncode == 1, before.stdout
    assert "the whole state: the customer was not erased" in before.stdout

    numbered = sequences(deployment, "ana")
    gone = orchestrator("erase", "ana", "--prove", "--also", MAIL)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert "ana: erased; enrollments ended: 2" in gone.stdout
    assert "customers-changelog: the marker, erased as of" in gone.stdout
    assert "fences: fences of what was recalled" in gone.stdout
    assert "touchpoints: " in gone.stdout
    assert "kept until" in gone.stdout
    cancels = [
        value
        for _, value, _ in deployment.read("commands.email.promotional")
        if value["type"] == "message.cancel" and value["data"]["enrollment"] == "cart_abandonment#2"
    ]
    assert [set(one["data"]) & {"variables", "content", "recipient"} for one in cancels] == [set()]
    records = [r for k, r, _ in deployment.read("journey-log") if k == b"ana"]
    assert MAIL.encode() not in orjson.dumps(records)
    assert sequences(deployment, "ana")[: len(numbered)] == numbered

    # The marker is state like any other: whoever takes over knows it.
    worker.kill()
    worker.wait()
    deployment.start()
    late = purchase("ana", "0999") | {"time": LONG_AGO}
    happens(deployment, late)
    assert outcomes(deployment, late["id"]) == ["ignored"]
    happens(deployment, known)
    assert outcomes(deployment, "p1") == ["applied", "ignored"]
    time.sleep(1.1)  # The events of this test have whole seconds.
    happens(deployment, purchase("ana", "1002"))
    assert outcomes(deployment, "ord-ana-1002") == ["applied"]
    numbered = sequences(deployment, "ana")  # Read once: a wait may come due in between.
    assert numbered == list(range(1, len(numbered) + 1))

    second = orchestrator("erase", "ana", "ben")
    assert second.returncode == 0, second.stderr
    assert sorted(line.partition(";")[0] for line in second.stdout.splitlines()) == [
        "ana: erased",
        "ben: erased",
    ]
    replayed = orchestrator("replay")
    assert "0 differences" in replayed.stdout, replayed.stdout + replayed.stderr


@pytest.mark.timeout(200)
def test_who_is_erased_is_erased_under_the_ids_that_were_the_customer_too(deployment, orchestrator):
    """The order of the cookie is recalled where its confirmation stands."""
    deployment.start()
    happens(deployment, cart("web-ana"), purchase("web-ana", "1001"))
    who = {"anonymous_id": "web-ana", "customer_id": "ana"}
    happens(deployment, event("profile.identified", "i1", "ana", **who))
    wait_until(lambda: "absorbed" in deployment.log_entries("ana"), "merge")

    gone = orchestrator("erase", "ana", "--prove")

    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert "(also under web-ana: the same customer, before a merge)" in gone.stdout
    assert "a pointer of 'web-ana', which was absorbed into it" in gone.stdout
    assert "under 'web-ana', which was absorbed into it: names of enrollments" in gone.stdout

    def exported(customer):
        told = orjson.loads(orchestrator("export", customer).stdout)
        return [one for one in told["commands"] if one["topic"].endswith("commands.email")]

    (thanks,), (cancel,) = exported("web-ana"), exported("ana")
    assert cancel["value"]["data"]["cancels"] == [thanks["value"]["id"]]
    assert (cancel["topic"], cancel["partition"]) == (thanks["topic"], thanks["partition"])
    replayed = orchestrator("replay")
    assert "0 differences" in replayed.stdout, replayed.stdout + replayed.stderr


@pytest.mark.timeout(120)
def test_an_erasure_that_no_worker_has_applied_is_said_to_be_accepted_only(
    deployment, orchestrator
):
    deployment.start().terminate()
    deployment.workers[-1].wait()

    waited = orchestrator("erase", "ana", "--wait-seconds", "1")
    wrong = orchestrator("erase", "ana", "ben", "--prove", "--also", MAIL)

    assert waited.returncode == 1
    assert "ana: accepted, and not applied within 1 s" in waited.stderr
    assert wrong.returncode == 2
    assert "one at a time" in wrong.stderr
