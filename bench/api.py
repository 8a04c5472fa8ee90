"""What the API can do beside a worker: `python -m bench.api`.

Staleness of the read model, next-best calls while events flow and what they cost purchases, the
wait for the owner's word on an offer, four who race for offers that contradict each other, and the
read model of a million customers. One broker, one worker and one API on one machine.

Nobody has to watch: each part has a bound in time, and one that fails is told in the table and
leaves the others alone. When 1,000 calls a second are not held, lower rates are tried until one is.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
import httpx
import orjson
import uvloop
from confluent_kafka import Producer
from hdrh.histogram import HdrHistogram

from bench import read_model
from bench.api_table import RATE, render
from bench.calls import Caller, Calls, held, load
from bench.events import Workload
from bench.load import Load, generate, producer_config
from bench.measure import SPAWN, measure
from bench.read_model import TOKEN, Process
from bench.reader import HIGHEST_US
from bench.report import RESULTS, Results, environment
from bench.run import Broker, broker
from bench.systems import (
    Deployment,
    Running,
    await_ready,
    cpu_seconds,
    running,
    send_population,
)
from bench.topics import decoded, read_topic

if TYPE_CHECKING:
    from collections.abc import Iterator

# Calls a second that are tried, one after the other, when the first is not held.
LOWER_RATES: Final = (750, 500, 250, 100)
# A part of the price each; who holds one is refused the others.
TABS: Final = (("welcome10", "web"), ("winter_sale", "web"))
AGENT: Final = ("come_back15", "callcenter")
RACES_AT_ONCE: Final = 16
RACE_SECONDS_MAX: Final = 900
READS: Final = 300


class Plan(NamedTuple):
    """How much of each."""

    seconds: float = 30.0
    warm_up_seconds: float = 10.0
    # The broker compiles itself meanwhile; without it the first run measures that.
    broker_warm_up_seconds: float = 30.0
    turns: int = 2
    customers: int = 10_000
    requests_a_second: float = 50.0
    races: int = 5_000
    known: int = 1_000_000


QUICK: Final = Plan(
    seconds=6.0,
    warm_up_seconds=3.0,
    broker_warm_up_seconds=3.0,
    turns=1,
    customers=2_000,
    races=200,
    known=20_000,
)


class World(NamedTuple):
    """A worker and an API that are ready."""

    plan: Plan
    target: Broker
    deployment: Deployment
    worker: Running
    api: Process

    @property
    def port(self) -> int:
        """Where the API listens."""
        return int(self.api.told("listening")["port"])


@contextmanager
def world(plan: Plan, target: Broker, results: Results) -> Iterator[World]:
    """Start everything; the population is known when this yields."""
    deployment = Deployment(target.bootstrap_servers, f"api-{results.token}-")
    deployment.create_topics()
    logs = results.logs
    try:
        with (
            running("ours", deployment, logs / f"{deployment.prefix}worker.log") as worker,
            TemporaryDirectory(prefix="api-") as folder,
        ):
            send_population(deployment, Workload(customers=plan.customers))
            await_ready(worker, deployment)
            api = Process(deployment, Path(folder), logs / f"{deployment.prefix}api.log")
            try:
                api.ready()
                yield World(plan, target, deployment, worker, api)
            finally:
                api.stop()
    finally:
        deployment.delete_topics()


def flow(world: World, calls: Calls | None = None) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Let events flow, and calls beside them; return what purchases and what calls waited."""
    plan = world.plan
    events = Load(
        world.deployment.bootstrap_servers,
        world.deployment.input_topic,
        RATE,
        plan.seconds,
        plan.warm_up_seconds,
        Workload(customers=plan.customers),
    )
    before = cpu_seconds(world.api.process.pid)
    with ProcessPoolExecutor(1, SPAWN) as other:
        answered = None if calls is None else other.submit(load, calls)
        row = measure(world.worker, world.deployment, events, broker_pid=world.target.pid)
        found = None if answered is None else answered.result()
    row["api_cpu_seconds"] = round(cpu_seconds(world.api.process.pid) - before, 2)
    return row, found


