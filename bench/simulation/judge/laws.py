"""The laws of FAULTS.md that hold in every shop, judged from the topics and the journeys alone.

Each function is one law and yields what breaks it. `again` has the law about state, `identity`
those about who is one person, `reference` what each decision should have been.
"""

# Each law is a sentence about the topics.
# ruff: noqa: D401

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from bench.simulation.judge.topics import millis
from orchestrator.protocol.commit.meta import META_KEY, decode_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.simulation.judge.topics import Line, Topics

HOPS_MAX: Final = 16
# The clock of a partition runs at most 5 s ahead, and no worker's by more than a second.
AHEAD_MS_MAX: Final = 6_000
REACHING: Final = frozenset({"message.send", "audience.add", "task.create"})
POISON: Final = frozenset({"invalid_json", "empty_value", "schema"})


def accounts(topics: Topics) -> Iterator[str]:
    """Every input record was decided, put aside or sent home: exactly once (I1, I9)."""
    fates = Counter(topics.origin(line.place) for _, line in topics.of_kind("event"))
    for record in topics.history.of(topics.names.dead_letters):
        partition, offset = record.header("dl_partition"), record.header("dl_offset")
        fates[str(record.header("dl_topic")), int(partition or 0), int(offset or 0)] += 1
    for place, record in topics.inputs():
        if place[0] == topics.names.forward and (
            record.header("fw_topic") or record.header("fw_kind")
        ):
            continue
        if fates[place] != 1:
            yield f"{show(place)} was decided {fates[place]} times"
        fates.pop(place, None)
    for place, times in fates.items():
        if times:
            yield f"{show(place)} was decided, and no committed reader sees it"


def notices(topics: Topics) -> Iterator[str]:
    """What owners tell each other is heard once, and not sent on for ever (I1)."""
    fates = Counter((line.kind, *line.place) for _, line in topics.of_kind("state", "shared"))
    fates.update((line.kind, *line.place) for _, line in topics.of_kind("merge"))
    sent_on, unheard = 0, 0
    for place, record in topics.inputs():
        hops = int(record.header("fw_hops") or 0) if place[0] == topics.names.forward else 0
        if hops > HOPS_MAX:
            yield f"{show(place)} was sent on {hops} times"
        kind = record.header("fw_kind") if place[0] == topics.names.forward else None
        if kind in {"merge", "state", "shared"}:
            times = fates[str(kind), *place]
            sent_on += hops > 1
            unheard += times == 0
            if times > 1:
                yield f"notice {show(place)} was heard {times} times"
    if unheard < sent_on and not topics.shop.rules.journeys.identities:
        yield f"{sent_on - unheard} notices were sent on and heard as well"


def letters(topics: Topics) -> Iterator[str]:
    """Nothing is put aside but what nobody can read."""
    for record in topics.history.of(topics.names.dead_letters):
        reason = record.header("dl_reason")
        if reason not in POISON:
            yield f"dead letter {reason}: {record.header('dl_detail')}"


def order(topics: Topics) -> Iterator[str]:
    """A customer's effects follow the order of the inputs; time does not go back (I4)."""
    for customer, lines in topics.lines.items():
        last: dict[tuple[str, int], int] = {}
        now_ms = 0
        for line in lines:
            if line.now_ms < now_ms:
                yield f"time went back for {customer}"
            now_ms = line.now_ms
            if "offset" not in line.cause:
                continue
            topic, partition, offset = line.place
            again = line.kind == "merge" and offset == last.get((topic, partition))
            if offset <= last.get((topic, partition), -1) and not again:
                yield f"{show(line.place)} was decided late for {customer}"
            last[topic, partition] = offset
            record = topics.record(line.place)
            if record is not None and line.now_ms < record.timestamp_ms - AHEAD_MS_MAX:
                yield f"{show(line.place)} was decided by a clock behind it"


def numbers(topics: Topics) -> Iterator[str]:
    """Commands are those of the log, each once, numbered without a gap (I2, I4)."""
    sent: dict[str, dict[str, Any]] = {}
    given: dict[str, list[int]] = defaultdict(list)
    last: dict[tuple[str, int, str], int] = {}
    for record, command in topics.commands:
        if command["id"] in sent:
            yield f"command {command['id']} stands twice"
            continue
        sent[command["id"]] = command
        sequence, customer = command["data"]["sequence"], command["subject"]
        given[customer].append(sequence)
        lane = (record.topic, record.partition, customer)
        if sequence <= last.get(lane, 0):
            yield f"{customer}: {sequence} stands behind {last[lane]}"
        last[lane] = sequence
    for customer, found in given.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            yield f"the sequence of {customer} is {sorted(found)}"
        if customer not in topics.states or topics.states[customer].sequence != len(found):
            yield f"the state of {customer} does not stand at {len(found)}"
    told: set[str] = set()
    for customer, lines in topics.lines.items():
        expected = 1
        for line in lines:
            for one in (one for one in line.entries if one["kind"] == "emitted"):
                if one["sequence"] != expected:
                    yield f"{customer}: the log emits {one['sequence']} instead of {expected}"
                expected = one["sequence"] + 1
                if one["command"] in told:
                    yield f"the log emits {one['command']} twice"
                told.add(one["command"])
                if sent.get(one["command"], {}).get("subject") != customer:
                    yield f"{one['command']} of {customer} is on no topic"
    for command in sent.keys() - told:
        yield f"{command} is in no log"


