"""The judge counts what was delivered against what customers did, and knows nothing else."""

import pytest

from orchestrator.demo.judge.counters import SAME_TIME_SECONDS, judge
from orchestrator.demo.judge.evidence import Delivery, Kind, Touchpoints
from orchestrator.demo.judge.sayings import WELCOME, YOUR_CART, Saying
from orchestrator.demo.story import SHELF, TENT, cart, consent, event, profile, purchase

BOOTS = SHELF[2]
DECIDED = "2026-11-22T10:00:00Z"


def touchpoints(*happened):
    """Return what customers did, from (seconds, event); each purchase is known 1 s later."""
    seen = Touchpoints()
    for at, told in happened:
        seen.on_sent(told, at)
        seen.on_accepted(told["id"], at)
        if told["type"] == "purchase":
            seen.on_effect(told["id"], DECIDED, at + 1)
    return seen


def a_delivery(at, *, customer="ben", channel="email", kind=Kind.MESSAGE, **changes):
    values = {
        "name": "cart_reminder",
        "saying": Saying(YOUR_CART),
        "skus": frozenset({TENT.sku}),
        "trigger": "unknown",
        "ordered_at": at - 0.1,
        "began_at": at,
        "ended_at": at + 0.01,
    }
    return Delivery(customer=customer, channel=channel, kind=kind, **(values | changes))


def judged(deliveries, seen, *, until=100.0):
    return judge(deliveries, seen, until=until, silent_channels=frozenset({"web"}))


BEN_BUYS = (10.0, purchase("ben", 1, TENT))


@pytest.mark.parametrize(
    ("began_at", "after", "during"),
    [(9.0, 0, 0), (10.0, 0, 1), (10.9, 0, 1), (11.0, 1, 0), (50.0, 1, 0)],
)
def test_a_promotion_is_late_from_when_the_purchase_was_known(began_at, after, during):
    counters = judged([a_delivery(began_at)], touchpoints(BEN_BUYS))

    assert (counters.after_purchase, counters.during_purchase) == (after, during)


def test_a_call_that_began_before_the_purchase_and_ended_after_it_overlaps():
    slow = a_delivery(9.5, ended_at=12.0)

    counters = judged([slow], touchpoints(BEN_BUYS))

    assert (counters.after_purchase, counters.during_purchase) == (0, 1)


@pytest.mark.parametrize("ended_at", [DECIDED, "2026-11-22T10:00:07Z"])
def test_a_purchase_is_known_when_the_fence_of_its_own_decision_can_be_read_too(ended_at):
    seen = touchpoints(BEN_BUYS)
    fence = {"enrollments": [{"enrollment": "winter_sale#1", "ended_at": ended_at}]}
    seen.on_fence("ben", fence, 11.5)
    seen.on_fence("ben", fence, 99.0)  # The record is written again with the next one.

    late = judged([a_delivery(11.2)], seen).after_purchase

    assert late == (0 if ended_at == DECIDED else 1)


def test_a_purchase_of_something_else_ends_no_promotion_of_a_product():
    seen = touchpoints((10.0, purchase("ben", 1, BOOTS)), (10.0, purchase("eva", 2, TENT)))

    assert judged([a_delivery(50.0)], seen).after_purchase == 0


def test_a_promotion_that_names_no_product_is_about_those_of_its_cause():
    seen = touchpoints((5.0, cart("ben", 1, TENT, abandoned=True)), BEN_BUYS)
    reminder = a_delivery(50.0, skus=frozenset(), trigger="cart-abandoned-1")

    assert judged([reminder], seen).after_purchase == 1


@pytest.mark.parametrize(("caused_at", "late"), [(5.0, 1), (20.0, 0)])
def test_a_promotion_of_the_whole_shop_ends_with_any_purchase_after_its_cause(caused_at, late):
    seen = touchpoints(BEN_BUYS, (caused_at, event("sale-ben", "campaign.started", "ben", {})))
    sale = a_delivery(50.0, skus=frozenset(), trigger="sale-ben")

    assert judged([sale], seen).after_purchase == late


def test_what_was_sent_back_may_be_promoted_again():
    back = event("return-1", "order.returned", "ben", {"order_id": "1"})

    counters = judged([a_delivery(20.0), a_delivery(40.0)], touchpoints(BEN_BUYS, (30.0, back)))

    assert counters.after_purchase == 1


def test_a_purchase_that_was_never_accepted_or_had_no_effect_is_not_known():
    seen = Touchpoints()
    seen.on_sent(purchase("ben", 1, TENT), 10.0)
    assert judged([a_delivery(50.0)], seen).during_purchase == 0

    seen.on_accepted("ord-1", 10.0)
    counters = judged([a_delivery(50.0)], seen)
    assert (counters.after_purchase, counters.during_purchase) == (0, 1)


