"""A time table over a population, with the worker killed twice in the middle of a round."""

from collections import Counter

import pytest

from bench.topics import end_offsets
from tests.runtime.deployment import event, wait_until

CUSTOMERS = [f"c{n:04}" for n in range(900)]
# Slow enough that a round takes half a minute, and two deaths fall into it.
RATE = 30
FILES = {
    "shop.yaml": "zone: UTC\n",
    "channels.yaml": "email: {kind: message, needs_consent: false, partitions: 3}\n",
    "news.yaml": f"""\
name: news
version: 1
owner: editors@shop.example
kind: promotional
stage: awareness
entry:
  schedule: {{cron: "* * * * *", rate: {RATE}}}
exits:
  - on: purchase
steps:
  - id: letter
    send: {{channel: email, template: letter}}
""",
    "now.yaml": """\
name: now
version: 1
owner: crm@shop.example
kind: service
stage: service
entry: {on: search.done, reentry: always}
steps:
  - id: answer
    send: {channel: email, template: answer}
""",
}


def letters(deployment):
    """Count the letters by customer and by the time of the table that they are for."""
    return Counter(
        (key.decode(), value["data"]["caused_by"]["id"])
        for key, value, _ in deployment.read("commands.email.promotional")
    )


def written(deployment):
    """Return how much stands on the topic of letters; markers count, so it is a little more."""
    return end_offsets(deployment.client, f"{deployment.prefix}commands.email.promotional")


@pytest.mark.timeout(300)
def test_everybody_gets_one_letter_for_one_time_although_the_worker_dies_twice(
    deployment, tmp_path
):
    folder = tmp_path / "journeys"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    worker = deployment.start(journeys=folder)
    deployment.produce(
        *(event("store.visited", f"v-{one}", one) for one in CUSTOMERS),
        partitioner="murmur2_random",
    )

    first = None
    for share in (0.1, 0.4):
        wait_until(
            lambda share=share: written(deployment) > share * len(CUSTOMERS), "letters", seconds=90
        )
        worker.kill()
        worker.wait()
        found = letters(deployment)
        first = first or min(time for _, time in found)
        sent = sum(time == first for _, time in found)
        assert sent < len(CUSTOMERS), "the round was over before the worker died"
        worker = deployment.start(journeys=folder)
    deployment.produce(event("search.done", "s1", "c0000"), partitioner="murmur2_random")
    wait_until(lambda: deployment.read("commands.email"), "an answer in the middle of the round", 5)
    wait_until(
        lambda: sum(time == first for _, time in letters(deployment)) >= len(CUSTOMERS),
        "the rest of the round",
    )

    assert set(letters(deployment).values()) == {1}
    assert {one for one, time in letters(deployment) if time == first} == set(CUSTOMERS)
