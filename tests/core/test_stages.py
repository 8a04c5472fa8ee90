"""A customer's stage: what earns it, what it waits for, what takes it back, what reads it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.decision import Outcome, StageChanged, StageReason, StageWithheld
from orchestrator.core.encoded.state import encode_customer
from orchestrator.core.language.shop import Shop
from orchestrator.core.rules.learning.stages import MARK_BYTES, SPARE_MARKS
from tests.core.builders import DAY, START, Story, event, item, journey, purchase, send, shop_of

STAGES = [
    {"name": "visitor"},
    {"name": "subscriber", "on": "newsletter.subscribed"},
    {"name": "customer", "on": "purchase", "requires": ["email"]},
    {
        "name": "loyal",
        "on": [
            {"event": "purchase", "times": 3},
            {"event": "profile.updated", "when": 'event.data.attributes.tier == "gold"'},
        ],
        "requires": ["first_name"],
    },
]
ANA = {"email": "ana@shop.example", "first_name": "Ana"}


def a_shop(*journeys, stages=STAGES):
    return shop_of(*journeys, shop=Shop.model_validate({"stages": stages}))


def story_of(*journeys, stages=STAGES, **profile):
    story = Story(a_shop(*journeys, stages=stages))
    if profile:
        story.tell(event("profile.updated", "known", attributes=profile))
    return story


def buy(story, *orders):
    return story.tell(*(purchase(order, "gas-1", at=story.now) for order in orders))


def stage(story):
    held = story.customer.attributes.get("stage")
    return "visitor" if held is None else held.value


def changes(story):
    return [(e.from_, e.to, e.reason) for e in story.entries if isinstance(e, StageChanged)]


def withheld(story):
    return [(e.stage, e.missing) for e in story.entries if isinstance(e, StageWithheld)]


def test_an_event_earns_a_stage_and_the_log_says_from_where_and_why():
    story = story_of(**ANA)

    story.tell(event("newsletter.subscribed", "n1"))
    buy(story, "1")

    assert changes(story) == [
        ("visitor", "subscriber", StageReason.EARNED),
        ("subscriber", "customer", StageReason.EARNED),
    ]


def test_stages_between_may_be_left_out():
    story = story_of(tier="gold", **ANA)

    assert changes(story) == [("visitor", "loyal", StageReason.EARNED)]


def test_nobody_goes_back_by_earning_an_earlier_stage():
    story = story_of(tier="gold", **ANA)

    story.tell(event("newsletter.subscribed", "n1"))

    assert stage(story) == "loyal"


def test_a_stage_may_take_the_same_event_several_times():
    story = story_of(**ANA)

    buy(story, "1", "2")
    assert stage(story) == "customer"
    buy(story, "3")
    assert stage(story) == "loyal"


def test_an_order_that_is_told_twice_counts_once():
    story = story_of(**ANA)

    buy(story, "1", "2")
    repeated = story.tell(event("purchase", "told-again", order_id="2", items=[item("gas-1")]))

    assert repeated.outcome is Outcome.DUPLICATE
    assert stage(story) == "customer"


def test_an_order_that_is_told_again_after_it_was_forgotten_counts_once():
    story = story_of(**ANA)
    buy(story, "1", "2")

    story.pass_time(100 * DAY)
    for number in range(64):
        story.tell(event("search.done", f"s{number}", at=story.now))
    told_again = story.tell(purchase("2", "gas-1"))

    assert told_again.outcome is Outcome.APPLIED
    assert stage(story) == "customer"


def test_who_lacks_an_attribute_stays_and_the_log_says_which():
    story = story_of()

    buy(story, "1")

    assert stage(story) == "visitor"
    assert withheld(story) == [("customer", ("email",))]


def test_the_missing_attribute_lets_them_go_on_when_it_comes():
    story = story_of()
    buy(story, "1")

    story.tell(event("profile.updated", "p1", attributes={"email": "ana@shop.example"}))

    assert changes(story) == [("visitor", "customer", StageReason.ATTRIBUTES_KNOWN)]


def test_an_empty_attribute_is_not_known():
    story = story_of(email=" ")

    buy(story, "1")

    assert stage(story) == "visitor"


def test_what_an_earlier_stage_requires_is_required_on_the_way_past_it():
    story = story_of(first_name="Ana")

    buy(story, "1", "2", "3")

    assert stage(story) == "visitor"
    assert withheld(story)[-1] == ("customer", ("email",))


def test_who_forgets_an_attribute_keeps_their_stage():
    story = story_of(**ANA)
    buy(story, "1")

    story.tell(event("profile.updated", "p1", at=START + 1, attributes={"email": None}))

    assert stage(story) == "customer"


def test_a_step_that_writes_what_was_missing_lets_the_customer_go_on():
    ask = journey("ask", "quiz.done", [{"id": "s", "set": {"email": {"to": "a@b.example"}}}])
    story = story_of(ask)
    buy(story, "1")

    story.tell(event("quiz.done", "q1"))

    assert stage(story) == "customer"


def test_a_cancelled_order_takes_back_what_it_earned():
    story = story_of(**ANA)
    buy(story, "1", "2", "3")

    story.tell(event("order.cancelled", "c1", order_id="2"))

    assert changes(story)[-1] == ("loyal", "customer", StageReason.ORDER_GONE)
    buy(story, "4")
    assert stage(story) == "loyal"


def test_an_order_of_which_a_part_comes_back_still_counts():
    story = story_of(**ANA)
    story.tell(event("purchase", "o1", order_id="1", items=[item("gas-1"), item("mug")]))

    story.tell(event("order.returned", "r1", order_id="1", items=[item("gas-1")]))
    assert stage(story) == "customer"

    story.tell(event("order.returned", "r2", order_id="1", items=[item("mug")]))
    assert changes(story)[-1] == ("customer", "visitor", StageReason.ORDER_GONE)


def test_a_cancellation_that_is_learned_before_its_order_counts_too():
    story = story_of(**ANA)

    story.tell(event("order.cancelled", "c1", order_id="1"))
    buy(story, "1")

    assert stage(story) == "visitor"
    assert changes(story) == []


def test_a_cancelled_order_that_did_not_matter_takes_nothing_back():
    story = story_of(**ANA)
    buy(story, "1", "2", "3", "4")

    story.tell(event("order.cancelled", "c1", order_id="4"))

    assert stage(story) == "loyal"


def test_history_brings_the_customer_to_their_stage_and_starts_nothing():
    greeting = journey("hello", None, [send("hello")], segment='profile.stage == "customer"')
    story = story_of(greeting, **ANA)

    story.tell(event("purchase", "o1", order_id="1", items=[item("gas-1")], backfill=True))

    assert changes(story) == [("visitor", "customer", StageReason.EARNED)]
    assert story.sent == []


def test_a_segment_lets_in_whoever_comes_to_the_stage():
    club = journey("club", None, [send("club")], segment='profile.stage == "loyal"')
    story = story_of(club, **ANA)

    buy(story, "1", "2")
    assert story.sent == []
    buy(story, "3", "4")
    assert story.sent == ["club"]


def test_entries_and_steps_see_the_stage_after_the_event():
    first = journey(
        "first", "purchase", [send("thanks")], when='profile.stage == "customer"', reentry="once"
    )
    story = story_of(first, **ANA)

    buy(story, "1")

    assert story.sent == ["thanks"]


def test_who_has_earned_nothing_stands_in_the_first_stage_for_every_kind_of_condition():
    """One is decided by comparison, one by CEL, one is a path in a template."""
    plain = 'profile.stage == "visitor"'
    by_cel = '["visitor"].exists(s, s == profile.stage)'
    text = send("text", variables={"stage": "profile.stage"})
    story = story_of(
        journey("a", "quiz.done", [send("plain")], when=plain),
        journey("b", "quiz.done", [send("cel")], when=by_cel, kind="service"),
        journey("c", "quiz.done", [text], kind="service"),
    )

    story.tell(event("quiz.done", "q1"))

    assert sorted(story.sent) == ["cel", "plain", "text"]
    assert {"stage": "visitor"} in [one.variables for one in story.commands]
    assert "stage" not in story.customer.attributes


def test_a_wait_for_a_stage_ends_when_it_comes():
    step = {"for": "30d", "until": [{"when": 'profile.stage == "customer"', "next": "thanks"}]}
    club = journey("club", "quiz.done", [{"id": "w", "wait": step}, send("no"), send("thanks")])
    story = story_of(club, **ANA)
    story.tell(event("quiz.done", "q1"))

    buy(story, "1")

    assert story.sent == ["thanks"]


def test_a_stage_may_ask_for_the_stage_before():
    stages = [
        {"name": "visitor"},
        {"name": "customer", "on": "purchase"},
        {
            "name": "again",
            "on": {"event": "purchase", "when": 'profile.stage == "customer"'},
        },
    ]
    story = story_of(stages=stages)

    buy(story, "1")
    assert stage(story) == "customer"
    buy(story, "2")
    assert stage(story) == "again"


def test_a_condition_that_cannot_be_evaluated_does_not_hold():
    stages = [
        {"name": "visitor"},
        {"name": "customer", "on": {"event": "purchase", "when": "event.data.order_id > 5"}},
    ]
    story = story_of(stages=stages)

    buy(story, "1")

    assert stage(story) == "visitor"


def test_what_an_event_says_of_the_stage_is_ignored():
    story = story_of(**ANA)
    buy(story, "1")

    said = {"stage": "loyal"}
    decision = story.tell(event("profile.updated", "p1", at=START + DAY, attributes=said))

    assert stage(story) == "customer"
    assert decision.entries == ()


def test_a_shop_without_stages_keeps_an_attribute_of_that_name():
    story = story_of(stages=[], stage="gold")
    buy(story, "1")

    assert stage(story) == "gold"
    assert story.customer.earned == {}
    assert changes(story) == []


def test_a_stage_that_the_shop_no_longer_has_is_left_for_the_furthest_that_is_earned():
    story = story_of(**ANA)
    buy(story, "1", "2", "3")
    story.journeys = a_shop(stages=STAGES[:3])

    story.tell(event("quiz.done", "q1"))

    assert changes(story)[-1] == ("loyal", "customer", StageReason.STAGE_GONE)
    story.tell(purchase("9", "gas-1"))
    assert all(key.startswith(("customer", "subscriber")) for key in story.customer.earned)


def test_an_attribute_from_before_the_shop_had_stages_is_no_stage():
    story = story_of(stages=[], stage=["a", "list"])
    story.journeys = a_shop()

    buy(story, "1")

    assert stage(story) == "visitor"


HISTORY = st.lists(
    st.sampled_from(
        [
            *(purchase(order, "gas-1") for order in "1234"),
            *(event("order.cancelled", f"c{order}", order_id=order) for order in "123"),
            event("newsletter.subscribed", "n1"),
            event("profile.updated", "p1", attributes={"email": "ana@shop.example"}),
            event("profile.updated", "p2", attributes={"first_name": "Ana"}),
            event("profile.updated", "p3", attributes={"tier": "gold"}),
        ]
    ),
    max_size=8,
    unique_by=lambda one: one.id,
)


@settings(max_examples=150, deadline=None)
@given(history=HISTORY, data=st.data())
def test_without_a_way_back_and_forth_any_order_of_arrival_leads_to_the_same_stage(history, data):
    """Nobody in these histories stands anywhere because of an attribute that is gone again."""
    told, shuffled = story_of(), story_of()
    for one in history:
        told.tell(one)
    for one in data.draw(st.permutations(history)):
        shuffled.tell(one)

    assert stage(told) == stage(shuffled)


@settings(max_examples=100, deadline=None)
@given(history=HISTORY, repeats=st.lists(st.integers(0, 7), max_size=5))
def test_a_repeat_changes_nothing(history, repeats):
    story = story_of()
    for one in history:
        story.tell(one)
    before = encode_customer(story.customer)

    for choice in repeats:
        if choice < len(history):
            story.tell(history[choice])

    assert encode_customer(story.customer) == before


def test_what_is_remembered_is_bounded_however_much_is_bought():
    story = story_of(**ANA)
    for number in range(50):
        buy(story, f"{number}")
        story.tell(event("newsletter.subscribed", f"n{number}"))

    assert {key: len(marks) // MARK_BYTES for key, marks in story.customer.earned.items()} == {
        "subscriber newsletter.subscribed": 1,
        "customer purchase": 1 + SPARE_MARKS,
        "loyal purchase": 3 + SPARE_MARKS,
    }
