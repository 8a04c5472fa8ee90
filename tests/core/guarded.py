"""Short ways to tell what the guard is asked, for `test_guard` and `test_holds`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.decision import Held, SendRefused
from orchestrator.core.journeys import Journeys
from orchestrator.core.language.shop import Channel, Shop
from tests.core.builders import DAY, START, Story, event

if TYPE_CHECKING:
    from orchestrator.core.language.journey import Journey

CHANNELS = {
    "email": Channel(kind="message", address_ref="profile.email"),
    "push": Channel(kind="message", address_ref="profile.push_token"),
    "web": Channel(kind="message", needs_consent=False, quiet_hours="none"),
    "ads": Channel(kind="audience"),
    "callcenter": Channel(kind="task"),
    "webhook": Channel(kind="webhook"),
}
SEEN = "product.viewed"


def story_of(*journeys: Journey, agreed=("email", "push", "ads"), **shop) -> Story:
    """Return a customer who has agreed to promotions on some channels."""
    story = Story(Journeys(Shop.model_validate(shop), CHANNELS, journeys))
    for channel in agreed:
        consent(story, channel, granted=True, at=START - DAY)
    return story


def consent(story, channel="email", *, granted, at=None, class_="promotional"):
    """Let the customer say yes or no."""
    number = len(story.decisions)
    about = {"channel": channel, "granted": granted, "proof": "form", "class": class_}
    when = story.now if at is None else at
    return story.tell(event("consent.updated", f"consent-{number}", at=when, **about))


def see(story, number=1):
    """Let the event happen that enters the journeys."""
    return story.tell(event(SEEN, f"seen-{number}", at=story.now, sku="tent"))


def report(story, outcome, command, **data):
    """Let a sender report what became of a command."""
    number = len(story.decisions)
    return story.tell(
        event(outcome, f"report-{number}", at=story.now, command_id=command.id, **data)
    )


def refused(story):
    """Return step, reason and detail of what was not sent."""
    return [(e.step, e.reason, e.detail) for e in story.entries if isinstance(e, SendRefused)]


def held(story):
    """Return step, reason and end of each hold."""
    return [(e.step, e.reason, e.until_ms) for e in story.entries if isinstance(e, Held)]