def warm_up(world: World) -> None:
    """Let events flow before anything is measured."""
    seconds = world.plan.broker_warm_up_seconds
    workload = Workload(customers=world.plan.customers, seed=99)
    events = Load(
        world.deployment.bootstrap_servers,
        world.deployment.input_topic,
        RATE,
        seconds,
        0.0,
        workload,
    )
    with ProcessPoolExecutor(1, SPAWN) as generator:
        generator.submit(generate, events).result()
    time.sleep(3)


def calls(world: World, kind: str, rate: float, seed: int) -> Calls:
    """Return calls that last as long as the load, its preparation included."""
    plan = world.plan
    lead = plan.warm_up_seconds + 3.0
    return Calls(world.port, TOKEN, kind, rate, plan.seconds, lead, plan.customers, seed=seed)


def staleness(world: World) -> dict[str, Any]:
    """Return the metric's distribution, and how long a write takes to be read."""
    url = f"http://127.0.0.1:{world.port}"
    waits = HdrHistogram(1, HIGHEST_US, 3)
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        for number in range(READS):
            said = {
                "userId": f"reads-{number}", "messageId": f"m-{number}", "traits": {"a": number},
            }  # fmt: skip
            receipt = client.post("/v1/identify", json=said).json()["receipt"]
            begun = time.perf_counter()
            found = client.get(f"/v1/customers/reads-{number}", params={"after": receipt})
            assert found.json()["attributes"]["a"]["value"] == number
            waits.record_value(round((time.perf_counter() - begun) * 1e6))
    return {"histogram_us": waits.encode().decode(), "calls": READS}


def fresh(world: World) -> dict[str, float]:
    """Return the cumulative counts of the staleness metric, by bound in seconds."""
    page = httpx.get(f"http://127.0.0.1:{world.api.metrics_port}/metrics").text
    found = {}
    for line in page.splitlines():
        if line.startswith("orchestrator_api_staleness_seconds_bucket"):
            bound = line.split('le="')[1].split('"')[0]
            found[bound] = float(line.rsplit(" ", 1)[1])
    return found


def bound_of(before: dict[str, float], after: dict[str, float], share: float) -> str:
    """Return the bound of the metric within which this share of the records was."""
    counts = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    total = counts.get("+Inf", 0)
    return next((bound for bound, count in counts.items() if count >= total * share), "+Inf")


def race(world: World) -> dict[str, Any]:
    """Let two tabs, an e-mail and an agent ask at once, for each of many customers; judge."""
    people = [f"race-{number}" for number in range(world.plan.races)]
    _make_known(world.deployment, people)
    answers = uvloop.run(_race(world, people))
    return judge(world.deployment, people, answers)


def judge(
    deployment: Deployment, people: list[str], answers: dict[str, list[tuple[int, dict[str, Any]]]]
) -> dict[str, Any]:
    """Count what was granted to each, by the topics and by the answers."""
    client = {"bootstrap.servers": deployment.bootstrap_servers}
    promised: dict[str, set[str]] = defaultdict(set)
    told: dict[str, set[str]] = defaultdict(set)
    for key, value, _ in read_topic(client, f"{deployment.prefix}journey-log"):
        for entry in decoded(value)["entries"]:
            if entry["kind"] in ("promised", "offer_granted"):
                promised[key.decode()].add(entry["offer"])
    for key, value, _ in read_topic(client, f"{deployment.prefix}commands.email.promotional"):
        offer = decoded(value)["data"].get("offer")
        if offer:
            told[key.decode()].add(offer)
    statuses, granted, two, untrue = Counter[int](), Counter[str](), 0, 0
    for one in people:
        shown = set()
        for status, answer in answers[one]:
            statuses[status] += 1
            if answer.get("granted"):
                shown.add(answer["offer"])
        two += len(promised[one] | told[one] | shown) > 1
        untrue += not (shown | told[one]) <= promised[one]
        granted.update(promised[one])
    return {
        "races": len(people),
        "answers": {str(status): count for status, count in sorted(statuses.items())},
        "granted": dict(sorted(granted.items())),
        "told_by_email": sum(bool(told[one]) for one in people),
        "nothing_granted": sum(not promised[one] for one in people),
        "two_granted": two,
        "shown_and_not_promised": untrue,
    }


