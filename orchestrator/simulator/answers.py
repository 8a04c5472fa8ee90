"""Asks `explain` for every command and every refusal, and lets its accounts be decided again.

`cli/replay --explained` hands in the journey log of a home partition and the commands of those who
live there. `account` gives back each record of the log as the answer tells it, which `Replay.redo`
takes instead of the record itself: what comes out the same needed nothing but the answer, and the
records that it names. Nothing here knows Kafka.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import orjson

from orchestrator.core.decision import (
    ClaimRefused,
    Emitted,
    Ended,
    EntryRefused,
    HandedOver,
    Held,
    LogEntry,
    MessageFinal,
    OfferRefused,
    PromiseEnded,
    RedemptionRefused,
    SendRefused,
    StageWithheld,
)
from orchestrator.simulator.replay import Mismatch
from orchestrator.timeline.account import log_value
from orchestrator.timeline.explanation import as_json, explain
from orchestrator.timeline.record import LogRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.simulator.replay import Recorded, Step

Answer = dict[str, Any]
# Returns what `explain` answers about a customer, of whom the log has these records.
Ask = Callable[[str, list[LogRecord]], Answer]


# The entries by which something did not go out, or not then, or an offer was not to be had.
REFUSING: Final = (
    EntryRefused,
    SendRefused,
    Held,
    OfferRefused,
    RedemptionRefused,
    ClaimRefused,
    StageWithheld,
    PromiseEnded,
)
# The entries that are one when they took commands back.
RECALLING: Final = (Ended, HandedOver, PromiseEnded)
# The reports that say that it has reached somebody, or that a person has done it.
_REACHED: Final = frozenset({"delivered", "closed"})
# The words by which `explain` owns up to a reason that it has no sentence for.
_UNKNOWN: Final = "this release does not know"
# What the log says of a command, and where its envelope says the same.
_SAID_OF_COMMANDS: Final = {
    "channel": "channel",
    "command_class": "class",
    "enrollment": "enrollment",
    "step": "step",
    "sequence": "sequence",
}


@dataclass(slots=True)
class Tally:
    """How many there are, how many `explain` answers for, how many are the same again.

    `kinds` counts refusals by the kind of their entry.
    """

    commands: int = 0
    commands_explained: int = 0
    commands_same: int = 0
    refusals: int = 0
    refusals_explained: int = 0
    refusals_same: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def whole(self) -> bool:
        """Whether nothing is left unexplained, and everything came out the same."""
        commands = {self.commands, self.commands_explained, self.commands_same}
        return (
            len(commands) == len({self.refusals, self.refusals_explained, self.refusals_same}) == 1
        )

    def __iadd__(self, other: Tally) -> Self:
        """Add what was counted elsewhere."""
        self.commands += other.commands
        self.commands_explained += other.commands_explained
        self.commands_same += other.commands_same
        self.refusals += other.refusals
        self.refusals_explained += other.refusals_explained
        self.refusals_same += other.refusals_same
        self.kinds += other.kinds
        return self

    def sentence(self) -> str:
        """Return it on one line."""
        return (
            f"explained {self.commands_explained} of {self.commands} commands and "
            f"{self.refusals_explained} of {self.refusals} refusals; from these accounts alone "
            f"{self.commands_same} and {self.refusals_same} are the same again"
        )


def from_the_log(customer: str, records: list[LogRecord]) -> Answer:
    """Return what `orchestrator explain --json` prints."""
    answer: Answer = orjson.loads(orjson.dumps(as_json(explain(customer, records))))
    return answer


class Answers:
    """What `explain` answers about the customers of one home partition."""

    def __init__(
        self,
        log: Iterable[Recorded],
        commands: Mapping[tuple[str, str], list[Recorded]],
        ask: Ask = from_the_log,
    ) -> None:
        records: defaultdict[str, list[LogRecord]] = defaultdict(list)
        self._unread: Final[set[str]] = set()
        for one in log:
            record = read_record(one.value or b"")
            if record is None:
                self._unread.add(one.place)
            else:
                records[record.customer].append(record)
        self._stories: Final = {who: ask(who, about) for who, about in records.items()}
        self._told: Final = {
            who: {one["command"]: one for one in story["messages"]}
            for who, story in self._stories.items()
        }
        self._commands: Final = {
            command: one for (_, command), found in commands.items() for one in found
        }
        self._left: Final = set(self._commands)
        self._next: Final[Counter[str]] = Counter()
        self.tally: Final = Tally(commands=len(self._left))

    def account(self, log: Recorded) -> Recorded:
        """Return a log record as the answer tells it; itself when there is nothing about it."""
        moment = self._moment(log)
        if moment is None:
            return log
        try:
            return log._replace(value=log_value(self._customer(log), moment))
        except (ValueError, KeyError, TypeError):
            return log._replace(value=b"")

    def judge(self, log: Recorded, told: Recorded, step: Step) -> list[Mismatch]:
        """Count what a decision did, and return what the answer does not say of it or says wrong.

        `told` is its account, `step` what came of that. The records come in the order of the log.
        """
        if log.place in self._unread:
            return []  # `redo` has told that it is none.
        moment, customer = self._moment(log), self._customer(log)
        self._next[customer] += 1
        if moment is None:
            return [Mismatch(log.place, "explain has no moment for this decision")]
        found = []
        if told.value != log.value:
            both = (log.value or b"").decode("utf-8", "replace"), (told.value or b"").decode()
            found.append(Mismatch(log.place, "explain tells another decision", *both))
        same = step.decision is not None and not step.mismatches and told.value == log.value
        for fact in moment["facts"]:
            if fact["entry"] is None:
                continue
            entry: LogEntry = msgspec.convert(fact["entry"], LogEntry)
            if isinstance(entry, Emitted):
                found += self._judge_command(log, entry, fact, same=same)
            elif is_refusal(entry):
                found += self._judge_refusal(log, entry, fact, same=same)
        return found

    def leftover(self, settled: Mapping[tuple[str, int], int]) -> list[Mismatch]:
        """Return the commands below the settled offsets for which there is no answer."""
        found = []
        for one in (self._commands[command] for command in sorted(self._left)):
            if one.offset < settled.get((one.topic, one.partition), 0):
                found.append(Mismatch(one.place, "explain has no answer for this command"))
            else:
                self.tally.commands -= 1
        return found

    def _customer(self, log: Recorded) -> str:
        return (log.key or b"").decode("utf-8", "replace")

    def _moment(self, log: Recorded) -> Answer | None:
        """Return the answer's next moment for whom a log record is about."""
        if log.place in self._unread:
            return None
        customer = self._customer(log)
        moments = self._stories.get(customer, {}).get("moments", ())
        at = self._next[customer]
        return moments[at] if at < len(moments) else None

    def _judge_command(
        self, log: Recorded, entry: Emitted, fact: Answer, *, same: bool
    ) -> list[Mismatch]:
        recorded = self._commands.get(entry.command)
        if recorded is None:
            return []  # Its topic no longer keeps it, or `redo` has told that it is not there.
        self._left.discard(entry.command)
        envelope = orjson.loads(recorded.value or b"null")
        faults = [
            f"{name} of command {entry.command}"
            for name, place in _SAID_OF_COMMANDS.items()
            if getattr(entry, name) != envelope["data"][place]
        ]
        if entry.type != envelope["type"]:
            faults.append(f"type of command {entry.command}")
        if not fact["text"]:
            faults.append(f"a sentence for command {entry.command}")
        self.tally.commands_explained += not faults
        self.tally.commands_same += same
        return [Mismatch(log.place, f"explain lacks or mistakes the {fault}") for fault in faults]

    def _judge_refusal(
        self, log: Recorded, entry: LogEntry, fact: Answer, *, same: bool
    ) -> list[Mismatch]:
        kind = str(fact["entry"]["kind"])
        text = str(fact["text"])
        faults = []
        if not text or _UNKNOWN in text:
            faults.append(f"no reason for what was {kind}: {text}")
        for command in getattr(entry, "cancelled", ()):
            message = self._told[self._customer(log)].get(command)
            if message is not None and (message["fate"] == "sent" or not message["because"]):
                faults.append(f"no reason why command {command} was taken back")
        self.tally.refusals += 1
        self.tally.kinds[kind] += 1
        self.tally.refusals_explained += not faults
        self.tally.refusals_same += same
        return [Mismatch(log.place, f"explain has {fault}") for fault in faults]


def is_refusal(entry: LogEntry) -> bool:
    """Whether an entry says that something did not go out, was held, or was taken back."""
    if isinstance(entry, MessageFinal):
        return entry.outcome not in _REACHED
    if isinstance(entry, RECALLING) and entry.cancelled:
        return True
    return isinstance(entry, REFUSING)
