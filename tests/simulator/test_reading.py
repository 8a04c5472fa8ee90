"""A broken scenario is a list of findings with their lines, never a traceback."""

from __future__ import annotations

import random

import pytest

HEAD = "scenario: x\nstory:\n"


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("scenario: x\n", "1: story: is missing"),
        ("scenario: x\nstory: []\n", "2: story: is empty"),
        ("scenario: x\nstroy: []\nstory: [{at: 0s, event: store.visited}]\n",
         '2: stroy: no such word here; did you mean "story"?'),
        (HEAD + "  - at: tomorrow\n    event: store.visited\n",
         ("3: story[1].at: 'tomorrow' is no time; write 0s, 1h30m or 3d since the start, "
         "or an instant like 2026-11-22T10:00:00Z")),
        (HEAD + "  - at: 0s\n    event: cart.abandonned\n",
         '4: event: "cart.abandonned" is unknown; did you mean "cart.abandoned"?'),
        (HEAD + "  - at: 0s\n", ("3: story[1]: says neither what happens (`event`) nor what is "
         "expected")),
        (HEAD + "  - at: 0s\n    data: {}\n    expect: [nothing else]\n",
         "3: story[1]: data belongs to an event; say which with `event`"),
        (HEAD + "  - {at: 1h, event: store.visited}\n  - {at: 30m, event: store.visited}\n",
         "4: at: is earlier than the item before it; a story goes forward"),
        (HEAD + "  - {at: 2001-01-01T00:00:00Z, event: store.visited}\n",
         "3: at: is earlier than the start; a story goes forward"),
        (HEAD + "  - at: 0s\n    expect:\n      - sends: email\n",
         "5: story[1].expect[1]: 'sends' cannot be expected; did you mean \"send\"?"),
        (HEAD + "  - at: 0s\n    expect:\n      - {send: email, cancel: email}\n",
         "5: story[1].expect[1]: names send and cancel; an expectation is about one of send"),
        (HEAD + "  - at: 0s\n    expect:\n      - {send: email, reason: exit}\n",
         "5: story[1].expect[1]: send has no reason; allowed: class"),
        (HEAD + "  - at: 0s\n    expect:\n      - send: null\n",
         "5: story[1].expect[1]: names nothing that can happen; an expectation is about one of"),
        (HEAD + "  - at: 0s\n    expect:\n      - nothing\n",
         "5: story[1].expect[1]: write `nothing else`, or one of send"),
        (HEAD + "  - at: 0s\n    expect:\n      - send: emial\n",
         '5: send: "emial" is unknown; did you mean "email"?'),
        (HEAD + "  - at: 0s\n    expect:\n      - {leave: winback, reason: exited}\n",
         '5: reason: "exited" is unknown; did you mean "exit"?'),
        (HEAD + "  - at: 0s\n    expect:\n      - {cancel: email, of: [reminder_mail]}\n",
         '5: of: "reminder_mail" is unknown; did you mean "reminder_email"?'),
        (HEAD + "  - at: 0s\n    expect:\n      - {send: email, template: 5}\n",
         "5: story[1].expect[1].template: should be text, not 5; write it in quotes"),
        (HEAD + "  - &a {at: 0s, event: store.visited}\n  - *a\n",
         "4: alias *a: write the value out; aliases are not read"),
        (HEAD + "  - {at: 0s, event: store.visited, at: 1s}\n",
         '3: "at" stands here twice; first in line 3'),
        (HEAD + "  - at: 0s\n    pause: journey/winter_sail\n",
         '4: pause: "journey/winter_sail" is unknown; did you mean "journey/winter_sale"?'),
        (HEAD + "  - at: 0s\n    pause: global\n    event: store.visited\n",
         "3: story[1]: only one of `event`, `pause`, `kill` and `resume` can happen at once"),
        (HEAD + "  - at: 0s\n    resume: global\n    transactional: true\n",
         "3: story[1]: transactional belongs to a pause or a kill"),
        ("scenario: [\n", "1: not YAML: "),
        ("", "1: the file holds no mapping; write lines of `name: value`"),
        ("scenario: x\nstart: 22nd of November\nstory: [{at: 0s, event: store.visited}]\n",
         "2: start: '22nd of November' is no instant; write one like 2026-11-22T10:00:00Z"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(read, text, finding):
    scenario, findings = read(text)

    assert any(one.startswith(finding) for one in findings), findings
    assert scenario is None or finding.split(": ")[2].endswith("unknown") or "unknown" in finding


def test_all_findings_come_at_once(read):
    _, findings = read(
        "scenario: x\ncostumer: ana\nstory:\n  - at: soon\n    event: 5\n    exept: []\n"
    )

    assert [one.partition(":")[0] for one in findings] == ["2", "4", "5", "6"]


def test_a_mutated_scenario_gives_findings_or_a_scenario_and_nothing_else(read):
    """The generator is seeded, so that a failure can be looked at again."""
    text = (
        "scenario: Buying ends it\ncustomer: ana\nstart: 2026-01-05T08:00:00Z\n"
        "profile: {first_name: Ana}\nstory:\n  - at: 0s\n    event: cart.abandoned\n"
        "    data: {cart_id: c1, items: [{sku: tent-2}]}\n    late_by: 1h\n    expect:\n"
        "      - enter: cart_abandonment\n        key: c1\n      - nothing else\n"
        "  - at: 1h\n    expect:\n      - send: email\n        variables: {cart_id: c1}\n"
        "        expires_after: 1d\n"
    )
    dice = random.Random(8241)
    for _ in range(400):
        mutated = list(text)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(mutated))
            mutated[at] = dice.choice([*"{}[]:,-&*!#'\"\n\t 0x", "", mutated[at] * 2])
        read("".join(mutated))


def test_a_file_that_is_not_text_is_a_finding(tmp_path):
    from orchestrator.simulator.scenario import read_scenario

    path = tmp_path / "a.scenario.yaml"
    path.write_bytes(b"scenario: \xff\n")

    assert [one.message for one in read_scenario(path)[1]] == ["the text is not UTF-8"]
    assert "cannot be read" in read_scenario(tmp_path / "gone.scenario.yaml")[1][0].message
