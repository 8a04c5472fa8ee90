"""Rows about versions: releases beside each other, back and forth, and journeys that change."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bench.crash.plan import Size
from bench.faults.case import Row
from bench.faults.scene import LONELY, Scene
from bench.faults.worker import EXTENSION, NEXT_FORMAT
from orchestrator.broker import EmbeddedBroker
from orchestrator.core.encoded.state import decode_customer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.crash.fleet import Slot
    from bench.crash.judge.history import History
    from bench.crash.judge.records import Violation
    from bench.faults.case import Case

LONGER: Final = Size(events=3_300, customers=450, rate=60, pauses=())
REFUSED_SECONDS: Final = 14.0
_OF_THE_MODEL: Final = re.compile(r"[a-z]+-\d{5}(-\w)?: ")


def releases(case: Case) -> None:
    """Roll a release out and back whose state has a field more, then one with its own format."""
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers, size=LONGER) as scene,
    ):
        scene.begin()
        scene.at(4)
        one, other = scene.fleet.slots
        for slot, wider in ((one, True), (other, True), (one, False), (other, False)):
            case.tell(f"{slot.name}: {'one field more' if wider else 'back to the present one'}")
            scene.play(slot, {"wider": wider})
            _again(scene, slot)
        case.demand("no worker refused the wider state", holds=not scene.exits(1))
        case.tell(f"{one.name}: format {NEXT_FORMAT}, beside the present one")
        scene.play(one, {"next_format": True})
        _again(scene, one)
        scene.restart(other, why="to take its partitions over again")
        case.pause(REFUSED_SECONDS)
        said = scene.log_of(other)
        case.demand("the present release stops before a newer state", holds=scene.exits(1))
        told = "were written by a newer release" in said or "upgrade it" in said
        case.demand("it says that a newer release wrote it", holds=told)
        refusals = scene.exits(1)
        scene.play(other, {"next_format": True})
        case.tell(f"{other.name}: format {NEXT_FORMAT} too")
        scene.wait_ready()
        scene.settle()
        scene.judge(change=_in_present_format)
        kept = _extended(scene)
        case.demand("the later release has written something", holds=kept)
        case.saw(
            "one field more: rolled out and back without a refusal, what the later release had "
            f"written of {kept} customers was kept by the earlier one; a new format: the present "
            f"release refused {refusals} starts beside it, and went on when upgraded"
        )


def _extended(scene: Scene) -> int:
    """Return how many customers the later release has extended; nobody may lose that again."""
    assert scene.history is not None
    extended: set[bytes] = set()
    for record in scene.history.of(scene.names.changelog):
        if not record.key or record.key[:1] == b"\xff" or not record.value:
            continue
        if EXTENSION in decode_customer(record.value).extensions:
            extended.add(record.key)
        elif record.key in extended:
            scene.case.found("what a later release had written is gone", record.place)
    return len(extended)


def _again(scene: Scene, slot: Slot) -> None:
    deaths = slot.deaths
    scene.restart(slot)
    scene.case.wait("its end", lambda: slot.deaths > deaths, 20)
    scene.case.wait(f"{slot.name} to be ready", lambda: scene.fleet.ready(slot), 40)


def _in_present_format(history: History) -> History:
    """Let the judge read what the next release wrote: its format differs in its number only."""
    following = bytes((NEXT_FORMAT,))
    for partition, records in history.topics[history.names.changelog].items():
        history.topics[history.names.changelog][partition] = [
            replace(one, value=b"\x01" + one.value[1:])
            if one.value and one.value[:1] == following and one.key and one.key[:1] != b"\xff"
            else one
            for one in records
        ]
    return history


def journeys(case: Case) -> None:
    """Change a journey, pause one, and remove one, while people are inside."""
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers) as scene,
    ):
        scene.begin()
        scene.at(9)
        _publish(scene, _changed)
        scene.at(16)
        _verb(scene, "pause", "journey", "season_sale", "--reason", "row 17", "--by", "eva")
        scene.at(23)
        _verb(scene, "resume", "journey", "season_sale", "--reason", "row 17", "--by", "eva")
        scene.at(26)
        _publish(scene, _removed)
        scene.settle()
        scene.judge(excused=_of_another_model)
        done = scene.orchestrator("replay")
        case.tell(f"replay: {done.stdout.strip().splitlines()[-1:]}")
        case.demand(
            f"the log replayed through the core gives itself: {done.stdout[-300:]}",
            holds=done.returncode == 0 and "0 differences" in done.stdout,
        )
        ends = _ends(scene)
        gone = {reason: n for reason, n in ends["welcome"].items() if "gone" in reason}
        case.demand("people were inside of what was removed, and the log says why", holds=gone)
        case.saw(
            f"browse_reminder changed, season_sale paused and resumed, welcome removed: "
            f"{dict(ends['welcome'])} are how welcome ended; {gone or 'nobody'} for its removal"
        )


def _changed(folder: Path) -> None:
    path = folder / "browse_reminder.yaml"
    old = path.read_text(encoding="utf-8")
    versions = folder / "versions"
    versions.mkdir(exist_ok=True)
    (versions / "browse_reminder.v1.yaml").write_text(old, encoding="utf-8")
    new = old.replace("version: 1", "version: 2").replace("wait: 9s", "wait: 6s")
    path.write_text(new, encoding="utf-8")


def _removed(folder: Path) -> None:
    (folder / "welcome.yaml").unlink()


def _publish(scene: Scene, change: Callable[[Path], None]) -> None:
    """Publish a changed copy of the folder; the judge keeps the one it has."""
    draft = scene.case.folder / "draft"
    if not draft.exists():
        shutil.copytree(scene.journeys, draft)
    change(draft)
    _verb(scene, "publish", str(draft), "--by", "maria")


def _verb(scene: Scene, *arguments: str) -> None:
    done = scene.orchestrator(*arguments)
    scene.case.tell(f"{' '.join(arguments[:3])}: exit {done.returncode}")
    said = (done.stdout + done.stderr)[-400:]
    scene.case.demand(f"{arguments[0]} works: {said}", holds=done.returncode == 0)


def _of_another_model(violation: Violation) -> bool:
    """Whether it was found by replaying people on the journeys of the beginning."""
    return bool(_OF_THE_MODEL.match(violation.what))


def _ends(scene: Scene) -> dict[str, Counter[str]]:
    """Return how often the enrollments of each journey ended for which reason."""
    assert scene.history is not None
    found: dict[str, Counter[str]] = {}
    for record in scene.history.of(scene.names.journey_log):
        for entry in json.loads(record.value or b"{}")["entries"]:
            if entry["kind"] == "ended":
                found.setdefault(entry["journey"], Counter())[entry["reason"]] += 1
    return found


ROWS: Final = (
    Row(
        16,
        "rolling upgrade and rollback over a change of the state",
        "workers that write one field more at the end; workers that write format 2 and read 1",
        "a field more goes back and forth; a format is refused by the older release, not misread",
        releases,
        seconds_max=150.0,
    ),
    Row(
        17,
        "journeys changed, paused, removed with people inside",
        "`publish` and `pause` under load",
        "no wait is left alone; whoever was inside goes on or ends with a reason; the log replays",
        journeys,
    ),
)
