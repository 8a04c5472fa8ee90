from tests.core.builders import DAY, HOUR, Story, event, journey, purchase, send, shop_of, wait


def test_a_purchase_ends_the_promotion_in_the_middle_of_its_wait_and_starts_post_purchase():
    shop = shop_of(
        journey(
            "winter",
            "newsletter.subscribed",
            [
                send(
                    "hello",
                    variables={"first_name": {"value": "profile.first_name", "default": "friend"}},
                ),
                wait("weeks", "2w"),
                send("again"),
            ],
            exits=["purchase"],
        ),
        journey(
            "post_purchase",
            "purchase",
            [send("thank_you"), wait("few_days", "3d"), send("review")],
            kind="transactional",
            key="event.data.order_id",
        ),
    )
    story = Story(shop)
    story.tell(event("newsletter.subscribed", "n1"))
    story.pass_time(3 * DAY)
    story.tell(purchase("1001", "tent"))
    print(story.customer)
    for e in story.entries:
        print(e)
    for e in story.commands:
        print(e)
    assert story.sent == ["hello", "thank_you"]
    story.pass_time(30 * DAY)
    assert story.sent == ["hello", "thank_you", "review"]
    assert [c.sequence for c in story.commands] == list(range(1, len(story.commands) + 1))
