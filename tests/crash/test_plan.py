"""The story of the crash run is the seed's, and it is as big and as bad as it claims to be."""

from __future__ import annotations

from collections import Counter

from aiokafka.partitioner import murmur2 as client_murmur2
from hypothesis import given
from hypothesis import strategies as st

from bench.crash.furnish import furnish
from bench.crash.judge.history import murmur2
from bench.crash.pausing import script
from bench.crash.plan import Size, tell

START_MS = 1_795_000_000_000


def test_the_same_seed_and_start_give_the_same_bytes():
    size = Size(events=900, customers=90)

    assert tell(3, size, START_MS, 8) == tell(3, size, START_MS, 8)
    assert tell(3, size, START_MS, 8) != tell(4, size, START_MS, 8)


def test_a_run_has_at_least_fifty_thousand_events_over_five_thousand_customers():
    plan = tell(1, Size(), START_MS, 8)
    accepted = [planned for planned in plan if planned.lane != "aborted"]

    assert len(accepted) >= 50_000
    assert len({planned.key for planned in accepted if planned.key}) >= 5_000


def test_everything_that_can_go_wrong_on_the_way_is_told():
    plan = tell(1, Size(events=4_000, customers=400), START_MS, 8)
    kinds = Counter(planned.kind for planned in plan)
    lanes = Counter(planned.lane for planned in plan)

    assert kinds["repeat"] > 50
    assert kinds["reused id"] > 20
    assert kinds["poison"] > 10
    assert lanes["aborted"] > 20
    assert lanes["committed"] > 10
    assert any(planned.topic == "stores" for planned in plan)
    assert any(planned.key is None for planned in plan)


def test_nothing_is_sent_in_a_pause():
    size = Size(events=2_000, customers=200, rate=50, pauses=(0.5,), pause_seconds=9)
    begin = 1_000 * size.seconds / 2
    late = {"poison", "repeat"}
    sent = [planned.at_ms for planned in tell(2, size, START_MS, 8) if planned.kind not in late]

    told_in_time = [at_ms for at_ms in sent if begin < at_ms < begin + 8_000]
    # Only ids that are used again, which follow their originals by up to 20 s, may fall into it.
    assert len(told_in_time) < len(sent) / 100


@given(st.binary(max_size=40))
def test_the_hash_of_a_key_is_the_one_that_clients_use(key):
    assert murmur2(key) == client_murmur2(key) & 0x7FFFFFFF


def test_what_is_paused_is_resumed_in_the_end_and_some_is_killed_held_and_transactional():
    said = [one for seed in range(1, 4) for one in script(seed, Size())]
    for seed in range(1, 4):
        paused = set()
        for one in script(seed, Size()):
            (paused.add if one.paused else paused.discard)(one.scope)
        assert paused == set()

    assert {one.scope.partition("/")[0] for one in said} == {
        "global",
        "channel",
        "journey",
        "offer",
    }
    assert any(one.kill for one in said)
    assert any(one.paused and not one.kill for one in said)
    assert any(one.transactional for one in said)


def test_a_shop_is_quiet_in_whole_minutes_of_its_run(tmp_path):
    shop = (furnish(tmp_path / "run", START_MS) / "shop.yaml").read_text(encoding="utf-8")

    # The run starts 40 s into 11:06 UTC, 12:06 in Madrid; 20 s later a minute begins.
    assert 'quiet_hours: {from: "12:07", to: "12:08"}' in shop
