"""The row about state on a disk: only the API has some, its read model, and it may go at any time.

Workers keep theirs in memory and build it from the changelog at each start (rows 1, 11, 21).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final, Self

from bench.crash.plan import Size, rfc3339
from bench.faults.case import Row
from bench.faults.scene import LONELY, Scene
from orchestrator.api.tokens import Scope, line_of
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.faults.case import Case

BRIEF: Final = Size(events=1_500, customers=200, rate=60, pauses=())
TOKEN: Final = "faults-" + "f" * 40
ASKED: Final = 120
FILE: Final = "read-model.db"
GARBAGE_PAGES: Final = 12
PAGE_BYTES: Final = 8_192
SOON_MS: Final = 120_000


class Api:
    """One API process over a folder. A context manager: it ends with it."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.folder = scene.case.folder / "api"
        self.log = scene.case.folder / f"api-{name}.log"
        self._port = EmbeddedBroker.free_port()
        self._scene = scene
        self._name = name

    def __enter__(self) -> Self:
        environment = {
            "ORCHESTRATOR_API_PORT": str(self._port),
            "ORCHESTRATOR_API_METRICS_PORT": "0",
            "ORCHESTRATOR_API_DATA_DIR": str(self.folder),
            "ORCHESTRATOR_API_REQUESTS_PER_SECOND": "0",
            "ORCHESTRATOR_API_TOKENS": line_of("faults", [Scope.READ], TOKEN),
        }
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", "api"],
                env={**os.environ, **self._scene.environment, **environment},
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> float:
        """Wait until it has caught up, or has ended."""

        def over() -> bool:
            return self._process.poll() is not None or self._get("/health/ready") is not None

        return self._scene.case.wait(f"the API ({self._name})", over, 60)

    def answers(self, customers: Sequence[str]) -> dict[str, Any]:
        """Return what it says about each; an error of its own as its status."""
        return {customer: self._get(f"/v1/customers/{customer}") for customer in customers}

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _get(self, path: str) -> Any:
        address = f"http://127.0.0.1:{self._port}{path}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(address, headers=headers)
        with (
            contextlib.suppress(OSError, urllib.error.URLError),
            urllib.request.urlopen(request, timeout=10) as answer,
        ):
            found = json.loads(answer.read())
            return _lasting(found)
        return None


def _lasting(customer: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a customer without what changes by the time of asking alone."""
    soon = rfc3339(time.time_ns() // 1_000_000 + SOON_MS)
    promises = [one for one in customer.get("promises", ()) if one["expires_at"] > soon]
    talking = customer.get("talking_until")
    lasting = {"promises": promises, "talking_until": talking if (talking or "") > soon else None}
    return {name: said for name, said in (customer | lasting).items() if name != "caps"}


def read_model(case: Case) -> None:
    """Delete, spoil and replace the read model between two starts; ask the same questions."""
    with (
        EmbeddedBroker(case.folder / "broker", properties=LONELY) as broker,
        Scene(case, broker.bootstrap_servers, workers=1, size=BRIEF) as scene,
    ):
        scene.create_topics()
        scene.start_workers()
        scene.start_load()
        scene.at(12)
        with Api(scene, "early") as api:
            api.wait()
        stale = case.folder / "stale"
        shutil.copytree(api.folder, stale)
        scene.settle()
        scene.judge()
        assert scene.history is not None
        log = scene.history.of(scene.names.journey_log)
        people = sorted({(record.key or b"").decode() for record in log})[:ASKED]
        with Api(scene, "sound") as api:
            api.wait()
            sound = api.answers(people)
        case.demand("it knows everybody", holds=all(sound.values()))
        file = api.folder / FILE
        _ask_again(scene, "deleted", sound, lambda: shutil.rmtree(api.folder))
        _ask_again(scene, "its first page overwritten", sound, lambda: _spoil(file, [0]))

        def replace() -> None:
            shutil.rmtree(api.folder)
            shutil.copytree(stale, api.folder)

        _ask_again(scene, "a stale copy", sound, replace)
        _ask_again(scene, "pages overwritten", sound, lambda: _spoil(file, None))


def _ask_again(scene: Scene, name: str, sound: dict[str, Any], harm: Any) -> None:
    case = scene.case
    harm()
    with Api(scene, name.replace(" ", "-")) as api:
        took = api.wait()
        found = api.answers(list(sound))
    wrong = {
        one: sorted(key for key in {*said, *sound[one]} if said.get(key) != sound[one].get(key))
        for one, said in found.items()
        if said is not None and said != sound[one]
    }
    silent = sum(1 for said in found.values() if said is None)
    case.demand(f"{name}: nothing wrong is served ({wrong or 'to nobody'})", holds=not wrong)
    case.demand(f"{name}: everybody is known again ({silent} are not)", holds=not silent)
    rebuilt = "filled again" if "filled again" in api.said() else "read on"
    case.saw(f"read model {name}: {rebuilt}, ready after {took:.1f} s, {len(found)} answers equal")


def _spoil(file: Any, pages: Sequence[int] | None) -> None:
    """Overwrite pages of a file with noise; without numbers, some in its middle."""
    count = file.stat().st_size // PAGE_BYTES
    chosen = pages if pages is not None else range(count // 3, count // 3 + GARBAGE_PAGES)
    with file.open("r+b") as spoiled:
        for number in chosen:
            spoiled.seek(number * PAGE_BYTES)
            spoiled.write(os.urandom(PAGE_BYTES))


ROWS: Final = (
    Row(
        10,
        "local state corrupted, deleted, stale",
        "the API's read model, the only one: deleted, overwritten in part, replaced by an old copy",
        "detected or rebuilt; nothing wrong is served. A worker's state is in memory, and built "
        "from the changelog at each start (rows 1, 11, 21)",
        read_model,
        seconds_max=180.0,
    ),
)
