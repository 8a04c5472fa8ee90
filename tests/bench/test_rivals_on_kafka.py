"""Rivals that need nothing but Python do their job on a real Kafka, and the oracle is content."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.rivals.arena import QUICK, Arena
from bench.rivals.lineup import CONTESTANTS
from bench.rivals.runs import Runs
from bench.run import Broker
from bench.systems import send_population

RIVALS = ("confluent-loop", "aiokafka-floor", "stock-faust", "aiokafka-loop")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", [*RIVALS, "ours"])
def test_a_system_does_the_job_and_goes_on_after_a_kill(kafka, tmp_path, name):
    contestant = CONTESTANTS[name]
    extent = replace(QUICK, customers=40, settle_seconds=90.0)
    arena = Arena(Broker(kafka.bootstrap_servers), Runs(tmp_path), extent, (contestant,))
    with arena.world(contestant) as world:
        with arena.started(world) as (process, _):
            first = arena.verdict(world)
            process.process.kill()
            process.process.wait()
        # The floor keeps its states in memory alone: a bar for speed, nothing to restart. Stock
        # Faust commits offsets without its changelog, and at times comes to rest in the group
        # without answering: what a kill costs whom, `make bench-rivals` tells.
        if name not in {"aiokafka-floor", "stock-faust"}:
            send_population(world.deployment, arena.workload)
            with arena.started(world):
                second = arena.verdict(world)

            assert second.events > first.events
            assert (second.findings, second.unsettled) == ({}, 0)

    assert (first.findings, first.unsettled) == ({}, 0)
