"""`orchestrator publish`: workers run what is published, and nobody inside is left behind."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.runtime.deployment import JOURNEYS, event, wait_until

SHOP = "zone: UTC\nlocale: en\n"
CHANNELS = "email: {kind: message, needs_consent: false, partitions: 3}\n"
HELLO = """\
name: hello
version: {version}
owner: crm@shop.example
kind: service
stage: service
entry: {{on: store.visited, reentry: always}}
steps:
  - id: wait
    wait: {wait}
  - id: letter
    send: {{channel: email, template: letter}}
  - id: done
    end: said_{version}
"""
NOW = """\
name: now
version: 1
owner: crm@shop.example
kind: service
stage: service
entry: {on: search.done}
steps:
  - id: answer
    send: {channel: email, template: answer}
"""


def write(folder, **files):
    """Write files of a journeys folder; `templates` maps a name to what it says."""
    for name, text in files.items():
        if name == "templates":
            for template, says in text.items():
                path = folder / "templates" / "email" / f"{template}.yaml"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"en: {{text: {says}}}\n")
        else:
            folder.mkdir(exist_ok=True)
            (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path):
    """A shop with two journeys and their templates."""
    return write(
        tmp_path / "journeys",
        shop=SHOP,
        channels=CHANNELS,
        hello=HELLO.format(version=1, wait="6s"),
        now=NOW,
        templates={"letter": "Dear friend", "answer": "Old words"},
    )


def orchestrator(deployment, *arguments, **settings):
    """Run a verb against the deployment; return the finished process."""
    values = deployment.settings | settings
    environment = os.environ | {
        f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in values.items()
    }
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def texts(deployment, customer):
    """Return what a customer's messages say, in order."""
    return [
        value["data"]["content"]["text"]
        for key, value, _ in deployment.read("commands.email")
        if key.decode() == customer and value["type"] == "message.send"
    ]


def ask(deployment, customer):
    """Let a customer do what the journey `now` answers; return the answer."""
    deployment.produce(event("search.done", f"s-{customer}", customer))
    wait_until(lambda: texts(deployment, customer), f"an answer to {customer}")
    return texts(deployment, customer)[0]


def test_new_words_reach_the_next_message_of_every_worker_without_a_restart(deployment, folder):
    workers = [deployment.start(slot, journeys=folder) for slot in ("a", "b")]
    first = {f"early-{n}": ask(deployment, f"early-{n}") for n in range(4)}
    write(folder, templates={"answer": "New words"})

    done = orchestrator(deployment, "publish", str(folder), "--by", "maria")
    wait_until(
        lambda: all("journeys taken over" in one.log.read_text() for one in workers), "takeover"
    )
    then = {f"late-{n}": ask(deployment, f"late-{n}") for n in range(8)}

    assert set(first.values()) == {"Old words"}
    assert set(then.values()) == {"New words"}
    assert done.returncode == 0
    assert "template: email/answer" in done.stdout
    assert '"published_by":"maria"' in workers[0].log.read_text()
    assert all(one.poll() is None for one in workers)
    hashes = [value["definitions"] for _, value, _ in deployment.read("journey-log")]
    assert len(set(hashes)) == 2
    replayed = orchestrator(deployment, "replay", journeys=folder)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "0 differences" in replayed.stdout
    assert "not made again" not in replayed.stdout


def test_who_is_inside_finishes_on_the_version_entered_although_its_file_is_gone(
    deployment, folder
):
    deployment.start("a", journeys=folder)
    deployment.produce(event("store.visited", "v1", "inside"))
    wait_until(lambda: "entered" in deployment.log_entries("inside"), "entry")
    write(folder, hello=HELLO.format(version=2, wait="1s"))

    assert orchestrator(deployment, "publish", str(folder)).returncode == 0
    worker = deployment.workers[0]
    wait_until(lambda: "journeys taken over" in worker.log.read_text(), "takeover")
    deployment.produce(event("store.visited", "v2", "outside"))
    wait_until(lambda: texts(deployment, "inside") and texts(deployment, "outside"), "letters")

    versions = {
        key.decode(): value["data"]["journey_version"]
        for key, value, _ in deployment.read("commands.email")
    }
    assert versions == {"inside": 1, "outside": 2}


def test_content_changed_under_a_version_is_refused(deployment, folder):
    assert orchestrator(deployment, "publish", str(folder)).returncode == 0
    write(folder, hello=HELLO.format(version=1, wait="7s"))

    done = orchestrator(deployment, "publish", str(folder))

    assert done.returncode == 1
    assert "hello@1" in done.stderr
    assert "raise the version" in done.stderr


def test_what_is_current_is_not_published_again(deployment, folder):
    orchestrator(deployment, "publish", str(folder), "--by", "maria")

    done = orchestrator(deployment, "publish", str(folder))

    assert done.returncode == 0
    assert "current already" in done.stdout
    assert "by maria" in done.stdout


def test_a_worker_that_restarts_with_an_older_folder_does_not_turn_back_what_is_published(
    deployment, folder, tmp_path
):
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    first = deployment.start("a", journeys=old)
    write(folder, templates={"answer": "New words"})
    orchestrator(deployment, "publish", str(folder))
    first.terminate()
    first.wait(20)

    again = deployment.start("a", journeys=old)

    assert ask(deployment, "ana") == "New words"
    assert "running what is published, not this folder" in again.log.read_text()


def test_a_new_channel_gets_its_topics_and_bad_journeys_never_get_there(deployment, folder):
    worker = deployment.start("a", journeys=folder)
    write(folder, channels=CHANNELS + "push: {kind: message, partitions: 3}\n")
    write(folder, now=NOW.replace("version: 1", "version: 2").replace("email", "push"))
    refused = orchestrator(deployment, "publish", str(folder))
    path = folder / "templates" / "push" / "answer.yaml"
    path.parent.mkdir()
    path.write_text("en: {title: Hello, text: Pushed}\n")

    done = orchestrator(deployment, "publish", str(folder))
    wait_until(lambda: "journeys taken over" in worker.log.read_text(), "takeover")
    deployment.produce(event("search.done", "s1", "ana"))
    wait_until(lambda: deployment.read("commands.push"), "a push")

    assert refused.returncode == 1
    assert 'there is no template "answer" for push' in refused.stderr
    assert done.returncode == 0
    assert "now: version 1 → 2" in done.stdout


def test_a_journey_that_is_gone_ends_for_everybody(deployment, folder):
    worker = deployment.start("a", journeys=folder)
    deployment.produce(event("store.visited", "v1", "ana"))
    wait_until(lambda: "entered" in deployment.log_entries("ana"), "entry")
    (folder / "hello.yaml").unlink()

    orchestrator(deployment, "publish", str(folder))
    wait_until(lambda: "journeys taken over" in worker.log.read_text(), "takeover")
    time.sleep(7)
    deployment.produce(event("search.done", "s1", "ana"))
    wait_until(lambda: "version_gone" in deployment.log_entries("ana"), "end")

    assert texts(deployment, "ana") == ["Old words"]


def test_the_example_shop_of_these_tests_can_be_published(deployment):
    done = orchestrator(deployment, "publish", str(JOURNEYS))

    assert done.returncode == 0, done.stderr
    assert "new: cart_abandonment (version 1)" in done.stdout
