"""`python -m bench.crash`: one broker, three workers, fifty thousand events, faults, the judge.

Prints what happens while it happens, then one summary line per seed; writes a report in JSON;
exits 1 when a seed found a violation, or when a placed fault was never reached. `--defect` runs
workers with a bug planted by `defects`, and then it is an error when the judge finds nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka.admin import AdminClient, NewTopic

from bench.crash.defects import DEFECTS, launcher
from bench.crash.faults import NAMED, PLACED, Faults
from bench.crash.fleet import WORKER_COMMAND, Fleet
from bench.crash.furnish import furnish
from bench.crash.judge.checker import Report, judge
from bench.crash.judge.history import Names, read_history
from bench.crash.load import Load, Senders
from bench.crash.pausing import Pausing, script
from bench.crash.plan import STORE_PARTITIONS, Size, tell
from bench.crash.pulse import Pulse
from orchestrator.broker import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

CHANNELS: Final = ("email", "sms", "push", "web", "ads", "callcenter")
PARTITIONS: Final = 8
SEEDS: Final = (1, 2, 3)
QUIET_SECONDS: Final = 8.0
PATIENCE_SECONDS: Final = 60.0
START_SECONDS: Final = 15
"""About so long the broker and the workers take to start."""
# A cluster of one has nobody to hand its partitions to. While it shuts down in control they have no
# leader, and its transaction coordinator then completes a commit without writing the markers: the
# transaction stays open for ever (seen with Kafka 4.3.1, in its log of transactions).
LONELY: Final = {"controlled.shutdown.enable": "false"}
REST_SECONDS_MAX: Final = 240.0
SMALL: Final = Size(events=7_000, customers=700, rate=200, pause_seconds=9, pauses=(0.5,))
"""A quick look."""
MORE: Final = Size(events=20_000, customers=2_000, rate=100, pauses=())
"""For the placed faults that three seeds had no time for."""


@dataclass(slots=True)
class Outcome:
    """What one seed showed."""

    seed: int
    report: Report
    hits: dict[str, int]
    document: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Stage:
    """Everything that takes part in one run."""

    seed: int
    size: Size
    names: Names
    broker: EmbeddedBroker
    fleet: Fleet
    watcher: Pulse
    environment: dict[str, str]
    only: Sequence[str] | None
    reached: Collection[str]
    loaded_at: float = 0.0
    """The monotonic instant at which everything was sent."""


def run_seed(
    seed: int,
    size: Size,
    folder: Path,
    options: argparse.Namespace,
    only: Sequence[str] | None,
    *,
    reached: Collection[str] = (),
) -> Outcome:
    """Run one seed from an empty broker to a judged report; `reached` is what others have met."""
    defect: str | None = options.defect
    if defect:
        only = DEFECTS[defect].faults
    workers = options.workers or (2 if defect else 3)
    names = Names(f"s{seed}.", "crash", PARTITIONS, ("touchpoints", "stores"))
    began = time.monotonic()
    # Until the workers are ready; what counts is that the quiet minutes lie in the load.
    start_ms = time.time_ns() // 1_000_000 + START_SECONDS * 1_000
    journeys = furnish(folder / "journeys", start_ms)
    with EmbeddedBroker(folder / "broker", properties=LONELY) as broker:
        environment = _environment(broker.bootstrap_servers, names, journeys)
        _create_topics(broker.bootstrap_servers, names, environment)
        command = launcher(defect) if defect else WORKER_COMMAND
        fleet = Fleet(folder, environment, workers, command=command, tell=_tell)
        watcher = Pulse(
            broker.bootstrap_servers,
            names,
            quiet_seconds=QUIET_SECONDS,
            patience_seconds=PATIENCE_SECONDS,
        )
        try:
            fleet.start()
            _wait_until_ready(fleet)
            stage = Stage(seed, size, names, broker, fleet, watcher, environment, only, reached)
            load, faults = _rage(stage)
        finally:
            watcher.stop()
            fleet.close()
        phases = [
            ("start and load", stage.loaded_at - began),
            ("rest", time.monotonic() - stage.loaded_at),
        ]
        began = time.monotonic()
        _tell("reading the topics back")
        history = read_history(broker.bootstrap_servers, names)
    phases.append(("read", time.monotonic() - began))
    began = time.monotonic()
    report = judge(history, journeys, acknowledged=load.acknowledged)
    phases.append(("judge", time.monotonic() - began))
    document = {
        "seed": seed,
        "defect": defect,
        **report.as_json(),
        "load": dict(load.counts),
        "seconds": {name: round(seconds) for name, seconds in phases},
        "failpoints": dict(sorted(fleet.diary.hits.items())),
        "broker_deaths": faults.broker_deaths,
        "worker_exit_codes": {str(code): n for code, n in fleet.diary.exit_codes.items()},
        "diary": fleet.diary.entries,
    }
    return Outcome(seed, report, dict(fleet.diary.hits), document)


def _rage(stage: Stage) -> tuple[Load, Faults]:
    """Tell the story under faults, and wait until everything has come to rest."""
    seed, size, names = stage.seed, stage.size, stage.names
    fleet, watcher = stage.fleet, stage.watcher
    broker = stage.broker
    started, start_ms = time.monotonic() + 2, time.time_ns() // 1_000_000 + 2_000
    plan = tell(seed, size, start_ms, PARTITIONS)
    load = Load(broker.bootstrap_servers, names, plan)
    lanes = [f"{names.commands_prefix}{channel}" for channel in CHANNELS]
    lanes += [f"{lane}.promotional" for lane in lanes]
    senders = Senders(load, broker.bootstrap_servers, lanes, seed)
    faults = Faults(fleet, broker, names, seed, stage.reached)
    sending = threading.Thread(target=load.run, args=(started,))
    sending.start()
    senders.start()
    faults.start(stage.only)
    pausing = Pausing(stage.environment, script(seed, size), fleet.note)
    pausing.start(started)
    pauses = [
        (part * size.seconds + number * size.pause_seconds, size.pause_seconds)
        for number, part in enumerate(size.pauses)
    ]
    try:
        while sending.is_alive():
            at = time.monotonic() - started
            faults.in_pause(pausing=any(begin < at < begin + long for begin, long in pauses))
            _progress(load, plan, watcher)
            sending.join(2)
    finally:
        faults.stop()
        pausing.finish()
    stage.loaded_at = time.monotonic()
    try:
        _rest(fleet, load, plan, watcher)
    finally:
        senders.stop()
    return load, faults


def _rest(fleet: Fleet, load: Load, plan: list[Any], watcher: Pulse) -> None:
    deadline = time.monotonic() + REST_SECONDS_MAX
    while time.monotonic() < deadline:
        if watcher.is_quiet() and any(fleet.ready(slot) for slot in fleet.slots):
            return
        _progress(load, plan, watcher)
        time.sleep(2)
    _tell("no rest within the time given; judging what there is")


def _progress(load: Load, plan: list[Any], watcher: Pulse) -> None:
    _tell(
        f"   sent {load.counts['sent']:,} of {len(plan):,}, reports {load.counts['reports']:,}, "
        f"decided {watcher.lines:,}, waiting {watcher.waiting():,}"
    )


def _environment(bootstrap_servers: str, names: Names, journeys: Path) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "ORCHESTRATOR_BOOTSTRAP_SERVERS": bootstrap_servers,
        "ORCHESTRATOR_TOPIC_PREFIX": names.prefix,
        "ORCHESTRATOR_APP_ID": names.app_id,
        "ORCHESTRATOR_PARTITIONS": str(names.partitions),
        "ORCHESTRATOR_INPUT_TOPICS": ",".join(names.inputs),
        "ORCHESTRATOR_JOURNEYS": str(journeys),
        "ORCHESTRATOR_METRICS_PORT": "0",
        "ORCHESTRATOR_LOG_FORMAT": "json",
    }


def _create_topics(bootstrap_servers: str, names: Names, environment: dict[str, str]) -> None:
    """Create the stores' topic as another team would, and all others by the orchestrator's verb."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    _, stores = names.input_topics
    for made in admin.create_topics([NewTopic(stores, STORE_PARTITIONS, 1)]).values():
        made.result(30)
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "topics"],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
    )
    # 1 is drift: the stores' topic has settings of its own.
    if done.returncode not in {0, 1}:
        raise SystemExit(f"orchestrator topics: {done.stdout}{done.stderr}")