def fences(topics: Topics) -> Iterator[str]:
    """What advertises and is over is fenced at the exit, and nothing of it follows (I5)."""
    fenced: dict[tuple[str, str], set[int]] = defaultdict(set)
    for customer, one in topics.fences:
        fenced[customer, one["enrollment"]].add(one["sequence"])
    over: dict[tuple[str, str], int] = {}
    for customer, lines in topics.lines.items():
        sequence, standing = 0, set[str]()
        for line in lines:
            before = sequence
            for one in line.entries:
                match one["kind"]:
                    case "entered":
                        standing.add(one["enrollment"])
                    case "emitted":
                        sequence = one["sequence"]
                    case "customer_erased":
                        over |= {(customer, name): before for name in standing}
                    case "ended" | "handed_over" if topics.is_promotional(one["journey"]):
                        standing.discard(one["enrollment"])
                        if one.get("reason") in {"completed", "erased"}:
                            continue
                        key = (customer, one["enrollment"])
                        over.setdefault(key, before)
                        if over[key] not in fenced[key]:
                            yield f"{key[1]} of {customer} is over at {before}, and not fenced"
    for _, command in topics.commands:
        data = command["data"]
        key = (command["subject"], str(data["enrollment"]))
        ends_at = over.get(key)
        promotional = data["class"] == "promotional" and command["type"] in REACHING
        if promotional and ends_at is not None and data["sequence"] > ends_at:
            yield f"{command['id']} of {key[1]} follows its end at {ends_at}"


def waits(topics: Topics) -> Iterator[str]:
    """Every wait comes due once and not early, or its enrollment ends (I6)."""
    for customer, lines in topics.lines.items():
        pending: dict[str, int] = {}
        for line in lines:
            if line.kind == "timer":
                yield from _fired(customer, line)
            for one in line.entries:
                match one["kind"]:
                    case "moved":
                        pending[one["enrollment"]] = one["wake_at_ms"]
                    case "held":
                        pending[one["enrollment"]] = one["until_ms"]
                    case "taken_over" if one["wake_at_ms"] is not None:
                        pending[one["enrollment"]] = one["wake_at_ms"]
                    case "ended" | "handed_over":
                        pending.pop(one["enrollment"], None)
                    case "customer_erased":
                        pending.clear()
            if line.kind == "timer":
                for name, wake_at_ms in list(pending.items()):
                    if wake_at_ms <= line.now_ms:
                        yield f"{name} of {customer} slept on"
                        del pending[name]
        for name in pending:
            yield f"{name} of {customer} never woke up"


def _fired(customer: str, line: Line) -> Iterator[str]:
    due_ms = millis(line.cause["due"])
    if line.now_ms < due_ms:
        yield f"{customer} was woken {due_ms - line.now_ms} ms early"
    elif line.record.timestamp_ms < due_ms - AHEAD_MS_MAX:
        yield f"{customer} was woken by a clock that is ahead"


def purchases(topics: Topics) -> Iterator[str]:
    """A purchase ends what it must, and enters what follows it, in one decision (I1)."""
    journeys = topics.plans
    ending = {name for name, plan in journeys.items() if "purchase" in plan.exits}
    entry_ms: dict[tuple[str, str], int] = {}
    for customer, lines in topics.lines.items():
        for line in lines:
            for one in line.entries:
                if one["kind"] == "entered":
                    entry_ms[customer, one["enrollment"]] = line.occurred_ms
                    on = journeys[one["journey"]].entry.on
                    if line.kind == "event" and on not in {None, line.event}:
                        yield f"{one['enrollment']} of {customer} was entered on {line.event}"
    for customer, lines in topics.lines.items():
        standing: dict[str, str] = {}
        for line in lines:
            ended = {one["enrollment"] for one in line.entries if one["kind"] == "ended"}
            bought = line.event == "purchase" and line.outcome == "applied"
            for name, journey in standing.items() if bought else ():
                began_ms = entry_ms.get(first_name(customer, name))
                if began_ms is None or began_ms > line.occurred_ms or journey not in ending:
                    continue
                if name not in ended:
                    yield f"{name} of {customer} goes on after {line.cause['id']}"
            if bought and "post_purchase" in journeys:
                times = sum(
                    one["kind"] in {"entered", "entry_refused"}
                    and one["journey"] == "post_purchase"
                    for one in line.entries
                )
                if times != 1:
                    yield f"{line.cause['id']} of {customer} entered post_purchase {times} times"
            for one in line.entries:
                if one["kind"] in {"entered", "taken_over"} and one.get("step", "") is not None:
                    standing[one["enrollment"]] = one["journey"]
                elif one["kind"] in {"ended", "handed_over"}:
                    standing.pop(one["enrollment"], None)
                elif one["kind"] == "customer_erased":
                    standing.clear()


