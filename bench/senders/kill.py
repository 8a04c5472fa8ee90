"""How long a promotion still goes out after somebody has told `pause --kill`.

A worker emits on two channels, two senders deliver to a slow provider with a queue before them,
and the command line kills and resumes one scope after the other. Every call that the provider gets
is held against the record on `control`: not against its acknowledgement, which comes later, but
against the instant at which it was made.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from bench.load import producer_config
from bench.reader import consumer_config
from bench.report import RESULTS, described, environment
from bench.senders.provider import Call, Provider, provider
from bench.shop import small_shop
from bench.systems import ROOT, SENDER, Deployment, Running, await_ready, running
from bench.topics import decoded, read_topic

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER_SECONDS = 0.1
LATE_MS_MAX = 1_000.0
IN_FLIGHT = 16
# The flow is a little less than a sender may hand over; the burst before a kill queues.
VIEWS_PER_SECOND = 50.0
BURST = 240
PER_SECOND = {"email": 50.0, "sms": 25.0}
FLOW_SECONDS = 1.5
QUIET_SECONDS = 2.0
ROUNDS = 6
SCOPES = (("global", ""), ("journey", "tents"), ("channel", "sms"), ("offer", "tents10"))
CATEGORIES = ("tents", "boots", "packs")
_JOURNEY = """\
name: %(name)s
version: 1
owner: crm@shop.example
kind: promotional
stage: consideration
entry: {on: product.viewed, when: event.data.category == "%(name)s"}
exits:
  - on: purchase
steps:
  - id: tell
    send: {channel: %(channel)s, template: %(name)s%(offer)s}
"""
_FILES = {
    "channels.yaml": (
        "email: {kind: message, needs_consent: false}\nsms: {kind: message, needs_consent: false}\n"
    ),
    "offers.yaml": """\
tents10:
  owner: crm@shop.example
  text: {en: 10 % off tents}
  gives: {percent_off: 10}
  valid_for: 30d
  channels: [email]
""",
    "tents.yaml": _JOURNEY % {"name": "tents", "channel": "email", "offer": ", offer: tents10"},
    "boots.yaml": _JOURNEY % {"name": "boots", "channel": "email", "offer": ""},
    "packs.yaml": _JOURNEY % {"name": "packs", "channel": "sms", "offer": ""},
}


@dataclass(frozen=True, slots=True)
class Told:
    """One record of `control`."""

    scope: str
    kill: bool
    at_ms: int


@dataclass(frozen=True)
class Seen:
    """What one run left on the topics and at the provider."""

    told: list[Told]
    calls: list[Call]
    emitted: list[tuple[int, dict[str, Any]]]
    """Commands: when they were decided, wall clock, and their data."""
    killed: int
    """How many the senders reported as dropped by a kill."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One kill and the resume after it; milliseconds since the record, None when there was none."""

    scope: str
    flowed: int
    """Hand-overs of the scope in the second before."""
    late: int
    """Hand-overs of the scope that began after the record."""
    last_ms: float
    emitted_ms: float
    """The last command that the worker emitted for the scope."""
    others: int
    """Hand-overs of everything else until the resume."""
    back_ms: float | None

    @property
    def holds(self) -> bool:
        """Whether something flowed, it ended in time, the rest went on, and it came back."""
        return (
            self.flowed > 0
            and self.last_ms <= LATE_MS_MAX
            and self.others > 0
            and self.back_ms is not None
        )


@click.command()
@click.option("--quick", is_flag=True, help="One round, to see that it works; keeps nothing.")
@click.option("--rounds", default=ROUNDS, show_default=True, help="Kills of each scope.")
def kill(*, quick: bool, rounds: int) -> None:
    """Kill promotions that flow, and time the last one that is handed over."""
    where = environment(embedded=True)
    seen = run(1 if quick else rounds)
    stops = judge(seen)
    page = "\n".join(_lines(seen, stops, where))
    click.echo(page)
    if quick:
        click.echo("a quick run: nothing was kept")
    else:
        (RESULTS / "kill.md").write_text(page, "utf-8")
    raise SystemExit(0 if stops and all(stop.holds for stop in stops) else 1)


