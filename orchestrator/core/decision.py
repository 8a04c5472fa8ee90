"""What `decide` returns: the next state, the commands, and one journey-log entry for everything.

The entries are a closed union; their JSON form (tag `kind`) is the public form of the journey log.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from orchestrator.core.command import Command
from orchestrator.core.customer import PAUSED, Customer, FenceEntry
from orchestrator.core.pauses import Pause


class Outcome(StrEnum):
    """What became of the input."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"  # Same source and id, or same business key: nothing changes.
    IGNORED = "ignored"  # It is not younger than the customer's erasure: nothing changes.
    REJECTED = "rejected"  # A dead letter; `Decision.rejection` says why. Nothing changes.


class EndReason(StrEnum):
    """Why an enrollment is over."""

    COMPLETED = "completed"  # It ran to its end.
    EXIT = "exit"  # An exit event matched.
    GOAL = "goal"  # It reached its goal, and says that this is its end.
    VERSION_GONE = "version_gone"  # The version it entered is no longer loaded.
    STEP_GONE = "step_gone"  # The step it stands in is no longer in its version.
    STEP_FAILED = "step_failed"  # A step could not be evaluated; it never raises.
    ERASED = "erased"  # The customer was erased.


class Refusal(StrEnum):
    """Why an entry or a send did not happen. A closed list, also the metric's label values."""

    CONDITION_FAILED = "condition_failed"  # The entry condition could not be evaluated.
    TOO_OLD = "too_old"
    REENTRY = "reentry"
    ALREADY_ENROLLED = "already_enrolled"
    EXITED_LATER = "exited_later"  # A remembered exit is not older than this entry.
    ALREADY_OWNED = "already_owned"
    EXPIRED = "expired"
    MISSING_VARIABLE = "missing_variable"
    RENDERING_FAILED = "rendering_failed"  # The template could not be filled in.
    ALREADY_ASKED = "already_asked"  # An `ask` asks once for each attribute.
    OFFER_NOT_VALID = "offer_not_valid"  # There is none, not now, not here, or it was not promised.
    OFFER_NOT_QUALIFIED = "offer_not_qualified"  # It is not for this customer.
    OFFER_CONTRADICTED = "offer_contradicted"  # The customer holds one that contradicts it.
    OFFER_USED = "offer_used"  # It was promised as often as it may be, or is redeemed already.
    SUPPRESSED = "suppressed"  # The address is dead, or the shop's profile says so.
    NO_CONSENT = "no_consent"  # None is recorded for this channel and class, or it was withdrawn.
    FREQUENCY_CAP = "frequency_cap"
    ARBITRATION = "arbitration"  # Another promotion went out instead; the detail names it.
    NO_ADDRESS = "no_address"  # Nobody knows where to reach the customer on these channels.
    ERASED = "erased"  # The customer was erased.
    PAUSED = "paused"  # Somebody has paused it, and lets nothing wait for the resume.


class PromiseEnd(StrEnum):
    """Why a promise was taken back before its time."""

    REJECTED = "rejected"  # The customer does not want it.
    NOT_QUALIFIED = "not_qualified"  # It was provisional, and turned out to be for others.
    NEVER_TOLD = "never_told"  # Senders dropped every message that told it.
    RECALLED = "recalled"  # Every message that told it was called back. It counts if one came.


class Hold(StrEnum):
    """Why a step waits although its time has come. A closed list."""

    QUIET_HOURS = "quiet_hours"
    SPACING = "spacing"  # Too soon after the last promotional message.
    HANDOFF = "handoff"  # One of our people talks to the customer.
    PAUSED = PAUSED  # Somebody has paused it.
    DELIVERY = "delivery"  # It went out; another channel is tried when it does not arrive.


class ClaimRefusal(StrEnum):
    """Why a person did not get a task. A closed list."""

    ALREADY_CLAIMED = "already_claimed"  # Somebody else works on it.
    NOT_OPEN = "not_open"  # It is closed or expired, or there never was one.


class StageReason(StrEnum):
    """Why a customer's stage has changed. A closed list."""

    EARNED = "earned"  # By this event.
    ATTRIBUTES_KNOWN = "attributes_known"  # It was earned before; what it requires is known now.
    ORDER_GONE = "order_gone"  # An order that had earned it was cancelled or has come back.
    STAGE_GONE = "stage_gone"  # The shop no longer has the stage.


