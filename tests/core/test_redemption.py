"""What becomes of promises: redeemed, undone by a return, rejected, or never told."""

from __future__ import annotations

import pytest

from orchestrator.core.decision import (
    OfferRedeemed,
    OfferRefused,
    Promised,
    PromiseEnded,
    RedemptionRefused,
    RedemptionUndone,
    Refusal,
    SendRefused,
)
from tests.core.builders import (
    DAY,
    HOUR,
    START,
    Story,
    event,
    item,
    journey,
    purchase,
    send,
    shop_of,
    wait,
)
from tests.core.promising import FREE, asked, held, of, telling


class TestRedemption:
    def test_a_checkout_names_an_offer_by_its_name_or_its_code(self):
        for word in ("ten", "TEN"):
            story = Story(shop_of(offers={"ten": {"code": "TEN"}}))
            story.tell(asked("ten"), event("offer.redeemed", "r", offer=word, order_id="1"))

            assert of(story, OfferRedeemed) == [OfferRedeemed("ten", "1")]

    def test_an_order_that_both_sides_tell_redeems_once(self):
        story = Story(shop_of(offers={"ten": {}}))
        told = purchase("1", "tent", offers=["ten"], offer="ten")

        story.tell(asked("ten"), event("offer.redeemed", "r", offer="ten", order_id="1"), told)

        assert len(of(story, OfferRedeemed, RedemptionRefused)) == 1

    def test_an_order_learned_late_redeems_what_held_when_it_was_placed(self):
        """Found by the crash run's judge: it depended on what else was promised meanwhile."""
        short = {"valid_for": "1h", "again": "always"}
        for others in ((), (asked("free", at=START + 2 * HOUR),)):
            story = Story(shop_of(offers={"ten": short, "free": {**FREE, **short}}))
            story.tell(asked("ten"))
            story.pass_time(2 * HOUR)
            story.tell(*others, purchase("1", "tent", at=START, offer="ten"))

            assert of(story, OfferRedeemed) == [OfferRedeemed("ten", "1")]

    @pytest.mark.parametrize(
        ("before", "reason", "detail"),
        [
            ([], Refusal.OFFER_NOT_VALID, "was not promised"),
            ([asked("ten"), purchase("0", "mug", offer="ten")], Refusal.OFFER_USED, None),
            (
                [asked("ten"), event("offer.rejected", "no", offer="ten")],
                Refusal.OFFER_NOT_VALID,
                "rejected",
            ),
        ],
    )
    def test_what_nobody_can_count_on_is_refused(self, before, reason, detail):
        story = Story(shop_of(offers={"ten": {}}))
        for one in before:
            story.tell(one)

        story.tell(purchase("1", "tent", offer="ten"))

        (refused,) = of(story, RedemptionRefused)
        assert refused.reason is reason
        assert detail in (None, refused.detail)

    def test_it_counts_when_it_happened_and_not_when_we_hear_of_it(self):
        for at, redeemed in ((START + HOUR - 1, True), (START + HOUR, False)):
            story = Story(shop_of(offers={"ten": {"valid_for": "1h"}}))
            story.tell(asked("ten"))
            story.pass_time(5 * HOUR)
            story.tell(purchase("1", "tent", at=at, offer="ten"))

            assert bool(of(story, OfferRedeemed)) is redeemed

    def test_a_promise_counts_also_when_the_offer_is_not_declared_any_more(self):
        story = Story(shop_of(offers={"ten": {}}))
        story.tell(asked("ten"))

        story.journeys = shop_of(offers={"free": FREE})
        story.tell(asked("free"), purchase("1", "tent", offer="ten"))

        assert of(story, OfferRedeemed) == [OfferRedeemed("ten", "1")]
        assert [entry.detail for entry in of(story, OfferRefused)] == [
            "ten until 2026-12-22T10:00:00Z"
        ]

    @pytest.mark.parametrize(
        "back",
        [
            event("order.cancelled", "c", order_id="1"),
            event("order.returned", "r", order_id="1"),
            event("order.returned", "r", order_id="1", items=[item("tent"), item("mug")]),
        ],
        ids=["cancelled", "returned", "returned line by line"],
    )
    def test_an_order_that_comes_back_whole_gives_the_promise_back(self, back):
        story = Story(shop_of(offers={"ten": {}}))
        story.tell(asked("ten"), purchase("1", "tent", "mug", offer="ten"))

        story.tell(back)

        assert of(story, RedemptionUndone) == [RedemptionUndone("ten", "1", open=True)]
        assert held(story) == ["ten"]

    def test_a_part_of_an_order_gives_nothing_back_and_the_last_part_does(self):
        story = Story(shop_of(offers={"ten": {}}))
        story.tell(asked("ten"), purchase("1", "tent", "mug", offer="ten"))

        story.tell(event("order.returned", "r1", order_id="1", items=[item("tent")]))
        assert held(story) == []

        story.tell(event("order.returned", "r2", order_id="1", items=[item("mug")]))
        assert held(story) == ["ten"]

    def test_an_order_that_was_back_before_we_heard_of_it_redeems_nothing(self):
        story = Story(shop_of(offers={"ten": {}}))

        story.tell(asked("ten"), event("order.cancelled", "c", order_id="1"))
        story.tell(purchase("1", "tent", offer="ten"))

        assert held(story) == ["ten"]

    def test_what_comes_back_too_late_is_over(self):
        story = Story(shop_of(offers={"ten": {"valid_for": "1h"}}))
        story.tell(asked("ten"), purchase("1", "tent", offer="ten"))
        story.pass_time(2 * HOUR)

        story.tell(event("order.cancelled", "c", order_id="1"))

        assert of(story, RedemptionUndone) == [RedemptionUndone("ten", "1", open=False)]

    def test_two_that_contradict_do_not_come_back_together(self):
        story = Story(shop_of(offers={"ten": {}, "free": FREE}))
        redeem = event("offer.redeemed", "r", offer="free", order_id="1")
        story.tell(asked("ten"), purchase("1", "tent", offer="ten"), asked("free"), redeem)

        story.tell(event("order.cancelled", "c", order_id="1"))

        assert [entry.open for entry in of(story, RedemptionUndone)] == [True, False]
        assert len(held(story)) == 1