def run(rounds: int) -> Seen:
    """Let promotions flow, and kill and resume each scope so many times."""
    with ExitStack() as stack:
        deployment = stack.enter_context(small_shop("kill-", _FILES, mode="live"))
        logs = RESULTS / "logs"
        worker = stack.enter_context(running("ours", deployment, logs / "kill-worker.log"))
        await_ready(worker, deployment)
        takes = stack.enter_context(provider(answer_seconds=ANSWER_SECONDS))
        processes = [worker, *(_sender(stack, deployment, takes, one) for one in PER_SECOND)]
        flow = stack.enter_context(_flowing(deployment))
        _until_flowing(takes, processes)
        for number in range(rounds):
            for scope in SCOPES:
                _kill_and_resume(deployment, flow, scope)
                click.echo(f"  round {number + 1} of {rounds}: {' '.join(scope)}")
                _check_alive(processes)
        time.sleep(QUIET_SECONDS)
        return _seen(deployment, takes)


def _sender(stack: ExitStack, deployment: Deployment, takes: Provider, channel: str) -> Running:
    command = (*SENDER, channel, "--to", takes.url, "--in-flight", str(IN_FLIGHT))
    command += ("--per-second", f"{PER_SECOND[channel]:g}")
    log = RESULTS / f"logs/kill-{channel}.log"
    return stack.enter_context(running(f"sender {channel}", deployment, log, command=command))


def _check_alive(processes: list[Running]) -> None:
    for process in processes:
        if not process.alive():
            raise RuntimeError(f"{process.name} has ended:\n{process.tail()}")


def _until_flowing(takes: Provider, processes: list[Running]) -> None:
    deadline = time.monotonic() + 60
    while {call.channel for call in takes.calls()[0]} != PER_SECOND.keys():
        _check_alive(processes)
        if time.monotonic() > deadline:
            raise RuntimeError("nothing flows after 60 s")
        time.sleep(0.5)


class _Flow:
    """Sends views of new customers, and now and then a purchase, until it is stopped."""

    def __init__(self, deployment: Deployment) -> None:
        self._topic = deployment.input_topic
        self._producer = Producer(producer_config(deployment.bootstrap_servers))
        self._numbers = count()
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def run(self) -> None:
        at = time.monotonic()
        while not self.stopped.wait(max(0.0, at - time.monotonic())):
            self.send(1)
            at += 1 / VIEWS_PER_SECOND

    def send(self, events: int) -> None:
        with self._lock:
            for _ in range(events):
                number = next(self._numbers)
                customer = f"visitor-{number}"
                self._producer.produce(self._topic, key=customer, value=_event(number, customer))
            self._producer.poll(0)


def _event(number: int, customer: str) -> bytes:
    if number % 10 == 9:
        item = {"sku": "tent-2", "quantity": 1, "price": "129.00"}
        data = {"order_id": f"o-{number}", "total": "129.00", "currency": "EUR", "items": [item]}
    else:
        data = {"sku": f"sku-{number}", "category": CATEGORIES[number % len(CATEGORIES)]}
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": f"v-{number}",
            "source": "/bench",
            "type": "purchase" if "order_id" in data else "product.viewed",
            "subject": customer,
            "time": datetime.now(UTC),
            "data": data,
        }
    )


@contextmanager
def _flowing(deployment: Deployment) -> Iterator[_Flow]:
    flow = _Flow(deployment)
    thread = threading.Thread(target=flow.run)
    thread.start()
    try:
        yield flow
    finally:
        flow.stopped.set()
        thread.join()


def _kill_and_resume(deployment: Deployment, flow: _Flow, scope: tuple[str, str]) -> None:
    flow.send(BURST)
    time.sleep(FLOW_SECONDS)
    _tell(deployment, "pause", *scope, "--kill")
    time.sleep(QUIET_SECONDS)
    _tell(deployment, "resume", *scope)
    time.sleep(QUIET_SECONDS)


def _tell(deployment: Deployment, *words: str) -> None:
    said = (*(word for word in words if word), "--reason", "a trial", "--by", "the bench")
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *said],
        env=deployment.environment,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(said)}: {done.stderr}")


def _seen(deployment: Deployment, takes: Provider) -> Seen:
    client = {"bootstrap.servers": deployment.bootstrap_servers}
    emitted = []
    for channel in PER_SECOND:
        topic = f"{deployment.prefix}commands.{channel}.promotional"
        for _, value, _ in read_topic(client, topic):
            command = decoded(value)
            if command["type"] == "message.send":
                at_ms = 1000 * datetime.fromisoformat(command["time"]).timestamp()
                emitted.append((round(at_ms), command["data"]))
    events = (decoded(value) for _, value, _ in read_topic(client, deployment.input_topic))
    killed = sum(event["data"].get("reason") == "killed" for event in events)
    return Seen(_told(deployment), takes.calls()[0], emitted, killed)


