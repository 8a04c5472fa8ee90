"""One customer's story from the journey log: what was sent and not sent, and why.

`orchestrator explain` prints it and the demo's report shows it. Journey-log values in, sentences
out; it reads no topic and decides nothing. Readers of the log ignore what they do not know, so an
entry of a newer release is skipped and counted.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, assert_never

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from orchestrator.core.calendar import instant_text
from orchestrator.core.decision import (
    Absorbed,
    AttributesDerived,
    AttributesSet,
    Chosen,
    ClaimRefused,
    CustomerErased,
    DuplicateFound,
    Emitted,
    Ended,
    Entered,
    EntryRefused,
    EventTold,
    GoalReached,
    HandedOver,
    Held,
    IdentityEntry,
    LogEntry,
    MergedInto,
    MergeRequested,
    MessageFinal,
    Moved,
    OfferEntry,
    OfferGranted,
    OfferRedeemed,
    OfferRefused,
    PromiseConfirmed,
    Promised,
    PromiseEnded,
    RedemptionRefused,
    RedemptionUndone,
    SendRefused,
    StageChanged,
    StageWithheld,
    TakenOver,
    TaskClaimed,
)
from orchestrator.core.pauses import Pause
from orchestrator.timeline.record import LogCause, LogRecord, read_entries
from orchestrator.timeline.sentences import (
    CLAIM_REFUSED_BECAUSE,
    PROMISE_ENDED_BECAUSE,
    channel_noun,
    duration,
    ended_because,
    final_sentence,
    held_because,
    refused_because,
    stage_because,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


class Mark(StrEnum):
    """What kind of fact a line is; the printers choose a sign and a colour for it."""

    SENT = "sent"
    NOT_SENT = "not_sent"
    ENTERED = "entered"
    ENDED = "ended"
    MOVED = "moved"
    REFUSED = "refused"
    FINAL = "final"
    NOTHING = "nothing"


class Fact(Struct, frozen=True):
    """One line under a moment. `entry` is what it says, in the words of the journey log."""

    mark: Mark
    text: str
    entry: LogEntry | None = None


class Moment(Struct, frozen=True):
    """One decision: when, what caused it, what it changed.

    With the moments before it this is a whole account: whoever has the records that the causes
    name, and the journeys whose content hash is `definitions`, decides it again (`account`).
    """

    at: datetime
    cause: LogCause
    facts: tuple[Fact, ...]
    outcome: str = "applied"
    definitions: str = ""
    paused: tuple[Pause, ...] = ()


class Message(Struct):
    """One command of the customer and its fate; `moment` is the place of its decision."""

    command: str
    type: str
    channel: str
    command_class: str
    journey: str
    enrollment: str
    step: str
    sequence: int
    sent_at: datetime
    moment: int
    fate: str = "sent"
    because: str | None = None


class Refused(Struct, frozen=True):
    """A message or a journey that was refused, and why; `moment` is the place of its decision."""

    at: datetime
    what: str
    reason: str
    because: str
    moment: int


class Explanation(Struct):
    """Everything the log knows about one customer, in order."""

    customer: str
    moments: list[Moment] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    unknown_entries: int = 0

    @property
    def not_sent(self) -> list[Message]:
        """The commands that were recalled."""
        return [message for message in self.messages if message.fate in ("cancelled", "dropped")]


_CANCELS = ("message.cancel", "audience.remove", "task.close")


def explain(customer: str, records: Iterable[LogRecord]) -> Explanation:
    """Tell the story of one customer; records of others are passed over."""
    explanation = Explanation(customer)
    messages: dict[str, Message] = {}
    for record in records:
        if record.customer != customer:
            continue
        entries, unknown = read_entries(record)
        explanation.unknown_entries += unknown
        facts = [
            replace(_fact(entry, record, messages, explanation), entry=entry) for entry in entries
        ]
        if not entries:
            facts = [Fact(Mark.NOTHING, _nothing(record))]
        explanation.moments.append(
            Moment(
                record.now,
                record.cause,
                tuple(facts),
                record.outcome,
                record.definitions,
                record.paused,
            )
        )
    explanation.messages = list(messages.values())
    return explanation


def _nothing(record: LogRecord) -> str:
    if record.outcome == "duplicate":
        return "already known: a repeat changes nothing"
    if record.outcome == "ignored":
        return "not applied: the customer was erased, and this is not of a time after it"
    match (record.cause.type or "").partition(".")[0]:
        case "audience":
            return "the ads platform has applied it"
        case "message":
            return "a sender's report about something that was already over"
        case _:
            pass
    return "noted; no journey asked for it"


def _fact(
    entry: LogEntry, record: LogRecord, messages: dict[str, Message], explanation: Explanation
) -> Fact:
    at = len(explanation.moments)
    match entry:
        case Entered():
            return Fact(Mark.ENTERED, f"entered {entry.journey} (version {entry.version})")
        case Moved():
            wait = _milliseconds(_moment(entry.wake_at_ms) - record.now)
            journey = _journey(entry.enrollment)
            waits = f"{journey} waits {duration(max(0, wait))} in “{entry.step}”"
            return Fact(Mark.MOVED, _with_detail(waits, entry.detail))
        case Ended():
            return _ended(entry, record, messages)
        case Emitted():
            return _emitted(entry, record, messages, at)
        case EntryRefused():
            because = _with_detail(refused_because(entry.reason), entry.detail)
            explanation.refused.append(
                Refused(record.now, f"journey {entry.journey}", entry.reason, because, at)
            )
            return Fact(Mark.REFUSED, f"did not enter {entry.journey}, because {because}")
        case SendRefused():
            because = _with_detail(refused_because(entry.reason), entry.detail)
            what = f"{channel_noun(entry.channel)} “{entry.step}” of {entry.journey}"
            explanation.refused.append(Refused(record.now, what, entry.reason, because, at))
            return Fact(Mark.NOT_SENT, f"{what} not sent, because {because}")
        case Held():
            because = _with_detail(held_because(entry.reason), entry.detail)
            what = f"{channel_noun(entry.channel)} “{entry.step}” of {entry.journey}"
            until = _moment(entry.until_ms)
            return Fact(
                Mark.MOVED, f"{what} held until {until:%Y-%m-%d %H:%M} UTC, because {because}"
            )
        case MessageFinal():
            return _final(entry, messages)
        case Chosen() | AttributesSet() | EventTold() | GoalReached():
            return _step_taken(entry)
        case StageChanged():
            because = stage_because(entry.reason)
            return Fact(Mark.MOVED, f"stage {entry.to} after {entry.from_}, because {because}")
        case StageWithheld():
            names = ", ".join(entry.missing)
            return Fact(
                Mark.REFUSED, f"earned the stage {entry.stage}, but nobody knows their {names}"
            )
        case TaskClaimed():
            return Fact(Mark.MOVED, f"a task of {_journey(entry.enrollment)} is {entry.by}'s now")
        case ClaimRefused():
            because = CLAIM_REFUSED_BECAUSE[entry.reason]
            text = f"{entry.by} did not get a task, because {_with_detail(because, entry.detail)}"
            return Fact(Mark.REFUSED, text)
        case CustomerErased():
            return Fact(Mark.ENDED, "was erased: nothing that was known of them is left")
        case (
            MergeRequested()
            | HandedOver()
            | MergedInto()
            | Absorbed()
            | TakenOver()
            | DuplicateFound()
        ):
            return _of_identity(entry, messages)
        case AttributesDerived():
            return Fact(Mark.MOVED, f"{', '.join(entry.attributes)} followed from it")
        case _:
            return _of_offer(entry, record, messages, explanation)


def _of_identity(entry: IdentityEntry, messages: dict[str, Message]) -> Fact:
    match entry:
        case MergeRequested():
            both = f"{entry.absorbed} and {entry.survivor}"
            return Fact(Mark.MOVED, f"{both} were said to be one customer")
        case HandedOver():
            for message in (messages[one] for one in entry.cancelled if one in messages):
                message.fate = "cancelled"
                message.because = "the id was absorbed, and its promotions with it"
            goes_on = "ends with this id" if entry.becomes is None else "goes on at the survivor"
            return Fact(Mark.ENDED, f"{entry.journey} {goes_on}")
        case MergedInto():
            return Fact(Mark.ENDED, f"is {entry.survivor} from here on")
        case Absorbed():
            return Fact(Mark.MOVED, f"is {entry.customer} too, with all that was known of them")
        case TakenOver():
            return Fact(Mark.ENTERED, f"goes on in {entry.journey} (version {entry.version})")
        case DuplicateFound():
            done = "are merged" if entry.merges else "are only reported"
            others = ", ".join(entry.others)
            return Fact(Mark.REFUSED, f"has the same {entry.by} as {others}; they {done}")
        case _:
            assert_never(entry)


def _step_taken(entry: Chosen | AttributesSet | EventTold | GoalReached) -> Fact:
    journey = _journey(entry.enrollment)
    match entry:
        case Chosen():
            if not entry.held_out:
                return Fact(Mark.MOVED, f"goes the way “{entry.next}” of {journey}")
            return Fact(Mark.MOVED, f"is left out of {journey}, to see what it is worth")
        case AttributesSet():
            names = ", ".join(entry.attributes)
            return Fact(Mark.MOVED, f"{journey} wrote {names} into the profile")
        case EventTold():
            return Fact(Mark.MOVED, f"{journey} told the event {entry.event}")
        case GoalReached():
            owed = "" if entry.command is None else ", owed to one of its messages"
            return Fact(Mark.FINAL, f"reached the goal of {journey}{owed}")
        case _:
            assert_never(entry)


def _of_offer(
    entry: OfferEntry, record: LogRecord, messages: dict[str, Message], explanation: Explanation
) -> Fact:
    match entry:
        case Promised():
            until = instant_text(entry.expires_at_ms)
            what = "provisionally promised" if entry.provisional else "promised"
            return Fact(Mark.MOVED, f"was {what} the offer {entry.offer} until {until}")
        case PromiseConfirmed():
            return Fact(Mark.MOVED, f"the promise of {entry.offer} holds: we know who this is")
        case PromiseEnded():
            because = PROMISE_ENDED_BECAUSE[entry.reason]
            for message in (messages[one] for one in entry.cancelled if one in messages):
                message.fate = "cancelled"
                message.because = f"the promise of {entry.offer} was taken back; {because}"
            return Fact(Mark.ENDED, f"lost the promise of {entry.offer}, because {because}")
        case OfferGranted():
            return Fact(Mark.MOVED, f"who asked may tell the offer {entry.offer}")
        case OfferRefused() | RedemptionRefused():
            redeems = isinstance(entry, RedemptionRefused)
            what = f"{'redemption of ' if redeems else ''}offer {entry.offer}"
            because = _with_detail(refused_because(entry.reason), entry.detail)
            at = len(explanation.moments)
            explanation.refused.append(Refused(record.now, what, entry.reason, because, at))
            return Fact(Mark.REFUSED, f"{what} refused, because {because}")
        case OfferRedeemed():
            return Fact(Mark.FINAL, f"redeemed the offer {entry.offer}{_with_order(entry.order)}")
        case RedemptionUndone():
            again = "it can be redeemed again" if entry.open else "it is over"
            return Fact(Mark.ENDED, f"got {entry.offer} back{_with_order(entry.order)}; {again}")
        case _:
            assert_never(entry)


def _with_order(order: str | None) -> str:
    return "" if order is None else f" with order {order}"


def _emitted(entry: Emitted, record: LogRecord, messages: dict[str, Message], moment: int) -> Fact:
    journey = _journey(entry.enrollment)
    noun = channel_noun(entry.channel)
    if entry.type in _CANCELS:
        verb = {"message.cancel": "do not send", "audience.remove": "take out of the audience"}
        order = verb.get(entry.type, "close the task")
        return Fact(Mark.NOT_SENT, f"told the {entry.channel} sender: {order} ({journey})")
    messages[entry.command] = Message(
        command=entry.command,
        type=entry.type,
        channel=entry.channel,
        command_class=entry.command_class,
        journey=journey,
        enrollment=entry.enrollment,
        step=entry.step,
        sequence=entry.sequence,
        sent_at=record.now,
        moment=moment,
    )
    return Fact(Mark.SENT, f"{noun} “{entry.step}” of {journey} ({entry.command_class})")


def _ended(entry: Ended, record: LogRecord, messages: dict[str, Message]) -> Fact:
    where = f" in “{entry.step}”" if entry.step else ""
    text = f"left {entry.journey}{where}, because {ended_because(entry.reason)}"
    recalled = []
    for command in entry.cancelled:
        message = messages.get(command)
        if message is None:
            continue
        under_way = duration(_milliseconds(record.now - message.sent_at))
        message.fate = "cancelled"
        stood = "open" if message.type == "task.create" else "on its way"
        message.because = (
            f"{record.cause.sentence()} ended {entry.journey} while it was {stood} "
            f"(for {under_way}); it was recalled in the same transaction"
        )
        recalled.append(f"{channel_noun(message.channel)} “{message.step}”")
    if recalled:
        text += f"; recalled what was on its way: {', '.join(recalled)}"
    return Fact(Mark.ENDED, text)


def _final(entry: MessageFinal, messages: dict[str, Message]) -> Fact:
    message = messages.get(entry.command)
    report = final_sentence(entry.outcome)
    if message is None:
        return Fact(Mark.FINAL, f"{report} (command {entry.command})")
    if message.fate == "sent":
        delivered = entry.outcome == "delivered"
        message.fate = "delivered" if delivered else "dropped"
        message.because = report
    elif message.because is not None:
        message.because += f"; {report}"
    noun = channel_noun(message.channel)
    return Fact(Mark.FINAL, f"{noun} “{message.step}” of {message.journey}: {report}")


def _journey(enrollment: str) -> str:
    # An enrollment is `journey/key#ordinal`, or `journey#ordinal` without an instance key.
    return enrollment.partition("/")[0].partition("#")[0]


def _with_detail(because: str, detail: str | None) -> str:
    return f"{because} ({detail})" if detail else because


def _moment(epoch_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)


def _milliseconds(span: timedelta) -> int:
    return round(span / timedelta(milliseconds=1))


def as_json(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation for machines."""
    return {
        "customer": explanation.customer,
        "moments": msgspec.to_builtins(explanation.moments),
        "messages": msgspec.to_builtins(explanation.messages),
        "refused": msgspec.to_builtins(explanation.refused),
        "unknown_entries": explanation.unknown_entries,
    }
