"""What the trials of senders make of what a provider saw: who is late, missing, doubled."""

from __future__ import annotations

from bench.events import event_id
from bench.load import LoadReport
from bench.reader import Collected
from bench.senders import fanout, kill
from bench.senders.provider import Call

SECOND = 1_000_000_000
START = 1_000 * SECOND
WARM = START + int(fanout.WARM_UP_SECONDS) * SECOND
TABLE, ENROLLED, LAST = WARM + 100 * SECOND, WARM + 200 * SECOND, WARM + 300 * SECOND


def call(came_ns=0, came_ms=0, journey="tents", command_class="promotional", **more):
    values = {"customer": "ana", "channel": "email", "offer": None, "cause": "x"} | more
    return Call(came_ns, came_ms, command_class=command_class, journey=journey, **values)


def seen(*purchases, letters=()):
    """Return a run: (intended, visible after ms, delivered after ms, how often) of purchases."""
    calls, samples = list(letters), []
    for number, (at, visible_ms, delivered_ms, times) in enumerate(purchases):
        samples.append((at, at + visible_ms * 1_000_000))
        confirmation = call(
            at + delivered_ms * 1_000_000,
            journey="post_purchase",
            command_class="transactional",
            cause=event_id(at, number),
        )
        calls += [confirmation] * times
    load = LoadReport(
        len(purchases), 0, len(purchases), len(purchases), START, LAST, 300.0, 0.1, 0.2
    )
    collected = Collected(tuple(samples), 0, 0)
    return fanout.Seen(load, collected, calls, 0, 0, 0, TABLE, ENROLLED)


def test_a_purchase_belongs_to_the_phase_in_which_it_was_meant_to_be_sent():
    alone = [(WARM + n * SECOND, 10, 20, 1) for n in range(5)]
    beside = [(TABLE + n * SECOND, 15, 50, 1) for n in range(4)]
    after = [(ENROLLED + n * SECOND, 10, 30, 1) for n in range(3)]
    letters = [call(TABLE + SECOND, cause="x"), call(ENROLLED + SECOND, cause="x")]

    verdict = fanout.judge(seen((START, 900, 900, 1), *alone, *beside, *after, letters=letters))

    assert [phase.purchases for phase in verdict.phases] == [5, 4, 3]
    assert [phase.letters for phase in verdict.phases] == [0, 1, 1]
    assert (verdict.missing, verdict.doubled) == (0, 0)
    assert round(verdict.ratio("delivered"), 1) == 2.5
    assert round(verdict.ratio("visible"), 1) == 1.5


def test_a_confirmation_that_is_missing_or_came_twice_is_told():
    purchases = [(WARM, 10, 20, 1), (WARM + 1, 10, 20, 0), (TABLE, 10, 20, 2)]

    verdict = fanout.judge(seen(*purchases))

    assert (verdict.missing, verdict.doubled) == (1, 1)


def stop(calls, scope="journey/tents", emitted=()):
    told = [kill.Told(scope, True, 10_000), kill.Told(scope, False, 14_000)]
    (found,) = kill.judge(kill.Seen(told, calls, list(emitted), 0))
    return found


def test_a_hand_over_after_the_kill_is_late_only_when_it_is_meant():
    flowing = call(came_ms=9_500)
    others = [
        call(came_ms=11_000, journey="boots"),
        call(came_ms=12_000, command_class="transactional"),
    ]
    back = call(came_ms=14_300)

    in_time = stop([flowing, *others, call(came_ms=10_999), back])
    too_late = stop([flowing, *others, call(came_ms=11_001), back])

    assert (in_time.flowed, in_time.late, in_time.last_ms, in_time.back_ms) == (1, 1, 999, 300)
    assert in_time.others == 2
    assert in_time.holds
    assert not too_late.holds


def test_a_kill_of_what_did_not_flow_or_never_came_back_shows_nothing():
    other, back = call(came_ms=11_000, journey="boots"), call(came_ms=14_300)

    assert not stop([other, back]).holds
    assert not stop([call(came_ms=9_500), other]).holds
    assert not stop([call(came_ms=9_500), back]).holds


def test_a_scope_means_what_it_names_among_promotions():
    calls = [call(came_ms=9_500), call(came_ms=9_600, journey="packs", channel="sms")]
    calls.append(call(came_ms=9_700, offer="tents10"))
    emitted = [(10_040, kill.data_of(calls[1]))]

    flowed = {
        scope: stop(calls, scope, emitted).flowed
        for scope in ("global", "journey/packs", "channel/sms", "offer/tents10")
    }

    assert flowed == {"global": 3, "journey/packs": 1, "channel/sms": 1, "offer/tents10": 1}
    assert stop(calls, "channel/sms", emitted).emitted_ms == 40