def _told(deployment: Deployment) -> list[Told]:
    """Return what was told on `control`, with the time at which each record was made."""
    consumer = Consumer(
        consumer_config(deployment.bootstrap_servers, "watcher") | {"enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(f"{deployment.prefix}control", 0, 0)])
    told = []
    while (message := consumer.poll(10)) is not None and not message.error():
        control = orjson.loads(message.value())
        told.append(Told(control["scope"], control["paused"], message.timestamp()[1]))
    consumer.close()
    return told


def judge(seen: Seen) -> list[Stop]:
    """Hold every call against the kill and the resume around it."""
    stops = []
    for one, end in zip(seen.told, seen.told[1:], strict=False):
        if not one.kill:
            continue
        meant = [c.came_ms - one.at_ms for c in seen.calls if _concerns(one.scope, data_of(c))]
        others = [c.came_ms - one.at_ms for c in seen.calls if not _concerns(one.scope, data_of(c))]
        emitted = [at - one.at_ms for at, data in seen.emitted if _concerns(one.scope, data)]
        length = end.at_ms - one.at_ms
        late = [ms for ms in meant if 0 < ms <= length]
        stops.append(
            Stop(
                scope=one.scope,
                flowed=sum(-1000 <= ms <= 0 for ms in meant),
                late=len(late),
                last_ms=max(late, default=0),
                emitted_ms=max((ms for ms in emitted if 0 < ms <= length), default=0),
                others=sum(0 < ms <= length for ms in others),
                back_ms=min((ms - length for ms in meant if ms > length), default=None),
            )
        )
    return stops


def data_of(call: Call) -> dict[str, Any]:
    """Return what a call was about, as a command says it."""
    return {
        "class": call.command_class,
        "journey": call.journey,
        "channel": call.channel,
        "offer": call.offer,
    }


def _concerns(scope: str, data: dict[str, Any]) -> bool:
    """Whether a scope means a promotional command."""
    kind, _, name = scope.partition("/")
    return data["class"] == "promotional" and (kind == "global" or data[kind] == name)


def _lines(seen: Seen, stops: list[Stop], where: dict[str, Any]) -> list[str]:
    lines = [
        "# Promotions killed while they flow",
        "",
        "`python -m bench.senders kill`; one run, embedded Kafka, loopback.",
        "",
        (
            f"{VIEWS_PER_SECOND:g} events a second and {BURST} at once before each kill; one "
            f"worker, two senders of {IN_FLIGHT} calls at one time, a provider that answers after "
            f"{1000 * ANSWER_SECONDS:.0f} ms. Each kill and resume by `orchestrator pause|resume`."
        ),
        "",
        (
            "| scope | kills | hand-overs begun after the record | the last one, ms p50 | max "
            "| last command of the worker, ms p50 | max | first hand-over after the resume, ms p50 "
            "| max |"
        ),
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, name in (*SCOPES, ("all", "")):
        scope = f"{kind}/{name}" if name else kind
        rows = [stop for stop in stops if scope in ("all", stop.scope)]
        if not rows:
            continue
        back = [stop.back_ms for stop in rows if stop.back_ms is not None]
        figures = [[stop.last_ms for stop in rows], [stop.emitted_ms for stop in rows], back or [0]]
        cells = " | ".join(f"{median(one):.0f} | {max(one):.0f}" for one in figures)
        late = sum(stop.late for stop in rows)
        lines.append(f"| {scope} | {len(rows)} | {late} | {cells} |")
    broken = [stop.scope for stop in stops if not stop.holds]
    lines += [
        "",
        (
            "Milliseconds since the record on `control` was made, which is before its "
            f"acknowledgement; goal: at most {LATE_MS_MAX:g}, and then the "
            f"{1000 * ANSWER_SECONDS:.0f} of the call. 0 is none after the record. The first "
            "hand-over after a resume is of a new message, which queues behind what the other "
            "journeys have waiting."
        ),
        "",
        f"- {len(seen.calls):,} hand-overs in all, {seen.killed:,} commands dropped as `killed`",
        (
            f"- in the second before a kill at least {min(s.flowed for s in stops)} of its scope "
            f"were handed over; until its resume at least {min(s.others for s in stops)} of the "
            "others"
        ),
        f"- kills that do not hold: {', '.join(broken) or 'none'}",
        "",
        f"Where: {described(where)}",
        "",
    ]
    return lines