class TestTakenBack:
    def test_who_rejects_it_is_not_asked_again_before_it_would_have_expired(self):
        story = Story(shop_of(offers={"ten": {"again": "always", "valid_for": "1d"}}))
        story.tell(asked("ten"), event("offer.rejected", "no", offer="ten"))

        story.tell(asked("ten", "soon"))
        story.pass_time(2 * DAY)
        story.tell(asked("ten", "later", at=story.now))

        assert [entry.offer for entry in of(story, OfferRefused)] == ["ten"]
        assert held(story) == ["ten"]

    def test_a_no_counts_also_when_nothing_was_promised(self):
        tells = telling(on="offer.rejected")
        story = Story(shop_of(tells, offers={"ten": {"again": "always"}}))

        story.tell(event("offer.rejected", "no", offer="ten"))

        assert story.commands == []
        assert [entry.reason for entry in of(story, SendRefused)] == [Refusal.OFFER_USED]
        assert held(story) == []

    def test_what_was_rejected_forbids_no_other(self):
        story = Story(shop_of(offers={"ten": {}, "free": FREE}))

        story.tell(asked("ten"), event("offer.rejected", "no", offer="ten"), asked("free"))

        assert held(story) == ["free"]

    @pytest.mark.parametrize(
        ("reason", "open_"),
        [("fenced", []), ("expired", []), ("killed", []), ("duplicate", ["ten"])],
    )
    def test_what_only_a_dropped_message_told_was_never_promised(self, reason, open_):
        story = Story(shop_of(telling(), offers={"ten": {}}))
        (command,) = story.tell(event("seen", "e")).commands

        story.tell(event("message.dropped", "d", command_id=command.id, reason=reason))

        assert held(story) == open_
        story.tell(asked("ten"))
        assert held(story) == ["ten"], "it counts as never had"

    def test_what_two_channels_told_stays_when_one_drops_it(self):
        story = Story(shop_of(telling(), offers={"ten": {}}))
        (command,) = story.tell(event("seen", "e")).commands

        story.tell(asked("ten", channel="web"))
        story.tell(event("message.dropped", "d", command_id=command.id, reason="expired"))

        assert held(story) == ["ten"]