def _wait_until_ready(fleet: Fleet) -> None:
    deadline = time.monotonic() + 90
    while not all(fleet.ready(slot) for slot in fleet.slots):
        if time.monotonic() > deadline:
            said = fleet.said(fleet.slots[0])[-2_000:].decode(errors="replace")
            raise SystemExit(f"the workers do not get ready; the last one says:\n{said}")
        time.sleep(0.3)


def _tell(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Run the seeds that the command line names."""
    options = _options()
    size = SMALL if options.small else Size()
    if options.defect:
        size = DEFECTS[options.defect].size
    partial = bool(options.defect or options.small or options.fault)
    series = Series(options, Path(tempfile.mkdtemp(prefix="orchestrator-crash-")))
    seeds = options.seed or SEEDS[: 1 if options.defect or options.small else None]
    for seed in seeds:
        series.run(seed, size, options.fault)
    if not partial and len(seeds) >= len(SEEDS) and series.missed():
        # A slow machine does fewer faults in the time of a load; what is left gets its own.
        series.run(max(seeds) + 1, MORE, series.missed())
    missed = [] if partial else series.missed()
    if missed:
        _tell(f"never reached: {', '.join(missed)}")
    _tell(f"report: {options.report}")
    failed = series.failed
    if options.defect:
        _tell(f"{options.defect}: {'caught' if failed else 'NOT CAUGHT'}")
        failed = not failed
    if failed:
        _tell(f"worker and broker logs: {series.folder}")
    else:
        shutil.rmtree(series.folder, ignore_errors=True)
    raise SystemExit(1 if failed or missed else 0)


class Series:
    """The seeds of one command, and what they showed together."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.folder = folder
        self.failed = False
        self._options = options
        self._hits: set[str] = set()
        self._documents: list[dict[str, Any]] = []

    def run(self, seed: int, size: Size, only: Sequence[str] | None) -> None:
        """Run one seed, and write the report as far as it goes."""
        _tell(f"seed {seed}: {size.events:,} events, {size.customers:,} customers")
        place = self.folder / f"seed-{seed}"
        place.mkdir()
        outcome = run_seed(seed, size, place, self._options, only, reached=self._hits)
        self._hits |= outcome.hits.keys()
        self._documents.append(outcome.document)
        for violation in outcome.report.violations[:20]:
            _tell(f"  {violation.kind}: {violation.what} {violation.place or ''}")
        _tell(f"seed {seed}: {outcome.report.summary()}")
        self.failed = self.failed or bool(outcome.report.violations)
        text = json.dumps(self._documents, indent=1)
        Path(self._options.report).write_text(text, encoding="utf-8")
        if not outcome.document["load"].get("aborted"):
            raise SystemExit(f"the load was not what it should be: {outcome.document['load']}")

    def missed(self) -> list[str]:
        """Return the placed faults that were not reached yet."""
        return sorted(set(PLACED) - self._hits)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.crash", description=__doc__)
    parser.add_argument(
        "--seed", type=int, action="append", help="may be given several times; default 1, 2, 3"
    )
    parser.add_argument("--workers", type=int, help="default 3, with a defect 2")
    parser.add_argument("--small", action="store_true", help="a short run for a quick look")
    parser.add_argument("--fault", action="append", choices=NAMED, help="only these, repeated")
    parser.add_argument("--defect", choices=sorted(DEFECTS), help="plant this bug in the workers")
    parser.add_argument("--report", default="crash-report.json", help="where the report goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
