"""Steps that write, ask for and tell what is known: `set`, `ask`, `emit`, `webhook`."""

from orchestrator.core.decision import AttributesSet, Refusal, SendRefused
from orchestrator.core.language.shop import Shop
from tests.core.builders import DAY, HOUR, START, Story, event, journey, send, shop_of, wait

ASK = {"id": "q", "ask": {"attribute": "size", "channel": "email", "template": "your_size"}}
SHOP = Shop(events={"vip.reached": ("tier",)})


def lived(*journeys, tell=(), shop=None):
    story = Story(shop_of(*journeys, shop=shop))
    for one in tell:
        story.tell(one)
    return story


def profile(event_id="p1", at=START, **attributes):
    return event("profile.updated", event_id, at=at, attributes=attributes)


def value(story, name):
    attribute = story.customer.attributes.get(name)
    return None if attribute is None else attribute.value


def setting(**attributes):
    return {"id": "s", "set": attributes}


def test_set_writes_a_value_and_a_constant():
    step = setting(first_seen="trigger.data.sku", lifecycle={"to": "browsing"})
    story = lived(journey("j", "seen", [step]), tell=[event("seen", "e1", sku="tent-2")])

    assert value(story, "first_seen") == "tent-2"
    assert value(story, "lifecycle") == "browsing"
    (entry,) = (one for one in story.entries if isinstance(one, AttributesSet))
    assert entry.attributes == ("first_seen", "lifecycle")


def test_set_leaves_alone_what_it_has_no_value_for():
    known = profile(first_seen="boots")
    story = lived(
        journey("j", "seen", [setting(first_seen="trigger.data.sku")]),
        tell=[known, event("seen", "e1")],
    )

    assert value(story, "first_seen") == "boots"


def test_the_steps_below_see_what_was_set():
    steps = [
        setting(tier={"to": "gold"}),
        {"id": "b", "branch": [{"when": 'profile.tier == "gold"', "next": "yes"}, {"next": "no"}]},
        send("yes", goes_to="end"),
        send("no"),
        {"id": "end", "end": "done"},
    ]
    assert lived(journey("j", "seen", steps), tell=[event("seen", "e1")]).sent == ["yes"]


def test_a_later_update_of_the_profile_wins_over_what_a_step_set():
    story = lived(journey("j", "seen", [setting(tier={"to": "gold"})]), tell=[event("seen", "e1")])
    story.now += 1

    story.tell(profile("p2", at=story.now, tier="none"))

    assert value(story, "tier") == "none"


def test_what_a_step_sets_ends_the_wait_of_another_journey_at_once():
    until = [{"when": 'profile.tier == "gold"', "next": "now"}]
    waits = [{"id": "w", "wait": {"for": "9d", "until": until}, "next": "end"}, send("now")]
    waiting = journey("a", "hello", [*waits, {"id": "end", "end": "x"}])
    story = lived(
        waiting,
        journey("b", "seen", [setting(tier={"to": "gold"})]),
        tell=[event("hello", "e1"), event("seen", "e2")],
    )

    assert story.sent == ["now"]


def test_a_question_is_asked_once_and_its_answer_becomes_an_attribute():
    story = lived(journey("j", "seen", [ASK]), tell=[event("seen", "e1")])
    (asked,) = story.commands
    story.now += HOUR

    story.tell(event("message.replied", "r1", at=story.now, command_id=asked.id, answer="43"))
    story.tell(event("seen", "e2", at=story.now))

    assert asked.template == "your_size"
    assert value(story, "size") == "43"
    assert len(story.commands) == 1
    assert not [one for one in story.entries if isinstance(one, SendRefused)]