class Entered(Struct, frozen=True, tag="entered", tag_field="kind", gc=False):
    """The customer entered a journey."""

    enrollment: str
    journey: str
    version: int


class Moved(Struct, frozen=True, tag="moved", tag_field="kind", gc=False):
    """The enrollment now waits in `step` until `wake_at_ms`.

    `detail` says why then, where it was chosen (`wait: best_time`): `named: 19:00` by the customer,
    `learned: 07:00` from their answers, or `best_hours: 20:00` by the shop's curve.
    """

    enrollment: str
    step: str
    wake_at_ms: int
    detail: str | None = None


class Ended(Struct, frozen=True, tag="ended", tag_field="kind", gc=False):
    """The enrollment is over; `step` is where it stood, `cancelled` the command ids recalled.

    `detail` is the label of the `end` step, or what failed. Who had run to the end while messages
    were open ends once more, with reason `exit` and no step, when those are recalled.
    """

    enrollment: str
    journey: str
    version: int
    reason: EndReason
    step: str | None = None
    cancelled: tuple[str, ...] = ()
    detail: str | None = None


class Emitted(Struct, frozen=True, tag="emitted", tag_field="kind", gc=False):
    """A command left."""

    command: str
    type: str
    channel: str
    command_class: str
    enrollment: str
    step: str
    sequence: int


class EntryRefused(Struct, frozen=True, tag="entry_refused", tag_field="kind", gc=False):
    """A journey was not entered."""

    journey: str
    version: int
    reason: Refusal
    detail: str | None = None


class SendRefused(Struct, frozen=True, tag="send_refused", tag_field="kind", gc=False):
    """A send was not made; the enrollment went on."""

    enrollment: str
    journey: str
    step: str
    channel: str
    reason: Refusal
    detail: str | None = None


class Held(Struct, frozen=True, tag="held", tag_field="kind", gc=False):
    """A step may not act now; it is taken again at `until_ms`, or when the reason is gone."""

    enrollment: str
    journey: str
    step: str
    channel: str
    reason: Hold
    until_ms: int
    detail: str | None = None


class MessageFinal(
    Struct, frozen=True, tag="message_final", tag_field="kind", gc=False, omit_defaults=True
):
    """A command is final: its sender reported delivered, bounced, failed or dropped.

    A task is closed or expired; `detail` is the outcome with which a person has closed it.
    """

    command: str
    enrollment: str
    outcome: str
    detail: str | None = None


class TaskClaimed(Struct, frozen=True, tag="task_claimed", tag_field="kind", gc=False):
    """A person took a task; nobody else can until it is closed."""

    command: str
    enrollment: str
    by: str


class ClaimRefused(Struct, frozen=True, tag="claim_refused", tag_field="kind", gc=False):
    """A person wanted a task that is not theirs to take; `detail` names who has it."""

    command: str
    by: str
    reason: ClaimRefusal
    detail: str | None = None


class Chosen(Struct, frozen=True, tag="chosen", tag_field="kind", gc=False):
    """A split or a holdout sent the enrollment on; `next` is None for who is held out for good."""

    enrollment: str
    step: str
    next: str | None
    held_out: bool = False


class AttributesSet(Struct, frozen=True, tag="attributes_set", tag_field="kind", gc=False):
    """A step, or the answer to a question, wrote these attributes; values are the profile's."""

    enrollment: str
    step: str
    attributes: tuple[str, ...]


class EventTold(Struct, frozen=True, tag="event_told", tag_field="kind", gc=False):
    """A step told an event, which comes back as a touchpoint."""

    enrollment: str
    step: str
    event: str
    id: str


class GoalReached(Struct, frozen=True, tag="goal_reached", tag_field="kind", gc=False):
    """The enrollment reached its goal; `command` is the message it is owed to, if any."""

    enrollment: str
    journey: str
    version: int
    command: str | None = None


class Promised(Struct, frozen=True, tag="promised", tag_field="kind", gc=False):
    """The customer was promised an offer: in a message of `enrollment`, or because somebody asked.

    A provisional one carries no code until we know who this is.
    """

    offer: str
    channel: str | None
    enrollment: str | None
    expires_at_ms: int
    provisional: bool = False


class PromiseConfirmed(Struct, frozen=True, tag="promise_confirmed", tag_field="kind", gc=False):
    """A provisional promise holds: the customer is known now, and it is for them."""

    offer: str


