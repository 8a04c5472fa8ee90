"""Short ways to write stories about offers."""

from __future__ import annotations

from orchestrator.core.offers.ledger import open_names
from tests.core.builders import (
    START,
    event,
    journey,
    send,
    wait,
)

FREE = {"gives": {"free_shipping": True}}
NOT_GOLD = 'has(profile.tier) == false || profile.tier != "gold"'
WELCOME = {
    "acquisition": True,
    "qualifies": NOT_GOLD,
    "otherwise": {"template": "hello_again", "variables": {"tier": "profile.tier"}},
    "code": "W10",
}


def telling(offer="ten", *, on="seen", steps=None, **fields):
    """Return a journey that tells an offer by e-mail and then waits for a day."""
    told = [send("told", offer=offer, **fields), *(steps or [wait("day", "1d")])]
    return journey("tells", on, told, kind="service")


def asked(name, event_id=None, *, at=START, **data):
    return event("offer.requested", event_id or f"ask-{name}", at=at, offer=name, **data)


def known(event_id="known", *, at=START, **attributes):
    return event("profile.updated", event_id, at=at, attributes=attributes)


def of(story, *kinds):
    return [entry for entry in story.entries if isinstance(entry, kinds)]


def held(story):
    return open_names(story.customer.promises, story.now)
