"""The channel teams do what such teams do: each sensible alone, none knowing of the others."""

import pytest

from orchestrator.demo.judge.evidence import Kind
from orchestrator.demo.silos.loops import Silos, read_event, read_send, write_send
from orchestrator.demo.silos.teams import (
    TEAMS,
    AdsTeam,
    EmailTeam,
    PushTeam,
    WebTeam,
    WhatsappTeam,
)
from orchestrator.demo.silos.tool import NIGHT_SECONDS
from orchestrator.demo.story import (
    TENT,
    cart,
    consent,
    event,
    profile,
    purchase,
    viewed,
    winter_sale,
)
from orchestrator.settings import Settings

LEFT = cart("ben", 1, TENT, abandoned=True)


def played(tool, *happened, until=30.0):
    """Play (seconds, event) to a tool, its clock ticking; return (seconds, send) of all it sent."""
    waiting = sorted(happened, key=lambda pair: pair[0])
    sent = []
    for tick in range(int(until * 10) + 1):
        at = tick / 10
        while waiting and waiting[0][0] <= at:
            sent += [(at, send) for send in tool.on_event(waiting.pop(0)[1], at)]
        sent += [(at, send) for send in tool.on_clock(at)]
    return sent


def names(sent):
    return [send.name for _, send in sent]


def test_the_mail_tool_greets_every_subscriber_as_new_whatever_the_loyalty_programme_knows():
    sent = played(
        EmailTeam(),
        (0.0, profile("ben", email="ben@example.org", loyalty_tier="gold")),
        (0.0, consent("ben", "email")),
        (1.0, event("news-1", "newsletter.subscribed", "ben", {})),
    )

    assert names(sent) == ["silos_welcome_10"]


def test_the_mail_tool_writes_to_nobody_who_has_not_agreed():
    assert played(EmailTeam(), (1.0, LEFT), (1.0, winter_sale("ben"))) == []


@pytest.mark.parametrize(
    ("bought_at", "left_at", "reminded"),
    [
        (None, 2.5, ["silos_cart_mail"]),
        (2.6, 2.5, ["silos_cart_mail"]),  # Due at 3.5, and the night ends at 4.
        (2.6, 3.5, []),
    ],
)
def test_the_mail_tool_reminds_unless_the_nightly_import_has_shown_the_purchase(
    bought_at, left_at, reminded
):
    happened = [(0.0, consent("ben", "email")), (left_at, LEFT)]
    if bought_at is not None:
        happened.append((bought_at, purchase("ben", 1, TENT)))

    assert names(played(EmailTeam(), *happened)) == reminded


def test_the_sale_is_reminded_of_and_spares_who_is_known_to_have_bought():
    opened = [(0.0, consent("ben", "email")), (0.1, winter_sale("ben"))]

    assert names(played(EmailTeam(), *opened)) == ["silos_sale_mail", "silos_sale_half_time"]
    bought = (1.0, purchase("ben", 1, TENT))
    assert names(played(EmailTeam(), *opened, bought)) == ["silos_sale_mail"]


def test_the_app_says_what_the_mail_says_and_promises_free_shipping_a_day_later():
    sent = played(PushTeam(), (0.0, profile("ben", push_token="phone")), (1.0, LEFT))

    assert [(round(at, 1), send.name) for at, send in sent] == [
        (2.0, "silos_cart_push"),
        (5.0, "silos_free_shipping"),
    ]
    assert all(send.skus == {TENT.sku} and send.trigger == LEFT["id"] for _, send in sent)


def test_the_app_reaches_nobody_without_it():
    assert played(PushTeam(), (1.0, LEFT)) == []


def test_the_overlay_comes_once_for_each_visitor():
    filled = [(at, cart("ben", at, TENT, abandoned=False)) for at in (1, 2)]

    assert names(played(WebTeam(), *filled)) == ["silos_exit_overlay"]


def test_whatsapp_follows_up_a_day_later_whom_it_has_a_number_of():
    known = (0.0, profile("ben", phone="+34600000000"))

    assert names(played(WhatsappTeam(), known, (1.0, LEFT))) == ["silos_cart_whatsapp"]
    assert played(WhatsappTeam(), (1.0, LEFT)) == []


def test_ads_let_go_of_a_buyer_with_the_nightly_sync_and_not_before():
    sent = played(
        AdsTeam(),
        (0.0, consent("ben", "ads")),
        (0.5, viewed("ben", 1, TENT)),
        (0.6, viewed("ben", 2, TENT)),
        (1.0, LEFT),
        (1.5, purchase("ben", 1, TENT)),
    )

    assert [(send.kind, send.name) for _, send in sent] == [
        (Kind.ADDED, "lookers"),
        (Kind.ADDED, "cart_abandoners"),
        (Kind.REMOVED, "lookers"),
        (Kind.REMOVED, "cart_abandoners"),
    ]
    assert [at for at, send in sent if send.kind is Kind.REMOVED] == [NIGHT_SECONDS] * 2
    assert len({send.id for _, send in sent}) == 4


def test_the_pixel_asks_for_consent_and_the_uploaded_list_does_not():
    sent = played(AdsTeam(), (0.5, viewed("ben", 1, TENT)), (1.0, winter_sale("ben")))

    assert names(sent) == ["winter_sale"]


def test_what_a_tool_writes_is_read_again_as_it_was():
    ((_, send),) = played(WebTeam(), (1.0, cart("ben", 1, TENT, abandoned=False)))

    assert read_send(write_send(send)) == send


@pytest.mark.parametrize("value", [None, b"", b'{"specversion":"1.0","id":"cut-o', b"[1]", b"{}"])
def test_half_a_record_stops_no_loop(value):
    assert read_event(value) is None


async def test_the_silos_deliver_through_the_same_slow_and_quick_providers():
    """An e-mail waits eight seconds as ours do, an overlay is there at once."""
    silos = Silos({}, "touchpoints", Settings())
    (_, letter), *_ = played(EmailTeam(), (0.0, consent("ben", "email")), (1.0, LEFT))
    ((_, overlay),) = played(WebTeam(), (1.0, cart("ben", 1, TENT, abandoned=False)))
    for send in (letter, overlay):
        silos.take(write_send(send), 10.0)

    silos.deliver_due(10.0)
    assert [d.channel for d in silos.delivered] == ["web"]
    silos.deliver_due(18.0)
    assert [d.channel for d in silos.delivered] == ["web", "email"]
    assert [(d.ordered_at, d.began_at) for d in silos.delivered] == [(10.0, 10.0), (10.0, 18.0)]
    await silos.stop()


async def test_each_loop_has_its_own_topic_beside_those_of_the_deployment():
    silos = Silos({}, "touchpoints", Settings(topic_prefix="t."))

    assert silos.topics == tuple(f"t.silos-{team.channel}" for team in TEAMS)
    await silos.stop()
