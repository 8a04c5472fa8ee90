"""Pauses: what was in force by the topic `control`, and what the workers did under it.

Workers take a word over between two groups, so that it holds a moment later. What comes out before
that, or after that the other way round, is no fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.crash.judge.records import CommandLine, LogLine, Reading
    from bench.crash.judge.reference import Model

PAUSE_LAG_MS: Final = 10_000
"""So much later, at most, a worker that is alive has heard a word, also behind a dead broker."""
SKEW_MS: Final = 500
REACHING: Final = frozenset({"message.send", "audience.add", "task.create"})
FOR_EVER_MS: Final = 1 << 60
Held = dict[str, tuple["Mapping[str, Any]", "LogLine"]]
"""Whom a pause holds, with the entry that says so."""


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a scope was paused by one word, on the clock of the records."""

    scope: str
    said: Mapping[str, Any]
    from_ms: int
    to_ms: int


def judge_pauses(reading: Reading, model: Model, lag_ms: int, answer_ms_max: int) -> None:
    """Report what went out under a pause, what was held without one, and what nobody answered."""
    spans = _spans(reading)
    commands = {command.id: command for command in reading.commands}
    left: Held = {}
    for _, lines in reading.people():
        held: Held = {}
        for line in lines:
            _judge_named(reading, line, spans, lag_ms)
            for entry in line.entries:
                if entry["kind"] == "emitted" and entry["type"] in REACHING:
                    command = commands.get(entry["command"])
                    if command is not None:
                        _judge_emitted(reading, line, command, (spans, lag_ms))
                _move(entry, held, left)
                answered = _follow(reading, line, entry, held)
                if answered is not None:
                    scopes = _scopes(model, answered)
                    late_ms = _free_ms(spans, scopes, line.record.timestamp_ms)
                    if late_ms > answer_ms_max:
                        text = f"{answered['enrollment']} was resumed {late_ms} ms before"
                        reading.report("held", f"{line.customer}: {text}", line.record.place)
        for enrollment, (entry, line) in held.items():
            text = f"{line.customer}: {enrollment} was held at {entry['step']}, never answered"
            reading.report("held", text, line.record.place)


def _spans(reading: Reading) -> list[Span]:
    spans: list[Span] = []
    open_: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for word in reading.controls:
        at_ms = word.record.timestamp_ms
        if word.scope in open_:
            since_ms, said = open_.pop(word.scope)
            spans.append(Span(word.scope, said, since_ms, at_ms))
        if word.paused:
            open_[word.scope] = (at_ms, word.said)
    spans += [Span(scope, said, at_ms, FOR_EVER_MS) for scope, (at_ms, said) in open_.items()]
    return spans


def _judge_named(reading: Reading, line: LogLine, spans: Sequence[Span], lag_ms: int) -> None:
    """Every pause that a decision names was in force, by these words."""
    at_ms = line.record.timestamp_ms
    for pause in line.paused:
        if not any(
            span.scope == pause["scope"]
            and span.from_ms <= at_ms + SKEW_MS
            and at_ms <= span.to_ms + lag_ms
            and all(span.said.get(name) == pause[name] for name in ("by", "reason"))
            and bool(span.said.get("kill")) == bool(pause.get("kill"))
            for span in spans
        ):
            text = f"{line.customer}: {pause['scope']} is named, but was not paused like that"
            reading.report("pause", text, line.record.place)


def _judge_emitted(
    reading: Reading,
    line: LogLine,
    command: CommandLine,
    paused: tuple[Sequence[Span], int],
) -> None:
    """Nothing goes out that everybody must have heard to be paused."""
    spans, lag_ms = paused
    data, at_ms = command.data, line.record.timestamp_ms
    concerned = {
        "global",
        f"channel/{data['channel']}",
        f"journey/{data['journey']}",
        f"offer/{data.get('offer')}",
    }
    for span in spans:
        if data["class"] == "transactional" and not span.said.get("transactional"):
            continue
        # What one word pauses and the next one kills is paused all the time.
        if span.scope in concerned and span.from_ms + lag_ms < at_ms < span.to_ms:
            text = f"{line.customer}: {command.id} went out, while {span.scope} was paused"
            reading.report("pause", text, line.record.place)


def _scopes(model: Model, held: Mapping[str, Any]) -> set[str]:
    """Return what has to be paused to hold somebody at this step."""
    steps = model.journeys[held["journey"]]["steps"]
    word = next((one.get("send", {}) for one in steps if one["id"] == held["step"]), {})
    journey, channel = f"journey/{held['journey']}", f"channel/{held['channel']}"
    return {"global", journey, channel, f"offer/{word.get('offer')}"}


def _free_ms(spans: Sequence[Span], scopes: set[str], at_ms: int) -> int:
    """Return since when nothing of this is paused any more; 0 while something is."""
    ends = [
        min(span.to_ms, at_ms) for span in spans if span.scope in scopes and span.from_ms < at_ms
    ]
    return at_ms - max(ends, default=at_ms)


def _move(entry: Mapping[str, Any], held: Held, left: Held) -> None:
    """Let who is held go with their enrollment to another id; an erasure answers everybody."""
    if entry["kind"] == "customer_erased":
        held.clear()
    elif entry["kind"] == "handed_over" and entry["enrollment"] in held:
        left[str(entry["becomes"])] = held.pop(entry["enrollment"])
    elif entry["kind"] == "taken_over" and entry["enrollment"] in left:
        held[entry["enrollment"]] = left.pop(entry["enrollment"])


def _follow(
    reading: Reading, line: LogLine, entry: Mapping[str, Any], held: Held
) -> Mapping[str, Any] | None:
    """Whom a pause holds at a step is answered there: sent, refused, held otherwise, or over.

    Return the entry that is answered by this one.
    """
    kind, enrollment = entry["kind"], entry.get("enrollment", "")
    if kind == "held" and entry["reason"] == "paused":
        held[enrollment] = (entry, line)
        return None
    if enrollment not in held:
        return None
    asked, since = held[enrollment]
    step = asked["step"]
    here = kind in {"emitted", "send_refused", "held"} and entry["step"] == step
    if kind == "ended" or here:
        del held[enrollment]
        return asked
    if kind in {"moved", "held"}:
        del held[enrollment]
        text = f"{line.customer}: {enrollment} went on from {step}, where it was held, unanswered"
        reading.report("held", text, since.record.place)
    return None