def test_an_answer_ends_the_wait_for_it():
    until = [{"when": "has(profile.size) && size(profile.size) > 1", "next": "thanks"}]
    waits = {"id": "w", "wait": {"for": "3d", "until": until}, "next": "end"}
    steps = [ASK, waits, send("thanks"), {"id": "end", "end": "done"}]
    story = lived(journey("j", "seen", steps), tell=[event("seen", "e1")])

    story.tell(event("message.replied", "r1", command_id=story.commands[0].id, answer="43"))

    assert story.sent == ["your_size", "thanks"]


def test_a_question_without_an_answer_is_not_asked_again():
    story = lived(journey("j", "seen", [ASK]), tell=[event("seen", "e1"), event("seen", "e2")])

    assert story.sent == ["your_size"]
    (refused,) = (one for one in story.entries if isinstance(one, SendRefused))
    assert (refused.reason, refused.detail) == (Refusal.ALREADY_ASKED, "size")


def test_a_question_whose_answer_is_known_is_not_asked():
    story = lived(journey("j", "seen", [ASK]), tell=[profile(size="42"), event("seen", "e1")])

    assert story.sent == []


def test_a_reply_to_something_else_answers_nothing():
    story = lived(journey("j", "seen", [ASK, send("a")]), tell=[event("seen", "e1")])
    other = story.commands[1].id

    story.tell(event("message.replied", "r1", command_id=other, answer="43"))

    assert value(story, "size") is None


def test_an_event_that_a_step_tells_has_an_id_of_its_own_and_the_values():
    emit = {"id": "t", "emit": {"event": "vip.reached", "data": {"tier": "profile.tier"}}}
    story = lived(
        journey("j", "seen", [emit]),
        tell=[profile(tier="gold"), event("seen", "e1"), event("seen", "e2")],
        shop=SHOP,
    )

    told = [one for decision in story.decisions for one in decision.told]

    assert [(one.type, one.data, one.subject) for one in told] == [
        ("vip.reached", {"tier": "gold"}, "ana")
    ] * 2
    assert told[0].id != told[1].id


def test_a_webhook_goes_to_its_channel_with_its_values():
    hook = {
        "id": "w",
        "webhook": {"template": "crm_note", "variables": {"sku": "trigger.data.sku"}},
    }
    story = lived(journey("j", "seen", [hook]), tell=[event("seen", "e1", sku="tent-2")])

    (command,) = story.commands

    assert (command.channel, command.template, command.variables) == (
        "webhook",
        "crm_note",
        {"sku": "tent-2"},
    )
    assert command.delivery == "at_least_once"


def test_a_goal_is_owed_to_the_last_message_within_its_window():
    goal = {"on": "purchase", "within": "2d"}
    steps = [send("first"), wait("w", "3d"), send("second"), wait("v", "9d")]
    story = lived(journey("j", "seen", steps, goal=goal), tell=[event("seen", "e1")])
    story.pass_time(4 * DAY)
    bought = event("purchase", "b1", at=story.now, order_id="1", items=[], total=1, currency="EUR")

    (reached, *_) = story.tell(bought).entries

    assert (reached.journey, reached.command) == ("j", story.commands[1].id)


def test_a_goal_is_reached_once_and_may_be_owed_to_nobody():
    goal = {"on": "store.visited", "within": "1d"}
    story = lived(
        journey("j", "seen", [send("first"), wait("w", "9d")], goal=goal),
        tell=[event("seen", "e1")],
    )
    story.pass_time(2 * DAY)

    first = story.tell(event("store.visited", "s1", at=story.now))
    second = story.tell(event("store.visited", "s2", at=story.now))

    assert [one.command for one in first.entries] == [None]
    assert second.entries == ()


def test_a_goal_may_be_the_end():
    goal = {"on": "store.visited", "ends": True}
    story = lived(
        journey("j", "seen", [send("a"), wait("w", "9d")], goal=goal), tell=[event("seen", "e1")]
    )

    story.tell(event("store.visited", "s1"))

    assert story.standing_in == {}
    assert [one.type for one in story.commands] == ["message.send", "message.cancel"]
    assert story.entries[-2].reason == "goal"