class PromiseEnded(Struct, frozen=True, tag="promise_ended", tag_field="kind", gc=False):
    """A promise was taken back before its time; `otherwise` is the template to show instead.

    `cancelled` holds the command ids recalled: what told it and was still on its way.
    """

    offer: str
    reason: PromiseEnd
    channel: str | None = None
    otherwise: str | None = None
    cancelled: tuple[str, ...] = ()


class OfferGranted(Struct, frozen=True, tag="offer_granted", tag_field="kind", gc=False):
    """The answer to `offer.requested`: it may be told; the record's cause is the request."""

    offer: str
    channel: str | None
    expires_at_ms: int
    provisional: bool = False


class OfferRefused(Struct, frozen=True, tag="offer_refused", tag_field="kind", gc=False):
    """The answer to `offer.requested`: it may not be told; `otherwise` may be shown instead."""

    offer: str
    channel: str | None
    reason: Refusal
    detail: str | None = None
    otherwise: str | None = None


class OfferRedeemed(Struct, frozen=True, tag="offer_redeemed", tag_field="kind", gc=False):
    """A promise was kept."""

    offer: str
    order: str | None


class RedemptionRefused(Struct, frozen=True, tag="redemption_refused", tag_field="kind", gc=False):
    """Something was redeemed that this customer could not count on; nothing is marked."""

    offer: str
    order: str | None
    reason: Refusal
    detail: str | None = None


class RedemptionUndone(Struct, frozen=True, tag="redemption_undone", tag_field="kind", gc=False):
    """The whole order came back. `open` when the customer may count on the promise again."""

    offer: str
    order: str
    open: bool
    detail: str | None = None


OfferEntry = (
    Promised
    | PromiseConfirmed
    | PromiseEnded
    | OfferGranted
    | OfferRefused
    | OfferRedeemed
    | RedemptionRefused
    | RedemptionUndone
)


class StageChanged(
    Struct, frozen=True, tag="stage_changed", tag_field="kind", gc=False, rename={"from_": "from"}
):
    """The customer has come to another stage."""

    from_: str
    to: str
    reason: StageReason


class StageWithheld(Struct, frozen=True, tag="stage_withheld", tag_field="kind", gc=False):
    """The event earned a stage that requires attributes which are `missing`."""

    stage: str
    missing: tuple[str, ...]


class CustomerErased(Struct, frozen=True, tag="customer_erased", tag_field="kind", gc=False):
    """Everything known of the customer is gone; events up to `until_ms` are ignored from here on.

    What ended and what was recalled stands beside it, without the keys of the enrollments.
    """

    until_ms: int
    enrollments: int


class AttributesDerived(Struct, frozen=True, tag="attributes_derived", tag_field="kind", gc=False):
    """These derived attributes have another value, or none any more; values are the profile's."""

    attributes: tuple[str, ...]


LogEntry = (
    Entered
    | Moved
    | Ended
    | Emitted
    | EntryRefused
    | SendRefused
    | Held
    | MessageFinal
    | Chosen
    | AttributesSet
    | EventTold
    | GoalReached
    | Promised
    | PromiseConfirmed
    | PromiseEnded
    | OfferGranted
    | OfferRefused
    | OfferRedeemed
    | RedemptionRefused
    | RedemptionUndone
    | StageChanged
    | StageWithheld
    | CustomerErased
    | TaskClaimed
    | ClaimRefused
    | AttributesDerived
)


class ToldEvent(Struct, frozen=True, gc=False):
    """An event that a step tells about its customer, on its way to the forward topic."""

    id: str
    type: str
    subject: str
    time_ms: int
    data: Mapping[str, Any]
    traceparent: str | None = None


class Rejection(Struct, frozen=True, gc=False):
    """A dead letter decided by the state of the customer: `id_reused`."""

    reason: str
    detail: str


class Decision(Struct, frozen=True, gc=False):
    """The whole effect of one input, to be made visible together or not at all.

    `fence` is the customer's new fence record when it changed, else None. `exits_dropped` counts
    remembered exits pushed out by the bound. `customer` is the same object when nothing changed.
    `paused` are the pauses that it has met, by scope: with these alone it comes out the same.
    """

    outcome: Outcome
    customer: Customer
    now_ms: int
    commands: tuple[Command, ...] = ()
    entries: tuple[LogEntry, ...] = ()
    fence: tuple[FenceEntry, ...] | None = None
    wake_at_ms: int | None = None
    rejection: Rejection | None = None
    exits_dropped: int = 0
    told: tuple[ToldEvent, ...] = ()
    paused: tuple[Pause, ...] = ()
