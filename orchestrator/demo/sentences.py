"""Why something happened or did not, in sentences: one for each word of the core's closed lists.

`demo/timeline` puts them together for `explain` and for the report. A new Refusal or EndReason
without its sentence fails a test, so that no answer ends in a code word.
"""

from __future__ import annotations

from typing import Final

from orchestrator.core.decision import (
    ClaimRefusal,
    EndReason,
    Hold,
    PromiseEnd,
    Refusal,
    StageReason,
)

# Each completes "… , because".
REFUSED_BECAUSE: Final = {
    Refusal.CONDITION_FAILED: "its entry condition could not be evaluated for this event",
    Refusal.TOO_OLD: "the event was already older than the journey accepts",
    Refusal.REENTRY: "its re-entry rule does not let this customer in again yet",
    Refusal.ALREADY_ENROLLED: "the customer was already in it",
    Refusal.EXITED_LATER: "an event that ends it, no older than this one, had come before",
    Refusal.ALREADY_OWNED: "the customer has already bought what it is about",
    Refusal.EXPIRED: "its time had passed before it could go out",
    Refusal.MISSING_VARIABLE: "the template needs a value that nobody knows and has no default for",
    Refusal.RENDERING_FAILED: "its template could not be filled in with these values",
    Refusal.ALREADY_ASKED: "this question was asked before, and is asked only once",
    Refusal.OFFER_NOT_VALID: "the offer cannot be counted on here and now",
    Refusal.OFFER_NOT_QUALIFIED: "the offer is not for this customer",
    Refusal.OFFER_CONTRADICTED: "the customer holds a promise that contradicts the offer",
    Refusal.OFFER_USED: "the customer has had the offer as often as it may be had",
    Refusal.SUPPRESSED: "nothing may be sent to this address",
    Refusal.NO_CONSENT: "the customer has not agreed to it",
    Refusal.FREQUENCY_CAP: "the customer has had as many as the shop allows",
    Refusal.NO_ADDRESS: "nobody knows where to reach the customer on these channels",
    Refusal.PAUSED: "somebody has stopped it",
    Refusal.ERASED: "the customer was erased",
    Refusal.ARBITRATION: "another promotion went out at that moment",
}
HELD_BECAUSE: Final = {
    Hold.QUIET_HOURS: "these are quiet hours where the customer is",
    Hold.SPACING: "the last promotion was too short a time ago",
    Hold.PAUSED: "somebody has paused it",
    Hold.DELIVERY: "another channel is tried only when this one brings nothing",
    Hold.HANDOFF: "one of our people is talking to the customer",
}
ENDED_BECAUSE: Final = {
    EndReason.COMPLETED: "it ran to its end",
    EndReason.EXIT: "this event ends it",
    EndReason.GOAL: "it reached its goal",
    EndReason.VERSION_GONE: "the version that the customer had entered is no longer loaded",
    EndReason.STEP_GONE: "the step in which the customer stood no longer exists",
    EndReason.STEP_FAILED: "its next step could not be evaluated",
    EndReason.ERASED: "the customer was erased",
}
CLAIM_REFUSED_BECAUSE: Final = {
    ClaimRefusal.ALREADY_CLAIMED: "somebody else has it",
    ClaimRefusal.NOT_OPEN: "it is not open",
}
STAGE_BECAUSE: Final = {
    StageReason.EARNED: "this event earned it",
    StageReason.ATTRIBUTES_KNOWN: "what it requires is known now",
    StageReason.ORDER_GONE: "an order that had earned more is gone",
    StageReason.STAGE_GONE: "the shop no longer has the stage",
}
PROMISE_ENDED_BECAUSE: Final = {
    PromiseEnd.REJECTED: "the customer does not want it",
    PromiseEnd.NOT_QUALIFIED: "it turned out not to be for this customer",
    PromiseEnd.NEVER_TOLD: "what told it was dropped",
    PromiseEnd.RECALLED: "what told it was called back",
}
# What a sender says about a message; the contract's feedback types and drop reasons.
FINAL: Final = {
    "delivered": "it was delivered",
    "bounced": "it bounced",
    "failed": "the sender could not deliver it",
    "dropped": "the sender dropped it",
    "fenced": "the sender found the enrollment fenced and dropped it",
    "cancelled": "the sender saw the cancel in time and dropped it",
    "expired": "nobody got to it in time",
    "duplicate": "the sender had already sent it and dropped the repeat",
    "closed": "one of our people closed it",
    "killed": "somebody stopped all sending and the sender dropped it",
    "test": "test mode: the recipient is not on the sender's list",
}
CHANNELS: Final = {
    "email": "e-mail",
    "sms": "text message",
    "push": "push message",
    "whatsapp": "WhatsApp message",
    "voice": "voice call",
    "chat": "chat message",
    "web": "on-site message",
    "ads": "ads audience",
    "callcenter": "call-centre task",
    "webhook": "webhook call",
}


def refused_because(reason: str) -> str:
    """Return the sentence of a refusal; a word of a newer release is quoted as it is."""
    known = {refusal.value: text for refusal, text in REFUSED_BECAUSE.items()}
    return known.get(reason, f"of a reason this release does not know: {reason}")


def held_because(reason: str) -> str:
    """Return the sentence of a hold; a word of a newer release is quoted as it is."""
    known = {hold.value: text for hold, text in HELD_BECAUSE.items()}
    return known.get(reason, f"of a reason this release does not know: {reason}")


def stage_because(reason: str) -> str:
    """Return the sentence of a stage; a word of a newer release is quoted as it is."""
    known = {one.value: text for one, text in STAGE_BECAUSE.items()}
    return known.get(reason, f"of a reason this release does not know: {reason}")


def ended_because(reason: str) -> str:
    """Return the sentence of an end; a word of a newer release is quoted as it is."""
    known = {end.value: text for end, text in ENDED_BECAUSE.items()}
    return known.get(reason, f"of a reason this release does not know: {reason}")


def final_sentence(outcome: str) -> str:
    """Return what a sender's report says about a message."""
    return FINAL.get(outcome, f"the sender reported: {outcome}")


def channel_noun(channel: str) -> str:
    """Return what one command of a channel is called among people."""
    return CHANNELS.get(channel, f"{channel} message")


def duration(milliseconds: int) -> str:
    """Return a duration as people say it: `7 ms`, `2.4 s`, `3 min`, `5 h`, `12 d`."""
    seconds = milliseconds / 1000
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    for bound, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < bound:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if unit == "s" else f"{amount:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