class TestRecalled:
    """An exit calls back the only message that tells a promise."""

    def recalled(self, **offers):
        tells = journey("tells", "seen", [send("told", offer="ten"), wait("w", "1d")], exits=["x"])
        story = Story(shop_of(tells, offers={"ten": {}, **offers}))
        (told,) = story.tell(event("seen", "e")).commands
        story.tell(event("x", "x"))
        return story, told

    def test_what_nobody_may_have_read_holds_nothing_up(self):
        story, told = self.recalled(free=FREE)

        assert held(story) == []
        assert [(e.reason, e.cancelled) for e in of(story, PromiseEnded)] == [("recalled", ())]
        story.tell(asked("free"))
        assert held(story) == ["free"]
        story.tell(event("message.delivered", "d", command_id=told.id))
        assert held(story) == ["free"], "what was promised meanwhile stands"

    @pytest.mark.parametrize("outcome", ["message.delivered", "message.opened"])
    def test_what_arrived_all_the_same_counts_again(self, outcome):
        story, told = self.recalled(free=FREE)

        story.tell(event(outcome, "d", command_id=told.id))

        assert held(story) == ["ten"]
        assert [e.offer for e in of(story, Promised)] == ["ten", "ten"]
        story.tell(asked("free"))
        assert held(story) == ["ten"]

    def test_who_redeems_it_has_read_it_and_has_it_back_after_a_return(self):
        story, _ = self.recalled()

        story.tell(purchase("1", "tent", offers=["ten"]))

        assert of(story, OfferRedeemed) == [OfferRedeemed("ten", "1")]
        story.tell(event("order.cancelled", "c", order_id="1"))
        assert held(story) == ["ten"]

    def test_who_redeems_it_although_something_else_was_promised_meanwhile_is_refused(self):
        story, _ = self.recalled(free=FREE)
        story.tell(asked("free"))

        story.tell(purchase("1", "tent", offers=["ten"]))

        (refused,) = of(story, RedemptionRefused)
        assert refused.reason is Refusal.OFFER_CONTRADICTED

    def test_what_the_sender_dropped_was_never_told(self):
        story, told = self.recalled()
        story.tell(event("message.dropped", "d", command_id=told.id, reason="cancelled"))

        story.tell(purchase("1", "tent", offers=["ten"]))

        (refused,) = of(story, RedemptionRefused)
        assert refused.reason is Refusal.OFFER_NOT_VALID
        story.pass_time(HOUR)
        story.tell(event("seen", "again", at=story.now))
        assert held(story) == ["ten"], "it counts as never had"

    @pytest.mark.parametrize("arrives", [None, 0, 1])
    def test_what_two_messages_tell_is_taken_back_when_both_are_recalled(self, arrives):
        steps = [send("mail", offer="ten"), send("text", "sms", offer="ten"), wait("w", "1d")]
        tells = journey("tells", "seen", steps, exits=["x"], kind="service")
        story = Story(shop_of(tells, offers={"ten": {}}))
        commands = story.tell(event("seen", "e")).commands
        if arrives is not None:
            report = event("message.delivered", "d", command_id=commands[arrives].id)
            story.tell(report)

        story.tell(event("x", "x"))

        assert held(story) == ([] if arrives is None else ["ten"])
        story.tell(event("message.opened", "o", command_id=commands[1].id))
        assert held(story) == ["ten"]

    def test_also_when_one_event_ends_two_runs_that_told_it_with_one_each(self):
        steps = [send("told", offer="ten"), wait("w", "1d")]
        runs = [journey(name, "seen", steps, exits=["x"], kind="service") for name in "ab"]
        story = Story(shop_of(*runs, offers={"ten": {}}))
        story.tell(event("seen", "e"))

        story.tell(event("x", "x"))

        assert [(one.offer, one.reason) for one in of(story, PromiseEnded)] == [("ten", "recalled")]
        assert held(story) == []

    def test_what_an_order_has_named_was_told_whatever_becomes_of_its_message(self):
        story, told = self.recalled()
        order = {"order_id": "1"}
        story.tell(purchase("1", "tent", offers=["ten"]), event("order.cancelled", "c", **order))

        story.tell(event("message.dropped", "d", command_id=told.id, reason="cancelled"))

        assert held(story) == ["ten"]

    def test_what_two_messages_tell_was_never_told_when_both_are_dropped(self):
        steps = [send("mail", offer="ten"), send("text", "sms", offer="ten"), wait("w", "1d")]
        story = Story(shop_of(telling(steps=steps[1:]), offers={"ten": {}}))
        first, second = story.tell(event("seen", "e")).commands

        story.tell(event("message.dropped", "d1", command_id=first.id, reason="expired"))
        assert held(story) == ["ten"]
        story.tell(event("message.dropped", "d2", command_id=second.id, reason="expired"))
        assert held(story) == []

    def test_more_messages_than_are_counted_tell_it_for_certain(self):
        steps = [*(send(f"s{n}", offer="ten") for n in range(6)), wait("w", "1d")]
        tells = journey("tells", "seen", steps, exits=["x"], kind="service")
        story = Story(shop_of(tells, offers={"ten": {}}))
        story.tell(event("seen", "e"), event("x", "x"))

        assert held(story) == ["ten"]

    def test_what_had_arrived_before_the_exit_stays_promised(self):
        tells = journey("tells", "seen", [send("told", offer="ten"), wait("w", "1d")], exits=["x"])
        story = Story(shop_of(tells, offers={"ten": {}}))
        (told,) = story.tell(event("seen", "e")).commands
        story.tell(event("message.delivered", "d", command_id=told.id))

        story.tell(event("x", "x"))

        assert held(story) == ["ten"]

    def test_the_purchase_that_redeems_it_and_ends_the_run_redeems_it(self):
        tells = journey("tells", "seen", [send("told", offer="ten")], exits=["purchase"])
        story = Story(shop_of(tells, offers={"ten": {}}))
        story.tell(event("seen", "e"))

        story.tell(purchase("1", "tent", offers=["ten"]))

        assert of(story, OfferRedeemed) == [OfferRedeemed("ten", "1")]
        assert of(story, PromiseEnded) == []
