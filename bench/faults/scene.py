"""A small deployment under a steady load: topics, workers, producers, senders; then the judge.

The story is that of the crash run (`bench.crash.plan`), shorter and without its pauses, and so are
the journeys, but for what needs whole minutes of the clock: the quiet hours lie half a day away,
and the journey for the best hour is left out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from confluent_kafka.admin import AdminClient, NewTopic

from bench.crash.fleet import Fleet
from bench.crash.furnish import furnish
from bench.crash.judge.checker import judge
from bench.crash.judge.history import Names, read_history
from bench.crash.load import Load, Senders
from bench.crash.plan import STORE_PARTITIONS, Size, tell
from bench.crash.pulse import Pulse
from bench.faults.case import OutOfTime, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.crash.fleet import Slot
    from bench.crash.judge.history import History
    from bench.crash.judge.records import Violation
    from bench.crash.plan import Planned
    from bench.faults.case import Case

PARTITIONS: Final = 8
CHANNELS: Final = ("email", "sms", "push", "web", "ads", "callcenter")
STEADY: Final = Size(events=2_700, customers=400, rate=60, pauses=())
"""45 seconds of it; stories begin in the first half of that time."""
LONELY: Final = {"controlled.shutdown.enable": "false"}
"""For the only broker of a cluster, as in the crash run."""
WORKER: Final = (sys.executable, "-m", "bench.faults.worker")
ROOT: Final = Path(__file__).parents[2]
HALF_A_DAY_MS: Final = 12 * 3_600_000
SEED: Final = 7
QUIET_SECONDS: Final = 4.0


class Scene:
    """Everything that takes part in one row. A context manager: processes end with it."""

    def __init__(
        self,
        case: Case,
        bootstrap_servers: str,
        *,
        workers: int = 2,
        size: Size = STEADY,
        settings: Mapping[str, str] | None = None,
        copies: int = 1,
    ) -> None:
        """Take `settings` as environment variables besides those of every scene."""
        self.case = case
        self.size = size
        self.bootstrap_servers = bootstrap_servers
        self.names = Names("f.", "faults", PARTITIONS, ("touchpoints", "stores"))
        start_ms = time.time_ns() // 1_000_000
        self.journeys = furnish(case.folder / "journeys", start_ms + HALF_A_DAY_MS)
        (self.journeys / "good_hour.yaml").unlink()
        self.roles = case.folder / "roles"
        self.roles.mkdir()
        self.environment = self._environment() | dict(settings or {})
        self._copies = copies
        self.fleet = Fleet(
            case.folder, self.environment, workers, command=WORKER, tell=self._tell_of_worker
        )
        self.load: Load | None = None
        self.pulse: Pulse | None = None
        self.history: History | None = None
        self.began = 0.0
        """The monotonic instant at which the load began."""
        self.ended_in_load = 0
        """How many processes of workers had ended when everything was at rest."""
        self._admin: AdminClient | None = None
        self._senders: Senders | None = None
        self._sending: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._senders is not None:
            self._senders.stop()
        if self.pulse is not None:
            self.pulse.stop()
        if self.fleet.slots[0].log is not None:
            self.fleet.close()
            for _, who, what in self.fleet.diary.entries:
                if "did not stop" in what:
                    self.case.found(f"{who} {what}")

    # -- Before and while ---------------------------------------------------------------------

    def create_topics(self) -> None:
        """Create the stores' topic as another team would, and all others by our own verb."""
        admin = self.admin()
        _, stores = self.names.input_topics
        for made in admin.create_topics(
            [NewTopic(stores, STORE_PARTITIONS, self._copies)]
        ).values():
            made.result(30)
        done = self.orchestrator("topics")
        # 1 is drift: the stores' topic has settings of its own.
        if done.returncode not in {0, 1}:
            raise RuntimeError(f"orchestrator topics: {done.stdout}{done.stderr}")

    def start_workers(self) -> None:
        """Start them all, and wait until they are ready."""
        self.fleet.start()
        self.wait_ready()

    def wait_ready(self, seconds: float = 60.0) -> float:
        """Wait until every worker has taken over its partitions; return how long that took."""

        def ready() -> bool:
            return all(self.fleet.ready(slot) for slot in self.fleet.slots)

        return self.case.wait("all workers to be ready", ready, seconds)

    def start_load(
        self,
        *,
        channels: Sequence[str] = CHANNELS,
        change: Callable[[list[Planned]], list[Planned]] = list,
    ) -> None:
        """Let the story begin; `change` may change what is told."""
        self.pulse = Pulse(self.bootstrap_servers, self.names, quiet_seconds=QUIET_SECONDS)
        self.began = self.case.loading = time.monotonic() + 1
        plan = tell(SEED, self.size, time.time_ns() // 1_000_000 + 1_000, PARTITIONS)
        self.load = Load(self.bootstrap_servers, self.names, change(plan))
        lanes = [f"{self.names.commands_prefix}{channel}" for channel in channels]
        lanes += [f"{lane}.promotional" for lane in lanes]
        self._senders = Senders(self.load, self.bootstrap_servers, lanes, SEED)
        self._sending = threading.Thread(target=self.load.run, args=(self.began,), daemon=True)
        self._sending.start()
        self._senders.start()

    def begin(self) -> None:
        """Do all of the above."""
        self.create_topics()
        self.start_workers()
        self.start_load()

    def at(self, seconds: float) -> None:
        """Wait until the load is so old."""
        self.case.pause(self.began + seconds - time.monotonic())

    def play(self, slot: Slot, role: Mapping[str, Any]) -> None:
        """Let the next process of a slot play a role."""
        path = self.roles / f"{slot.name}.json"
        path.write_text(json.dumps(role), encoding="utf-8")

    def restart(self, slot: Slot, number: signal.Signals = signal.SIGTERM, why: str = "") -> None:
        """End a slot's process; the supervisor starts the next one."""
        self.fleet.signal(slot, number, why or "to start again")

    def settle(self) -> None:
        """Wait until everything was sent, decided and waited for, or the row's time is over."""
        assert self.load is not None
        assert self.pulse is not None
        load, pulse = self.load, self.pulse

        def at_rest() -> bool:
            ready = any(self.fleet.ready(slot) for slot in self.fleet.slots)
            return load.over.is_set() and ready and pulse.is_quiet()

        try:
            self.case.wait("everything to come to rest", at_rest)
        except OutOfTime as error:
            sent = load.counts["sent"]
            self.case.found(
                f"no rest: {error}; sent {sent}, decided {pulse.lines}, waiting {pulse.waiting()}"
            )
        self.ended_in_load = sum(slot.deaths for slot in self.fleet.slots)
        self.end_load()

    def end_load(self) -> None:
        """Let the senders end; the producers end by themselves."""
        if self._senders is not None:
            self._senders.stop()
            self._senders = None

    # -- After --------------------------------------------------------------------------------

    def judge(
        self,
        *,
        excused: Callable[[Violation], bool] = lambda _: False,
        change: Callable[[History], History] = lambda history: history,
        **options: Any,
    ) -> None:
        """Read the topics back and judge them. `excused` violations are what the row asks for."""
        assert self.load is not None
        self.history = change(read_history(self.bootstrap_servers, self.names))
        report = judge(self.history, self.journeys, acknowledged=self.load.acknowledged, **options)
        for violation in report.violations:
            if not excused(violation):
                self.case.found(f"{violation.kind}: {violation.what}", violation.place)
        commands = sum(n for name, n in report.counts.items() if name.startswith("command "))
        waits = sorted(self.decided_after_ms())
        dead = sum(n for name, n in report.counts.items() if name.startswith("dead letter"))
        figures = {
            "consumed": report.counts["consumed"],
            "dead_letters": dead,
            "commands": commands,
            "waits_fired": report.counts["waits fired"],
            "violations": len(report.violations),
            "event_to_decision_ms": {
                "p50": percentile(waits, 0.5),
                "p99": percentile(waits, 0.99),
                "max": waits[-1],
            }
            if waits
            else None,
            "exit_codes": {str(code): n for code, n in self.fleet.diary.exit_codes.items()},
        }
        self.case.figures.update(figures)
        self.case.demand(
            "something was decided, so that something could be judged",
            holds=report.counts["consumed"] > 500 and commands > 200,
        )

    def decided_after_ms(self, customers: Callable[[str], bool] = lambda _: True) -> list[float]:
        """Return how long each event of these customers waited for its decision, on the topics.

        From the stamp of its record to that of its line in the journey log.
        """
        assert self.history is not None
        stamps = {
            record.place: record.timestamp_ms
            for topic in self.names.input_topics
            for record in self.history.of(topic)
        }
        found = []
        for record in self.history.of(self.names.journey_log):
            cause = json.loads(record.value or b"{}")["cause"]
            place = (cause.get("topic"), cause.get("partition"), cause.get("offset"))
            if place in stamps and customers((record.key or b"").decode()):
                found.append(float(record.timestamp_ms - stamps[place]))
        return found

    # -- Small things -------------------------------------------------------------------------

    def admin(self) -> AdminClient:
        """Return a client that may do everything; one for all, as its answers die with it."""
        if self._admin is None:
            options = {"bootstrap.servers": self.bootstrap_servers, "log_level": 0}
            self._admin = AdminClient(options)
        return self._admin

    def orchestrator(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of the command line against this deployment."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator", *arguments],
            env={**os.environ, **self.environment},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def log_of(self, slot: Slot) -> str:
        """Return all that the processes of a slot have written."""
        path = self.case.folder / f"{slot.name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def exits(self, code: int) -> int:
        """Return how many processes ended with this code."""
        return self.fleet.diary.exit_codes.get(code, 0)

    def _environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "FAULTS_ROLES": str(self.roles),
            "ORCHESTRATOR_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "ORCHESTRATOR_TOPIC_PREFIX": self.names.prefix,
            "ORCHESTRATOR_APP_ID": self.names.app_id,
            "ORCHESTRATOR_PARTITIONS": str(self.names.partitions),
            "ORCHESTRATOR_INPUT_TOPICS": ",".join(self.names.inputs),
            "ORCHESTRATOR_JOURNEYS": str(self.journeys),
            "ORCHESTRATOR_METRICS_PORT": "0",
            "ORCHESTRATOR_LOG_FORMAT": "json",
        }

    def _tell_of_worker(self, text: str) -> None:
        self.case.tell(text.strip())