def first_name(customer: str, enrollment: str) -> tuple[str, str]:
    """Return under which id an enrollment began, and its name there."""
    name, _, origin = enrollment.partition("~")
    return (origin or customer, name)


def repeats(topics: Topics) -> Iterator[str]:
    """An event has its effect once, however often it comes, and a repeat has none (I8)."""
    for customer, lines in topics.lines.items():
        applied: set[tuple[str, str]] = set()
        for line in lines:
            if line.outcome != "applied" and line.entries:
                yield f"{line.cause} of {customer} is {line.outcome}, and does something"
            if line.kind == "event":
                name = (line.cause["source"], line.cause["id"])
                if line.outcome == "applied" and name in applied:
                    yield f"{name[1]} was applied twice to {customer}"
                applied |= {name} if line.outcome == "applied" else set()
            if any(one["kind"] == "customer_erased" for one in line.entries):
                applied.clear()  # What is forgotten may come again.


def visits(topics: Topics) -> Iterator[str]:
    """A time table visits everybody who is there once, and nobody twice (I6)."""
    scheduled = [plan.name for plan in topics.shop.rules.journeys.scheduled]
    ten_ms = topics.shop.start_ms + 20_000
    begun = _begun_before(topics, ten_ms)
    for customer, lines in topics.lines.items():
        entered: Counter[tuple[str, str]] = Counter()
        for line in lines:
            if line.kind != "visit" or line.cause["occurrence"] is None:
                continue
            about = (line.cause["journey"], line.cause["occurrence"])
            entered[about] += sum(
                one["kind"] == "entered" and one["journey"] == about[0] for one in line.entries
            )
        for (journey, occurrence), times in entered.items():
            if times > 1:
                yield f"{customer} entered {journey} of {occurrence} {times} times"
        came_and_went = any(
            one["kind"] in {"customer_erased", "merged_into", "absorbed"}
            for line in lines
            for one in line.entries
        )
        was_there = lines[0].outcome == "applied" and lines[0].now_ms < ten_ms - AHEAD_MS_MAX
        for journey in scheduled if was_there and not came_and_went else ():
            at_ten = sum(
                times
                for (name, at), times in entered.items()
                if (name, millis(at)) == (journey, ten_ms)
            )
            if lines[0].record.partition in begun[journey] and at_ten != 1:
                yield f"{customer} entered {journey} {at_ten} times"


def _begun_before(topics: Topics, at_ms: int) -> dict[str, set[int]]:
    """Return, by journey, the partitions where an owner has looked at its time table before.

    Nobody makes up for what was earlier.
    """
    begun: dict[str, set[int]] = defaultdict(set)
    for record in topics.history.of(topics.names.changelog):
        if record.key == META_KEY and record.timestamp_ms < at_ms - AHEAD_MS_MAX:
            for journey in decode_meta(record.value or b"", where="").rounds:
                begun[journey].add(record.partition)
    return begun


def erasures(topics: Topics) -> Iterator[str]:
    """What is forgotten has no effect any more, and nothing of it is kept (erasure)."""
    for customer, lines in topics.lines.items():
        until_ms, empty = -1, False
        for line in lines:
            if line.event and line.occurred_ms <= until_ms and line.outcome != "ignored":
                yield f"{line.cause['id']} came to {customer} from before the erasure"
            # A wait that comes due begins nothing: the fence of an erasure is lifted by one.
            begins = line.kind == "state" or line.event not in {"", "audience.applied"}
            if line.outcome == "applied" and begins:
                empty = False
            for one in line.entries:
                if one["kind"] == "customer_erased":
                    until_ms, empty = max(until_ms, one["until_ms"]), True
        state = topics.states.get(customer)
        if empty and state is not None:
            kept = (state.attributes, state.orders, state.enrollments, state.seen, state.memories)
            if any(kept):
                yield f"something of {customer} is kept after the erasure"


def show(place: tuple[str, int, int]) -> str:
    """Write a place as people look it up."""
    return "{}/{}@{}".format(*place)


LAWS: Final[dict[str, Callable[[Topics], Iterator[str]]]] = {
    "I1 accounts": accounts,
    "I1 notices": notices,
    "I1 purchases": purchases,
    "I2 I4 numbers": numbers,
    "I4 order": order,
    "I5 fences": fences,
    "I6 waits": waits,
    "I6 visits": visits,
    "I8 repeats": repeats,
    "erasure": erasures,
}