async def _race(world: World, people: list[str]) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    caller = Caller(world.port, TOKEN)
    await caller.connect(RACES_AT_ONCE * 4)
    answers: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    chance, turn = random.Random(1), asyncio.Semaphore(RACES_AT_ONCE)

    async def ask(customer: str, offer: str, channel: str) -> tuple[int, dict[str, Any]]:
        path = f"/v1/customers/{customer}/offers/{offer}/request?wait=10"
        status, body = await caller.call("POST", path, {"channel": channel})
        return status, orjson.loads(body)

    async def mail(customer: str) -> None:
        event = _event("campaign.started", f"sale-{customer}", customer, campaign="winter_sale",
                       discount_text="up to 30 %")  # fmt: skip
        status, _ = await caller.call("POST", "/v1/events", event)
        assert status == 202

    async def one(customer: str) -> None:
        async with turn:
            askers = [ask(customer, *tab) for tab in (*TABS, AGENT)]
            everybody = [*askers, mail(customer)]
            chance.shuffle(everybody)
            done = await asyncio.gather(*everybody)
            answers[customer] = [answer for answer in done if answer is not None]

    async with asyncio.timeout(RACE_SECONDS_MAX):
        await asyncio.gather(*(one(customer) for customer in people))
    # What the e-mail's journey decides may still be under way.
    await asyncio.sleep(3)
    caller.close()
    return answers


def _make_known(deployment: Deployment, people: list[str]) -> None:
    producer = Producer(producer_config(deployment.bootstrap_servers) | {"linger.ms": 20})
    for one in people:
        profile = {"email": f"{one}@example.com", "first_name": "Ana", "customer_id": one}
        consent = {"channel": "email", "class": "promotional", "granted": True, "proof": "form"}
        for event in (
            _event("profile.updated", f"profile-{one}", one, attributes=profile),
            _event("consent.updated", f"consent-{one}", one, **consent),
        ):
            producer.produce(deployment.input_topic, key=one, value=orjson.dumps(event))
    assert producer.flush(60) == 0
    time.sleep(3)


def _event(kind: str, identity: str, customer: str, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": identity, "source": "/bench", "type": kind,
        "subject": customer, "data": data,
    }  # fmt: skip


def flow_part(plan: Plan, target: Broker, results: Results) -> None:
    """Measure reads of writes, then purchases without and with next-best calls beside them."""
    with world(plan, target, results) as one:
        results.add("reads/0/api/0", staleness(one))
        warm_up(one)
        kept = True
        for turn in range(plan.turns):
            # A B, B A: who comes first has no advantage.
            for asked in (0, RATE) if turn % 2 == 0 else (RATE, 0):
                kept &= _beside(one, results, asked, turn)
        for rate in () if kept else LOWER_RATES:
            if _beside(one, results, rate, 0):
                break


def _beside(one: World, results: Results, rate: int, turn: int) -> bool:
    """Let purchases flow beside so many calls a second; return whether these were held."""
    _tell(f"events at {RATE}/s beside {rate} next-best calls/s, turn {turn + 1}")
    before = fresh(one)
    row, answered = flow(one, calls(one, "next-best", rate, turn) if rate else None)
    row["stale_p50_s"] = bound_of(before, fresh(one), 0.5)
    row["stale_p99_s"] = bound_of(before, fresh(one), 0.99)
    kept = answered is None or held(answered)
    name = f"next-best-{rate}" if rate else "alone"
    results.add(f"purchases/{RATE}/{name}/{turn}", row)
    if answered is not None:
        answered["held"] = kept
        results.add(f"next-best/{rate}/api/{turn}", answered)
    return kept


