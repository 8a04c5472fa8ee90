"""Order confirmations beside a time table that enrolls 200,000 customers.

One worker, one `orchestrator sender`, and a provider that takes 50 calls a second, all of them
processes of their own. Purchases come at one rate all the time: first alone, then while the time
table goes through everybody, then while the letters stand in front of the provider. What is
measured begins when a purchase was meant to be sent.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click
import orjson

from bench.events import Workload, customer_id, intended_ns
from bench.load import Load, LoadReport, generate
from bench.measure import DRAIN_SECONDS, SPAWN, collector
from bench.reader import JOURNEY, Collected, Sample, histogram, percentiles
from bench.report import RESULTS, described, environment
from bench.senders.provider import Call, Provider, provider
from bench.shop import LETTERS, announce, await_last_letter, fill, small_shop
from bench.systems import SENDER, Deployment, await_ready, running
from bench.topics import read_topic

PROVIDER_PER_SECOND = 50.0
ANSWER_SECONDS = 0.05
IN_FLIGHT = 16
WARM_UP_SECONDS = 20.0
RATIO_MAX = 2.0
SAMPLES_MIN = 1_000
# Whoever is not called by then is missing.
CALLS_SECONDS_MAX = 60.0
_FILES = {"channels.yaml": "email: {kind: message, partitions: 8}\n"}
# It does not end with its letter: who buys is still inside, so a purchase has to recall and fence.
_MORE_STEPS = """\
  - id: later
    wait: 2d
  - id: reminder
    send: {channel: email, template: letter_again}
"""


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    customers: int
    visits_per_second: int
    purchases_per_second: float
    start_seconds: float
    """For a worker that reads everybody back, and a sender that joins its groups."""
    alone_seconds: float
    together_seconds: float


FULL = Plan(200_000, 3_000, 20.0, 45.0, 120.0, 240.0)
QUICK = Plan(60_000, 3_000, 20.0, 20.0, 20.0, 60.0)


@dataclass(frozen=True)
class Seen:
    """What one run left: events as sent, commands as visible, calls as the provider took them."""

    load: LoadReport
    collected: Collected
    calls: list[Call]
    refused: int
    letters: int
    left_out: int
    """Customers without a letter who bought nothing meanwhile; a purchase forgoes it."""
    began_ns: int
    """When the table's time came, CLOCK_MONOTONIC."""
    ended_ns: int
    """When the last letter was decided."""


@dataclass(frozen=True)
class Phase:
    """One part of a run: the waits of its purchases in milliseconds, and what else went out."""

    name: str
    seconds: float
    purchases: int
    visible: dict[str, float]
    delivered: dict[str, float]
    letters: int


@dataclass(frozen=True)
class Verdict:
    """What a run showed."""

    phases: list[Phase]
    missing: int
    doubled: int

    def ratio(self, what: str) -> float:
        """Return the worst p99 beside the fan-out over the one without it."""
        alone, *together = (getattr(phase, what)["p99"] for phase in self.phases)
        return max(together) / alone


@click.command()
@click.option("--quick", is_flag=True, help="A part of it, to see that it works; keeps nothing.")
@click.option("--rate", type=int, help="Visits a second that the time table declares.")
def fanout(*, quick: bool, rate: int | None) -> None:
    """200,000 enrollments beside purchases: p99 of order confirmations as delivered."""
    plan = QUICK if quick else FULL
    if rate is not None:
        plan = Plan(**{**vars(plan), "visits_per_second": rate})
    where = environment(embedded=True)
    seen = run(plan)
    verdict = judge(seen)
    page = "\n".join(_lines(plan, seen, verdict, where))
    click.echo(page)
    if quick:
        click.echo("a quick run: nothing was kept")
    else:
        (RESULTS / "fanout.md").write_text(page, "utf-8")
    broken = verdict.missing or verdict.doubled or seen.left_out or not seen.load.valid
    raise SystemExit(1 if broken or verdict.ratio("delivered") > RATIO_MAX else 0)


