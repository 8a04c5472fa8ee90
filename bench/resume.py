"""What a resume costs a partition of 100,000 customers: `python -m bench.resume`.

The customers of `bench/portfolio`, of whom one in ten is held at a message. Measured is the begin
of the round, which sorts those whom the partition knows as held (beside it: finding them in what
recovery has loaded, and by decoding), and then each visit, with the decision, encoding and log
record as the worker makes them.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from bench.decide import loop_milliseconds
from bench.portfolio import START_MS, customers, portfolio
from orchestrator.core.customer import PAUSED
from orchestrator.core.decide import decide
from orchestrator.core.encoded.state import decode_customer, encode_customer, encoded_is_paused
from orchestrator.core.pauses import Pause, Pauses
from orchestrator.protocol.commit.rounds import Rounds
from orchestrator.protocol.outputs import encode_command, encode_log, visit_cause

if TYPE_CHECKING:
    from orchestrator.core.customer import Customer
    from orchestrator.core.journeys import Journeys

DAY_MS = 86_400_000
HELD_OF = 10


def held(journeys: Journeys, customer: Customer) -> Customer:
    """Return the customer held at the first message of one of their journeys."""
    first, *others = customer.enrollments
    plan = journeys.plans[first.journey, first.version]
    step = next(step.id for step in plan.journey.steps if step.send is not None)
    until_ms = START_MS + DAY_MS
    first = replace(first, step=step, wake_at_ms=until_ms, held=PAUSED, due_ms=START_MS)
    return replace(customer, enrollments=(first, *others))


def timed_ms(work: object, times: int = 5) -> float:
    """Return the middle one of some runs, in milliseconds of processor time."""
    spent = []
    for _ in range(times):
        began = time.thread_time()
        work()  # type: ignore[operator]
        spent.append(1_000 * (time.thread_time() - began))
    return statistics.median(spent)


def visit_all(
    journeys: Journeys, states: dict[bytes, bytes], paused: set[bytes]
) -> tuple[int, int]:
    """Let the round of a resume visit everybody; return visits and commands."""
    rounds = Rounds(journeys, {}, partitions=1)
    now_ms = START_MS + DAY_MS // 2
    rounds.next_visit(states, paused, START_MS)
    visits = commands = 0
    while (found := rounds.next_visit(states, paused, now_ms)) is not None:
        customer_id, visit = found
        before = decode_customer(states[customer_id])
        decision = decide(journeys, before, visit, now_ms)
        encode_customer(decision.customer)
        for command in decision.commands:
            encode_command(command)
        encode_log(
            customer=before.id,
            now_ms=decision.now_ms,
            cause=visit_cause(visit),
            outcome=decision.outcome,
            definitions_hash=journeys.content_hash,
            entries=decision.entries,
            paused=decision.paused,
        )
        visits += 1
        commands += len(decision.commands)
    return visits, commands


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.resume", description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    options = parser.parse_args()
    journeys = portfolio()
    states: dict[bytes, bytes] = {}
    for number, customer in enumerate(customers(journeys, options.customers, 1)):
        one = customer if number % HELD_OF else held(journeys, customer)
        states[customer.id.encode()] = encode_customer(one)
    gc.collect()
    gc.freeze()
    size = statistics.median(map(len, states.values()))
    resumed = journeys.pausing(Pauses((), 1))
    still = journeys.pausing(Pauses([Pause("global", "eva", "stop", transactional=True)], 1))
    paused = {one for one, value in states.items() if encoded_is_paused(value)}
    begun = timed_ms(lambda: Rounds(resumed, {}, partitions=1).next_visit(states, paused, 0))
    found = timed_ms(lambda: {one for one, value in states.items() if encoded_is_paused(value)})
    decoded = timed_ms(lambda: [decode_customer(value) for value in states.values()], times=1)
    print(f"for scale: 1,000,000 additions take {loop_milliseconds():.0f} ms here and now")
    print(f"{len(states):,} customers of {size:,.0f} B, one in {HELD_OF} held")
    print(f"the round begins in {begun:.1f} ms")
    print(f"finding the held ones at recovery: {found:.1f} ms; by decoding: {decoded:.0f} ms")
    for name, rules in (("resumed", resumed), ("still paused by another", still)):
        began = time.thread_time()
        visits, commands = visit_all(rules, states, paused)
        each = 1e6 * (time.thread_time() - began) / max(visits, 1)
        print(f"{name}: {visits:,} visits, {commands:,} commands, {each:.0f} us each")


if __name__ == "__main__":
    main()
