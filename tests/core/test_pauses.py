"""What is paused does not go out, and nothing is lost or doubled by it.

A step that may not go out holds its enrollment until resume or expiry; a kill drops it. Every
decision is made again with the pauses that it names, as a replay does, and must be the same.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from orchestrator.core.command import CommandClass
from orchestrator.core.decide import decide
from orchestrator.core.decision import Ended, Held, Hold, Refusal, SendRefused
from orchestrator.core.encoded.state import (
    decode_customer,
    encode_customer,
    encoded_is_paused,
    encoded_wake_at_ms,
)
from orchestrator.core.event import Resumed
from orchestrator.core.pauses import Pause, Pauses
from tests.core.builders import (
    DAY,
    HOUR,
    MINUTE,
    START,
    Story,
    event,
    journey,
    purchase,
    send,
    shop_of,
    wait,
)

PRICE = Pause("journey/sale", "eva@shop.example", "wrong price")
SALE = journey(
    "sale",
    "product.viewed",
    [send("offer"), wait("days", "2d"), send("last")],
    exits=["purchase"],
    reentry="always",
)
REACHING = {
    "send": {"channel": "email", "template": "t"},
    "ask": {"attribute": "size", "channel": "email", "template": "t"},
    "task": {"template": "t"},
    "webhook": {"template": "t"},
    "audience": {"add": "vip"},
}


def viewed(number=1, **fields):
    return event("product.viewed", f"v{number}", **fields)


class Paused(Story):
    """A story in which somebody pauses and resumes."""

    def pause(self, *pauses):
        """Replace what is paused; nobody is visited yet."""
        revision = self.journeys.pauses.revision + 1
        self.journeys = self.journeys.pausing(Pauses(pauses, revision))

    def resume(self, *still):
        """Replace what is paused and visit the customer, as the round does."""
        self.pause(*still)
        return self._take(Resumed(self.journeys.pauses.revision))

    def _take(self, input_):
        before = self.customer
        decision = super()._take(input_)
        if decision.customer is not before:  # Else there is no record of it.
            named = self.journeys.pausing(Pauses(decision.paused))
            assert decide(named, before, input_, self.now) == decision
        return decision


def held(story):
    return [(one.step, one.reason, one.until_ms) for one in story.entries if isinstance(one, Held)]


def refused(story):
    return [(one.step, one.reason) for one in story.entries if isinstance(one, SendRefused)]


@pytest.fixture
def story():
    return Paused(shop_of(SALE))


# -- Hold ---------------------------------------------------------------------------------------


def test_a_paused_send_is_held_until_it_expires_and_the_log_says_who_and_why(story):
    story.pause(PRICE)
    story.tell(viewed())

    assert story.sent == []
    (entry,) = (one for one in story.entries if isinstance(one, Held))
    assert (entry.step, entry.reason) == ("offer", "paused")
    assert entry.until_ms == START + DAY + 1
    assert entry.detail == "journey/sale by eva@shop.example: wrong price"
    assert story.standing_in == {"sale#1": "offer"}


def test_what_is_held_goes_out_on_resume_and_the_journey_goes_on_from_there(story):
    story.pause(PRICE)
    story.tell(viewed())
    story.pass_time(HOUR)

    story.resume()

    assert story.sent == ["offer"]
    story.pass_time(2 * DAY - 1)
    assert story.sent == ["offer"]
    story.pass_time(1)
    assert story.sent == ["offer", "last"]


def test_a_held_message_is_as_old_as_when_it_was_due_first(story):
    story.pause(PRICE)
    story.tell(viewed())
    story.pass_time(5 * HOUR)

    story.resume()

    assert story.commands[0].expires_at_ms == START + DAY


def test_what_expires_while_it_is_held_is_refused_and_the_journey_goes_on(story):
    story.pause(PRICE)
    story.tell(viewed())
    story.pass_time(DAY + 1)

    assert refused(story) == [("offer", Refusal.EXPIRED)]
    assert story.standing_in == {"sale#1": "days"}
    story.resume()
    story.pass_time(3 * DAY)
    assert story.sent == ["last"]


def test_an_exit_ends_who_is_held_at_once(story):
    story.pause(PRICE)
    story.tell(viewed())

    story.tell(purchase("1", "tent"))
    story.resume()

    assert story.sent == []
    assert [one.step for one in story.entries if isinstance(one, Ended)] == ["offer"]
    assert not story.customer.enrollments


@pytest.mark.parametrize("word", REACHING)
def test_every_step_that_reaches_somebody_is_held_and_taken_again_once(word):
    story = Paused(shop_of(journey("j", "product.viewed", [{"id": "s", word: REACHING[word]}])))
    story.pause(Pause("global", "eva", "stop"))
    story.tell(viewed())
    assert not story.commands

    story.resume()
    story.resume()

    assert [command.step for command in story.commands if command.type != "audience.remove"] == [
        "s"
    ]


EVERYTHING = Pause("global", "eva", "stop", kill=True, transactional=True)


def test_cancels_and_removals_by_an_exit_go_out_although_everything_is_paused():
    steps = [{"id": "in", "audience": {"add": "vip"}}, send("mail"), wait("w", "1d")]
    story = Paused(shop_of(journey("j", "product.viewed", steps, exits=["purchase"])))
    story.tell(viewed())
    story.pause(EVERYTHING)

    decision = story.tell(purchase("1", "tent"))

    assert [one.type for one in decision.commands] == ["message.cancel", "audience.remove"]


def test_a_step_that_removes_from_an_audience_is_never_paused():
    steps = [{"id": "out", "audience": {"remove": "vip"}}]
    story = Paused(shop_of(journey("j", "product.viewed", steps)))
    story.pause(EVERYTHING)

    story.tell(viewed())

    assert [one.type for one in story.commands] == ["audience.remove"]


def test_a_farewell_cannot_wait_and_is_refused():
    farewell = {"on": "purchase", "then": {"channel": "sms", "template": "thanks"}}
    story = Paused(shop_of(journey("j", "product.viewed", [wait("w", "9d")], exits=[farewell])))
    story.tell(viewed())
    story.pause(Pause("channel/sms", "eva", "number is blocked"))

    story.tell(purchase("1", "tent"))

    assert refused(story) == [("exit", Refusal.PAUSED)]
    assert not story.commands


# -- Kill ---------------------------------------------------------------------------------------


def test_a_kill_drops_what_would_go_out_and_the_journey_goes_on(story):
    story.pause(Pause("channel/email", "eva", "blocked", kill=True))
    story.tell(viewed())

    (entry,) = (one for one in story.entries if isinstance(one, SendRefused))
    assert entry.reason is Refusal.PAUSED
    assert entry.detail == "channel/email by eva: blocked"
    assert story.standing_in == {"sale#1": "days"}
    story.resume()
    assert story.sent == []


def test_a_kill_of_what_is_paused_drops_what_is_held(story):
    story.pause(PRICE)
    story.tell(viewed())

    story.resume(Pause("journey/sale", "eva", "wrong price", kill=True))
    story.resume()

    assert refused(story) == [("offer", Refusal.PAUSED)]
    assert story.sent == []


def test_a_pause_that_kills_comes_before_one_that_holds(story):
    story.pause(Pause("global", "ben", "wrong data"), Pause("journey/sale", "e", "x", kill=True))

    story.tell(viewed())

    assert refused(story) == [("offer", Refusal.PAUSED)]
    assert held(story) == []


# -- Scopes -------------------------------------------------------------------------------------

SCOPES = ("global", "channel/email", "journey/sale", "offer/winter", "channel/sms", "journey/other")


@pytest.mark.parametrize(("scope", "stops"), [*zip(SCOPES, [True] * 4 + [False] * 2, strict=True)])
def test_a_pause_concerns_its_scope_only(scope, stops):
    of = Pauses([Pause(scope, "eva", "stop")]).of

    found = of(
        journey="sale", channel="email", offer="winter", command_class=CommandClass.PROMOTIONAL
    )

    assert (found is not None) == stops


def test_transactional_messages_go_out_unless_they_are_meant(story):
    receipt = journey("post", "purchase", [send("receipt")], kind="transactional")
    story = Paused(shop_of(receipt))
    story.pause(Pause("global", "eva", "stop"))
    story.tell(purchase("1", "tent"))
    assert story.sent == ["receipt"]

    story.pause(Pause("channel/email", "eva", "stop", transactional=True))
    story.tell(purchase("2", "tent", at=START + 1))
    assert story.sent == ["receipt"]

    story.resume()
    assert story.sent == ["receipt", "receipt"]


def test_who_is_held_by_two_pauses_waits_for_both(story):
    story.pause(PRICE, Pause("global", "ben", "wrong data"))
    story.tell(viewed())

    still = story.resume(PRICE)
    assert not still.entries
    assert still.customer == story.customer
    story.resume()

    assert story.sent == ["offer"]
    assert len(held(story)) == 1


def test_a_resume_leaves_those_alone_whom_something_else_holds(story):
    story.pause(PRICE)
    story.tell(viewed())
    (enrollment,) = story.customer.enrollments
    elsewise = replace(enrollment, held=Hold.QUIET_HOURS.value)
    story.customer = replace(story.customer, enrollments=(elsewise,))

    story.resume()

    assert story.sent == []
    assert story.customer.enrollments == (elsewise,)


PAUSES = st.lists(
    st.builds(
        Pause,
        st.sampled_from(SCOPES),
        st.sampled_from(["eva", "ben"]),
        st.just("because"),
        st.booleans(),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda pause: pause.scope,
)


@given(
    pauses=PAUSES,
    asked=st.lists(
        st.tuples(
            st.sampled_from(["sale", "other", "third"]),
            st.sampled_from(["email", "sms", "push"]),
            st.sampled_from(["winter", None]),
            st.sampled_from(list(CommandClass)),
        )
    ),
)
def test_the_pauses_that_were_met_answer_every_question_as_all_of_them_did(pauses, asked):
    def answers(of):
        return [of(journey=j, channel=c, offer=o, command_class=k) for j, c, o, k in asked]

    found = answers(Pauses(pauses).of)
    met = Pauses({one.scope: one for one in found if one is not None}.values())

    assert answers(met.of) == found


def test_a_decision_names_only_the_pauses_that_it_met(story):
    other = Pause("channel/sms", "eva", "stop")
    story.pause(PRICE, other)

    assert story.tell(event("search.done", "s1")).paused == ()
    assert story.tell(viewed()).paused == (PRICE,)


def test_an_encoded_customer_says_whether_a_pause_holds_them_and_when_that_ends(story):
    story.tell(viewed())
    waiting = encode_customer(story.customer)
    story.pass_time(3 * DAY)
    story.pause(PRICE)
    story.tell(viewed(2, at=story.now))
    value = encode_customer(story.customer)

    assert not encoded_is_paused(waiting)
    assert encoded_is_paused(value)
    assert encoded_wake_at_ms(value) == story.now + DAY + 1
    assert decode_customer(value) == story.customer


def test_promotions_that_one_resume_lets_go_compete_like_any_that_are_due_at_once():
    other = journey("other", "product.viewed", [send("second", "sms")])
    other = other.model_copy(update={"priority": 90})
    story = Paused(shop_of(SALE, other))
    story.pause(Pause("global", "eva", "stop"))
    story.tell(viewed())

    story.resume()

    assert story.sent == ["second"]
    assert refused(story) == [("offer", Refusal.ARBITRATION)]


# -- Whole histories ----------------------------------------------------------------------------

# Messages of "long" never expire here; those of "short" do, while a pause lasts.
LONG = {"expires_after": "3650d"}
CAMPAIGNS = shop_of(
    journey(
        "long",
        "product.viewed",
        [
            send("l1", **LONG),
            wait("lw", "1h"),
            send("l2", "sms", **LONG),
            {"id": "lt", "task": {"template": "call", "expires_after": "3650d"}},
            wait("lx", "30m"),
            send("l3", "push", **LONG),
        ],
        key="event.data.sku",
        reentry="always",
        kind="service",
    ),
    journey(
        "short",
        "cart.abandoned",
        [
            {"id": "first", "wait": "20m"},
            send("s1", expires_after="1h"),
            wait("sw", "2h"),
            send("s2", "sms", expires_after="1h"),
        ],
        key="event.data.sku",
        reentry="always",
        kind="service",
        exits=["purchase"],
    ),
    journey("post", "purchase", [send("receipt")], kind="transactional", key="event.data.order_id"),
)
SCOPES_OF_CAMPAIGNS = st.sampled_from(
    ["global", "channel/email", "channel/sms", "journey/long", "journey/short"]
)
HAPPENING = st.one_of(
    st.tuples(st.just("view"), st.sampled_from("abc")),
    st.tuples(st.just("cart"), st.sampled_from("abc")),
    st.tuples(st.just("buy"), st.just("")),
    st.tuples(st.just("pause"), SCOPES_OF_CAMPAIGNS),
    st.tuples(st.just("kill"), SCOPES_OF_CAMPAIGNS),
    st.tuples(st.just("resume"), SCOPES_OF_CAMPAIGNS),
    st.tuples(st.just("pass"), st.sampled_from([MINUTE, 25 * MINUTE, HOUR, 3 * HOUR])),
)


def live(history, *, pausing=True):
    """Live through a history, and to the end of all that waits; return the story."""
    story, in_force = Paused(CAMPAIGNS), {}
    types = {"view": "product.viewed", "cart": "cart.abandoned"}
    for number, (what, how) in enumerate(history):
        match what:
            case "view" | "cart":
                story.tell(event(types[what], f"e{number}", at=story.now, sku=how))
            case "buy":
                story.tell(purchase(f"{number}", "tent", at=story.now))
            case "pass":
                story.pass_time(how)
            case _ if pausing:
                in_force.pop(how, None)
                if what != "resume":
                    in_force[how] = Pause(how, "eva", "because", kill=what == "kill")
                story.resume(*in_force.values())
        for command in story.decisions[-1].commands if story.decisions else ():
            concerned = story.journeys.pauses.of(
                journey=command.journey,
                channel=command.channel,
                command_class=command.command_class,
            )
            assert concerned is None or command.type in {"message.cancel", "task.close"}
    story.resume()
    story.pass_time(400 * DAY)
    assert story.wake_at is None
    return story


def reached(story):
    """Count what went out, by enrollment and step."""
    return Counter(
        (one.enrollment, one.step)
        for one in story.commands
        if one.type in {"message.send", "task.create"}
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(HAPPENING, max_size=25))
def test_everything_goes_out_once_or_the_log_says_why_not(history):
    paused, free = live(history), live(history, pausing=False)

    out, wanted = reached(paused), reached(free)
    assert set(out.values()) <= {1}
    assert out.keys() <= wanted.keys(), "a pause made something go out that would not have"
    dropped = {(one.enrollment, one.step) for one in paused.entries if isinstance(one, SendRefused)}
    ended = {
        one.enrollment
        for one in paused.entries
        if isinstance(one, Ended) and one.reason == "exit" and one.step is not None
    }
    for enrollment, step in wanted.keys() - out.keys():
        assert (enrollment, step) in dropped or enrollment in ended


@settings(max_examples=200, deadline=None)
@given(st.lists(HAPPENING.filter(lambda one: one[0] not in {"kill", "cart", "buy"}), max_size=25))
def test_without_expiry_exits_and_kills_the_same_goes_out_as_without_any_pause(history):
    assert reached(live(history)) == reached(live(history, pausing=False))