def run(plan: Plan) -> Seen:
    """Bring customers into state, then let purchases meet the time table."""
    with ExitStack() as stack:
        deployment = stack.enter_context(small_shop("fanout-", _FILES, mode="live"))
        fill(deployment, plan.customers)
        at = _next_minute(plan.start_seconds + WARM_UP_SECONDS + plan.alone_seconds)
        announce(deployment, at, plan.visits_per_second, _MORE_STEPS)
        return _together(stack, plan, deployment, at)


def _next_minute(seconds: float) -> datetime:
    """Return the first full minute that is at least so far away."""
    least = datetime.now(UTC) + timedelta(seconds=seconds)
    return least.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _together(stack: ExitStack, plan: Plan, deployment: Deployment, at: datetime) -> Seen:
    logs = RESULTS / "logs"
    worker = stack.enter_context(running("ours", deployment, logs / "fanout-worker.log"))
    await_ready(worker, deployment, seconds_max=plan.start_seconds)
    takes = stack.enter_context(
        provider(answer_seconds=ANSWER_SECONDS, per_second=PROVIDER_PER_SECOND)
    )
    command = (*SENDER, "email", "--to", takes.url, "--in-flight", str(IN_FLIGHT))
    command += ("--per-second", f"{PROVIDER_PER_SECOND:g}")
    log = logs / "fanout-sender.log"
    sender = stack.enter_context(running("sender", deployment, log, command=command))
    _until(lambda: takes.count() >= deployment.partitions, 30, "the sender is not ready")
    began_ns = _monotonic_ns(at)
    to_begin = (began_ns - time.monotonic_ns()) / 1e9
    if to_begin < WARM_UP_SECONDS + plan.alone_seconds / 2:
        raise RuntimeError(f"the start took too long: the table's time comes in {to_begin:.0f} s")
    load = Load(
        deployment.bootstrap_servers,
        deployment.input_topic,
        plan.purchases_per_second,
        to_begin + plan.together_seconds,
        0.0,
        Workload(customers=plan.customers, mix="purchases"),
    )
    with collector(deployment) as pipe, ProcessPoolExecutor(1, SPAWN) as generator:
        click.echo(f"purchases; the table's time comes in {to_begin:.0f} s")
        report = generator.submit(generate, load).result()
        pipe.send((report.purchases, DRAIN_SECONDS))
        if not pipe.poll(DRAIN_SECONDS + 60):
            raise RuntimeError("the collector did not report")
        collected = pipe.recv()
    for process in (worker, sender):
        if not process.alive():
            raise RuntimeError(f"{process.name} has ended:\n{process.tail()}")
    calls, refused = _calls(takes, report.purchases + deployment.partitions)
    await_last_letter(deployment)
    addressed, last = _letters(deployment)
    bought = {call.customer for call in calls if call.journey == JOURNEY}
    everybody = {customer_id(number) for number in range(plan.customers)}
    left_out = len(everybody - addressed - bought)
    ended_ns = _monotonic_ns(last)
    return Seen(report, collected, calls, refused, len(addressed), left_out, began_ns, ended_ns)


def _calls(takes: Provider, confirmations: int) -> tuple[list[Call], int]:
    """Return what the provider took, once all confirmations may be there."""
    deadline = time.monotonic() + CALLS_SECONDS_MAX
    while True:
        calls, refused = takes.calls()
        found = len({call.cause for call in calls if call.journey == JOURNEY})
        if found >= confirmations or time.monotonic() > deadline:
            return calls, refused
        time.sleep(0.5)


def _monotonic_ns(at: datetime) -> int:
    return time.monotonic_ns() + int(at.timestamp() * 1e9) - time.time_ns()


def _letters(deployment: Deployment) -> tuple[set[str], datetime]:
    """Return who has a letter, and when the last one was decided."""
    client = {"bootstrap.servers": deployment.bootstrap_servers}
    addressed, last = set(), ""
    for key, value, _ in read_topic(client, deployment.prefix + LETTERS):
        command = orjson.loads(value or b"{}")
        if command.get("type") == "message.send":
            addressed.add(key.decode())
            last = max(last, command["time"])
    return addressed, datetime.fromisoformat(last)


def _until(true, seconds_max: float, what: str) -> None:
    deadline = time.monotonic() + seconds_max
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} after {seconds_max:g} s")
        time.sleep(0.2)


