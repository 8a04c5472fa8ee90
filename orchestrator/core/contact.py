"""Whether a customer may be reached: consents, dead addresses, what was sent, who is talking.

`decide` applies events here before any journey looks at the customer; `rules/guard` asks before
anything goes out. Events may arrive in any order, so each function gives the same result for the
same facts whichever comes first.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from orchestrator.core.customer import Consent, Contact, Removal, Response, Sent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.core.customer import Attribute, OpenCommand
    from orchestrator.core.event import Event
    from orchestrator.core.language.shop import Cap

# A withdrawal whose channel nobody knows is one from all of them.
EVERY_CHANNEL: Final = "*"
PROMOTIONAL: Final = "promotional"
# What the sender reports of a message that it handed over.
REACHED: Final = frozenset(
    ("message.delivered", "message.opened", "message.clicked", "message.replied")
)
# How much a response says. It fades by 5/256 a day, to half in about five weeks; in whole numbers,
# so that every machine comes to the same.
WEIGHTS: Final = {"message.opened": 1_000, "message.clicked": 2_000, "message.replied": 3_000}
_KEPT, _WHOLE = 251, 256
_FADED_DAYS: Final = 400
_SCORE_MAX: Final = 1_000_000
_DAY_MS: Final = 86_400_000
# An unbounded number of channels that nobody declared must not make the state grow.
CONSENTS_MAX: Final = 64
REMOVALS_MAX: Final = 16


def contact_after(
    contact: Contact, event: Event, channel: str | None, *, now_ms: int, timeout_ms: int
) -> Contact:
    """Return what is known after an event that says something about reaching the customer.

    `channel` is the one that the event is about, None when nobody knows; `timeout_ms` is how long
    a person talks at most.
    """
    match event.type:
        case "consent.updated":
            data = event.data
            key = _key(str(data.get("channel")), str(data.get("class")))
            return _with_consent(contact, key, event, granted=data.get("granted") is True)
        case "message.unsubscribed":
            key = _key(channel or EVERY_CHANNEL, PROMOTIONAL)
            return _with_consent(contact, key, event, granted=False)
        case "message.bounced" if channel is not None:
            before = contact.bounced.get(channel, -1)
            bounced = {**contact.bounced, channel: max(before, event.time_ms)}
            return replace(contact, bounced=bounced)
        case "handoff.started":
            until_ms = min(event.time_ms, now_ms) + timeout_ms
            if until_ms <= max(now_ms, contact.talking_until_ms):
                return contact
            return replace(contact, talking_until_ms=until_ms)
        case "handoff.ended" if contact.talking_until_ms:
            return replace(contact, talking_until_ms=0)
        case _:
            return contact


def consented(contact: Contact, channel: str, command_class: str) -> bool | None:
    """Return the newest word on a channel and class; None when there is none."""
    held = contact.consents.get(_key(channel, command_class))
    everywhere = contact.consents.get(_key(EVERY_CHANNEL, command_class))
    words = [one for one in (held, everywhere) if one is not None]
    return max(words, key=_version).granted if words else None


def bounced_at_ms(contact: Contact, channel: str, address_changed_ms: int | None) -> int | None:
    """Return when the channel's address turned out to be dead; None when it is not known to be.

    A newer address may be reached again.
    """
    at_ms = contact.bounced.get(channel)
    if at_ms is not None and address_changed_ms is not None and address_changed_ms > at_ms:
        return None
    return at_ms


def address_changed_ms(address_ref: str | None, attributes: Mapping[str, Attribute]) -> int | None:
    """Return since when the profile holds the address of a channel; None when it holds none."""
    address = attributes.get((address_ref or "").removeprefix("profile."))
    return None if address is None else address.time_ms


def counted(contact: Contact, sent: Sent, longest_ms: int, now_ms: int) -> Contact:
    """Return the contact with one more message that caps count, without those they forget."""
    kept = (one for one in contact.sends if _may_count(one, longest_ms, now_ms))
    return replace(contact, sends=(*kept, sent))


def uncounted(contact: Contact, commands: Iterable[str]) -> Contact:
    """Return the contact after commands were cancelled or dropped: they do not count.

    One that has reached the customer stays counted (a sender drops what it is handed a second time
    as a duplicate), and one that is reported delivered nevertheless counts again: it is remembered
    for as long as it might have been handed over.
    """
    gone = frozenset(commands)
    sends = tuple(
        replace(one, counts=False) if one.id in gone and one.expires_at_ms else one
        for one in contact.sends
    )
    return contact if sends == contact.sends else replace(contact, sends=sends)


def handed_over(contact: Contact, command: object, at_ms: int) -> Contact:
    """Return the contact after a sender has reported when a message reached the customer.

    Who opens it days later had it before it expired: senders hand nothing over after that.
    """
    sends = contact.sends
    for index, one in enumerate(sends):
        if one.id == command and (one.expires_at_ms or not one.counts):
            reached_ms = min(at_ms, one.expires_at_ms) if one.expires_at_ms else at_ms
            final = replace(one, time_ms=max(one.time_ms, reached_ms), expires_at_ms=0, counts=True)
            return replace(contact, sends=(*sends[:index], final, *sends[index + 1 :]))
    return contact


def responded(contact: Contact, channel: str, event_type: str, at_ms: int) -> Contact:
    """Return the contact after a response on a channel, whose weight adds to what is left."""
    weight, day = WEIGHTS.get(event_type, 0), at_ms // _DAY_MS
    held = contact.responses.get(channel, Response(0, day))
    newest = max(day, held.day)
    score = _faded(held.score, newest - held.day) + _faded(weight, newest - day)
    if not score or (channel not in contact.responses and len(contact.responses) >= CONSENTS_MAX):
        return contact
    response = Response(min(score, _SCORE_MAX), newest)
    return replace(contact, responses={**contact.responses, channel: response})


def response_score(responses: Mapping[str, Response], channel: str, now_ms: int) -> int:
    """Return how much the customer responds on a channel as of now; 0 when never."""
    held = responses.get(channel)
    return 0 if held is None else _faded(held.score, max(0, now_ms // _DAY_MS - held.day))


def _faded(score: int, days: int) -> int:
    if days >= _FADED_DAYS:
        return 0
    return int(score * _KEPT**days // _WHOLE**days)


def removing(contact: Contact, command: str, now_ms: int) -> Contact:
    """Return the contact with a removal from an audience that the platform has to apply."""
    if len(contact.removals) >= REMOVALS_MAX:
        return contact  # The oldest ones say enough.
    return replace(contact, removals=(*contact.removals, Removal(command, now_ms)))


def removed(contact: Contact, command: object) -> Contact:
    """Return the contact after the platform has applied a command."""
    left = tuple(one for one in contact.removals if one.command != command)
    return contact if len(left) == len(contact.removals) else replace(contact, removals=left)


def cap_reached(contact: Contact, cap: Cap, about: tuple[str, str, str], now_ms: int) -> bool:
    """Whether one more message would exceed a cap in the window that ends now.

    `about` is channel, class and journey. A message that may still be handed over counts as of
    now: the customer gets it at the earliest now.
    """
    return cap_concerns(cap, *about) and cap_used(contact, cap, now_ms) >= cap.max


def cap_used(contact: Contact, cap: Cap, now_ms: int) -> int:
    """Return how many messages a cap counts in the window that ends now."""
    from_ms = now_ms - cap.per
    found = 0
    for one in contact.sends:
        if (
            one.counts
            and cap_concerns(cap, one.channel, one.command_class, one.journey)
            and (one.time_ms > from_ms or one.expires_at_ms >= now_ms)
        ):
            found += 1
    return found


def cap_concerns(cap: Cap, channel: str, command_class: str, journey: str) -> bool:
    """Whether a cap counts messages like this."""
    return (
        cap.command_class == command_class
        and (cap.channel is None or cap.channel == channel)
        and (cap.journey is None or cap.journey == journey)
    )


def channel_of(event: Event, open_commands: Iterable[OpenCommand], contact: Contact) -> str | None:
    """Return the channel of the message that a sender reports on: as it says, else as we know."""
    said = event.data.get("channel")
    if isinstance(said, str) and said:
        return said
    command_id = event.data.get("command_id")
    known: Iterable[OpenCommand | Sent] = chain(open_commands, contact.sends)
    return next((one.channel for one in known if one.id == command_id), None)


def _may_count(sent: Sent, longest_ms: int, now_ms: int) -> bool:
    """Whether it is in the longest window, or is if it turns out to have arrived at the last."""
    return max(sent.time_ms, sent.expires_at_ms) > now_ms - longest_ms


def _with_consent(contact: Contact, key: str, event: Event, *, granted: bool) -> Contact:
    """Return the contact with a word on consent, where it is the newest; of two at once the no."""
    said = Consent(granted, event.time_ms, event.source, event.id)
    held = contact.consents.get(key)
    if held is not None and _version(held) >= _version(said):
        return contact
    consents: Mapping[str, Consent] = {**contact.consents, key: said}
    if len(consents) > CONSENTS_MAX:
        oldest = min(consents, key=lambda one: (not consents[one].granted, _version(consents[one])))
        consents = {name: one for name, one in consents.items() if name != oldest}
    return replace(contact, consents=consents)


def _version(consent: Consent) -> tuple[int, bool, str, str]:
    return consent.time_ms, not consent.granted, consent.source, consent.id


def _key(channel: str, command_class: str) -> str:
    return f"{channel}/{command_class}"