def request_part(plan: Plan, target: Broker, results: Results) -> None:
    """Measure the wait for the owner's word, while nothing else and while events flow."""
    with world(plan, target, results) as one:
        warm_up(one)
        rate = plan.requests_a_second
        quiet = Calls(one.port, TOKEN, "request", rate, plan.seconds, 3.0, seed=11)
        _tell(f"{rate:g} requests/s and nothing else")
        results.add("request/0/api/0", load(quiet))
        _tell(f"{rate:g} requests/s beside {RATE} events/s")
        row, asked = flow(one, calls(one, "request", rate, 12))
        results.add(f"request/{RATE}/api/0", asked or {})
        results.add(f"purchases/{RATE}/request/0", row)


def race_part(plan: Plan, target: Broker, results: Results) -> None:
    """Let four race for each of many customers."""
    with world(plan, target, results) as one:
        results.add("race/0/api/0", race(one))


def model_part(plan: Plan, target: Broker, results: Results) -> None:
    """Fill the read model, and start it again."""
    deployment = Deployment(target.bootstrap_servers, f"read-{results.token}-")
    row = read_model.measure(deployment, plan.known, results.logs)
    results.add(f"model/{plan.known}/api/0", row)


# What is measured, and how many seconds it may take.
PARTS: Final = {
    "flow": (flow_part, 1_200),
    "request": (request_part, 420),
    "race": (race_part, 1_200),
    "model": (model_part, 1_800),
}


def run(plan: Plan, target: Broker, results: Results, parts: list[str]) -> bool:
    """Measure the parts, and keep each row at once; return whether all came to their end."""
    fine = True
    for name in parts:
        part, seconds_max = PARTS[name]
        _tell(f"part {name}, at most {seconds_max} s")
        begun = time.monotonic()
        failure = None
        try:
            with at_most(seconds_max):
                part(plan, target, results)
        except Exception as error:  # noqa: BLE001 - Whatever it is, the other parts are measured.
            failure, fine = f"{type(error).__name__}: {error}".splitlines()[0][:300], False
            _tell(f"part {name} failed: {failure}")
        took = {"seconds": round(time.monotonic() - begun), "failure": failure}
        results.add(f"part/0/{name}/0", took)
    return fine


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in this thread, the main one, when it takes longer."""

    def end(_number: int, _frame: object) -> None:
        raise TimeoutError(f"it took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _tell(what: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {what}", err=True)


def _parts(_context: object, _option: object, text: str) -> list[str]:
    names = text.split(",")
    unknown = sorted(set(names) - PARTS.keys())
    if unknown:
        raise click.BadParameter(f"there is no {unknown[0]!r}; allowed: {', '.join(PARTS)}")
    return names


@click.command(epilog="Example: python -m bench.api --quick")
@click.option("--name", default="api", show_default=True, help="Results go to results/NAME.*.")
@click.option("--quick", is_flag=True, help="A few minutes, to see that it works.")
@click.option("--parts", default=",".join(PARTS), show_default=True, callback=_parts)
@click.option("--seconds", type=float, help="How long a run is measured.")
@click.option("--races", type=int, help="How many customers are raced for.")
@click.option("--customers", type=int, help="How many the read model holds.")
@click.option("--bootstrap-servers", help="A running broker; without it, the embedded one.")
def main(
    *,
    name: str,
    quick: bool,
    parts: list[str],
    seconds: float | None,
    races: int | None,
    customers: int | None,
    bootstrap_servers: str | None,
) -> None:
    """Measure the API, print the tables, and write them to results/NAME.md.

    The exit code is 1 when a part did not come to its end.
    """
    plan = QUICK if quick else Plan()
    plan = plan._replace(
        seconds=seconds or plan.seconds,
        races=races or plan.races,
        known=customers or plan.known,
    )
    results = Results(RESULTS / f"{name}.json", environment(embedded=not bootstrap_servers))
    with broker(bootstrap_servers) as target:
        fine = run(plan, target, results, parts)
    page = render(results)
    results.path.with_suffix(".md").write_text(page, encoding="utf-8")
    click.echo(page)
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