@pytest.mark.parametrize(
    ("added_at", "removed_at", "seconds"),
    [(5.0, 9.0, 0.0), (5.0, 14.0, 4.0), (12.0, 14.0, 2.0), (5.0, None, 90.0)],
)
def test_time_in_an_audience_counts_from_the_purchase_until_the_removal_or_the_end(
    added_at, removed_at, seconds
):
    ads = {"channel": "ads", "name": "cart_abandoners"}
    deliveries = [a_delivery(added_at, kind=Kind.ADDED, ended_at=added_at, **ads)]
    if removed_at is not None:
        deliveries.append(a_delivery(removed_at, kind=Kind.REMOVED, ended_at=removed_at, **ads))

    counters = judged(deliveries, touchpoints(BEN_BUYS))

    assert counters.ads_seconds == pytest.approx(seconds)
    assert counters.messages == counters.after_purchase == 0


@pytest.mark.parametrize(
    ("tier", "since", "greeted"),
    [("gold", 1.0, 1), ("silver", 1.0, 1), ("none", 1.0, 0), ("gold", 9.0, 0)],
)
def test_a_welcome_is_wrong_to_who_is_known_as_loyal_by_then(tier, since, greeted):
    hello = a_delivery(5.0, name="welcome", saying=Saying(WELCOME))

    seen = touchpoints((since, profile("ben", loyalty_tier=tier)))

    assert judged([hello], seen).greeted_as_new == greeted


def promise(at, offer, **changes):
    return a_delivery(at, saying=Saying("an offer", offer), **changes)


@pytest.mark.parametrize(
    ("offers", "contradicted"),
    [
        ([(1, "10 %"), (2, "10 %")], 0),
        ([(1, "10 %"), (2, "free shipping")], 1),
        ([(1, "10 %"), (2, "free shipping"), (3, "15 %")], 1),
        ([(9, "10 %"), (20, "free shipping")], 0),
        ([(20, "10 %"), (21, None)], 0),
    ],
)
def test_two_different_discounts_before_the_same_purchase_contradict_each_other(
    offers, contradicted
):
    deliveries = [promise(at, offer) for at, offer in offers]

    assert judged(deliveries, touchpoints(BEN_BUYS)).contradicted == contradicted


def test_offers_to_different_customers_do_not_contradict():
    deliveries = [promise(1, "10 %"), promise(2, "15 %", customer="eva")]

    assert judged(deliveries, Touchpoints()).contradicted == 0


@pytest.mark.parametrize(
    ("second", "twice"),
    [
        ({"channel": "push"}, 1),
        ({"channel": "email"}, 0),
        ({"channel": "web"}, 0),
        ({"channel": "push", "customer": "eva"}, 0),
        ({"channel": "push", "skus": frozenset({BOOTS.sku})}, 0),
        ({"channel": "push", "saying": Saying("something else")}, 0),
        ({"channel": "push", "ordered_at": 5.0 + SAME_TIME_SECONDS}, 0),
    ],
)
def test_the_same_message_on_a_second_channel_that_rings_is_counted(second, twice):
    deliveries = [a_delivery(20.0, ordered_at=5.0), a_delivery(6.0, **{"ordered_at": 5.5} | second)]

    assert judged(deliveries, Touchpoints()).twice == twice


def test_consent_is_asked_for_each_channel_at_the_moment_of_the_hand_over():
    no = consent("ben", "email")
    no = no | {"id": "no", "data": no["data"] | {"granted": False}}
    seen = touchpoints((1.0, consent("ben", "email")), (5.0, no))
    deliveries = [
        a_delivery(0.5),
        a_delivery(2.0),
        a_delivery(6.0),
        a_delivery(2.0, channel="push"),
        a_delivery(2.0, channel="web"),
        a_delivery(2.0, channel="ads", kind=Kind.ADDED),
        a_delivery(3.0, channel="ads", kind=Kind.REMOVED),
    ]

    assert judged(deliveries, seen).without_consent == 4


def test_messages_are_counted_in_all_and_for_who_got_most():
    deliveries = [a_delivery(1.0), a_delivery(2.0), a_delivery(3.0, customer="eva")]

    counters = judged(deliveries, Touchpoints())

    assert (counters.messages, counters.most) == (3, 2)
    assert judged([], Touchpoints()).most == 0


def test_what_a_producer_repeats_was_done_once():
    seen = touchpoints(BEN_BUYS, (30.0, purchase("ben", 1, TENT)))

    assert judged([a_delivery(20.0)], seen).after_purchase == 1
    assert len(seen.orders) == 1