def judge(seen: Seen) -> Verdict:
    """Sort purchases by when they were meant to be sent, and say what they waited for."""
    delivered: dict[str, Sample] = {}
    doubled = 0
    for call in seen.calls:
        sent_ns = intended_ns(call.cause)
        if call.journey == JOURNEY and sent_ns is not None:
            doubled += call.cause in delivered
            delivered.setdefault(call.cause, (sent_ns, call.came_ns))
    first_ns = seen.load.measure_from_ns
    warm_ns = first_ns + int(WARM_UP_SECONDS * 1e9)
    bounds = [warm_ns, seen.began_ns, min(seen.ended_ns, seen.load.last_ns), seen.load.last_ns + 1]
    names = ["purchases alone", "while the table enrolls", "while the provider works it off"]
    phases = []
    for name, start, end in zip(names, bounds, bounds[1:], strict=False):
        visible = [one for one in seen.collected.samples if start <= one[0] < end]
        calls = [one for one in delivered.values() if start <= one[0] < end]
        if not calls or not visible:
            continue
        letters = sum(
            call.command_class == "promotional" and start <= call.came_ns < end
            for call in seen.calls
        )
        phases.append(
            Phase(
                name,
                (end - start) / 1e9,
                len(calls),
                percentiles(histogram(visible)),
                percentiles(histogram(calls)),
                letters,
            )
        )
    of_load = [one for one in delivered.values() if one[0] >= first_ns]
    # A purchase that is not visible is not delivered either.
    return Verdict(phases, seen.load.purchases - len(of_load), doubled)


def _lines(plan: Plan, seen: Seen, verdict: Verdict, where: dict) -> list[str]:
    levels = ("p50", "p99", "max")
    lines = [
        "# Order confirmations beside a fan-out",
        "",
        "`python -m bench.senders fanout`; one run, embedded Kafka, loopback.",
        "",
        (
            f"{plan.customers:,} customers; the time table declares {plan.visits_per_second:,} a "
            f"second; {plan.purchases_per_second:g} purchases a second all the time; one worker, "
            f"one sender ({IN_FLIGHT} calls at one time) before a provider that takes "
            f"{PROVIDER_PER_SECOND:g} calls a second and answers after "
            f"{1000 * ANSWER_SECONDS:.0f} ms."
        ),
        "",
        (
            "| | seconds | purchases | visible ms p50 | p99 | max | delivered ms p50 | p99 | max "
            "| letters delivered |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for phase in verdict.phases:
        waits = (phase.visible, phase.delivered)
        figures = [f"{one[level]:.1f}" for one in waits for level in levels]
        lines.append(
            f"| {phase.name} | {phase.seconds:.0f} | {phase.purchases:,} | {' | '.join(figures)} "
            f"| {phase.letters:,} |"
        )
    enrolled = (seen.ended_ns - seen.began_ns) / 1e9
    few = [phase.name for phase in verdict.phases if phase.purchases < SAMPLES_MIN]
    lines += [
        "",
        (
            f"- delivered, p99 with the fan-out: **{verdict.ratio('delivered'):.2f} x** of that "
            f"without (goal: at most {RATIO_MAX:g})"
        ),
        f"- visible, p99 with the fan-out: **{verdict.ratio('visible'):.2f} x** of that without",
        (
            f"- {seen.letters:,} customers were enrolled in {enrolled:.0f} s, "
            f"{seen.letters / enrolled:,.0f} a second; without a letter although they bought "
            f"nothing: {seen.left_out}"
        ),
        (
            f"- order confirmations missing: {verdict.missing}, delivered twice: "
            f"{verdict.doubled}; calls over the provider's rate: {seen.refused}"
        ),
        f"- the generator's lateness, p99: {seen.load.late_p99_ms:.2f} ms"
        + ("" if seen.load.valid else " VOID"),
    ]
    if few:
        lines.append(f"- fewer than {SAMPLES_MIN:,} purchases: {', '.join(few)}")
    lines += [
        "",
        (
            "Both waits begin at the instant at which the purchase was meant to be sent. Visible "
            "is when a `read_committed` consumer of another process holds its confirmation, "
            "delivered when the provider's server gets the call. Who buys between the time of the "
            "table and their turn is not enrolled any more."
        ),
        "",
        f"Where: {described(where)}",
        "",
    ]
    return lines
