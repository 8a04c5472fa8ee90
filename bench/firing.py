"""What became of waits, read off the topics: who fired, how often, how late. `waits` asks it.

A wait has fired when the journey log has a line whose cause is its due time, and the message that
follows stands on its topic; each must be there exactly once. Late is the time from the due time to
the instant at which the worker decided, and to the one at which it wrote the line down.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from hdrh.histogram import HdrHistogram

from bench.reader import HIGHEST_US, percentiles
from bench.rivals.parts.growth import stranger_id
from bench.shop import LETTERS
from bench.topics import read_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bench.systems import Deployment

STRANGER: Final = stranger_id(0).partition("-")[0] + "-"


class Fired(NamedTuple):
    """A line of the journey log about a wait; epoch milliseconds."""

    customer: str
    due_ms: int
    decided_ms: int
    written_ms: int


@dataclass(frozen=True, slots=True)
class Waits:
    """Which waits are due when: milliseconds by the stranger's number. `early` must not fire."""

    due_ms: Mapping[int, int]
    early: Iterable[int] = ()


@dataclass(slots=True)
class Firings:
    """The judgement: all counts of what went wrong are 0 when each wait fired exactly once."""

    fired: int = 0
    doubled: int = 0
    missing: int = 0
    early: int = 0
    decided_us: HdrHistogram = field(default_factory=lambda: HdrHistogram(1, HIGHEST_US, 3))
    written_us: HdrHistogram = field(default_factory=lambda: HdrHistogram(1, HIGHEST_US, 3))
    times_ms: list[int] = field(default_factory=list)

    @property
    def first_ms(self) -> int:
        """When the first line was written; 0 without any."""
        return min(self.times_ms, default=0)

    @property
    def last_ms(self) -> int:
        """When the last line was written; 0 without any."""
        return max(self.times_ms, default=0)

    def last_before_ms(self, until_ms: float) -> int:
        """Return when the last line before an instant was written; 0 without any."""
        return max((at for at in self.times_ms if at < until_ms), default=0)

    def row(self) -> dict[str, Any]:
        """Return it as it is kept."""
        lateness = {}
        for name, waits in (("decided", self.decided_us), ("written", self.written_us)):
            lateness[f"late_{name}_ms"] = percentiles(waits) if self.fired else {}
        return {
            "fired": self.fired,
            "doubled": self.doubled,
            "missing": self.missing,
            "early": self.early,
            **lateness,
        }


def judged(waits: Waits, log: Iterable[Fired], letters: Iterable[str]) -> Firings:
    """Judge what the log says and for whom letters stand on the topic, against what was due."""
    due = {stranger_id(number): due_ms for number, due_ms in waits.due_ms.items()}
    not_yet = {stranger_id(number) for number in waits.early} - due.keys()
    found, sent = Firings(), Counter(letters)
    lines, right = Counter[str](), set[str]()
    too_early = {customer for customer in sent if customer in not_yet}
    for one in log:
        lines[one.customer] += 1
        if one.customer in not_yet or one.decided_ms < one.due_ms:
            too_early.add(one.customer)
        if one.due_ms != due.get(one.customer):
            continue
        right.add(one.customer)
        found.fired += 1
        found.times_ms.append(one.written_ms)
        for us, at_ms in ((found.decided_us, one.decided_ms), (found.written_us, one.written_ms)):
            us.record_value(min(HIGHEST_US, max(1, (at_ms - one.due_ms) * 1_000)))
    found.early = len(too_early)
    for counted in (lines, sent):
        found.doubled += sum(count - 1 for count in counted.values())
    # Who lacks the line or the letter has not fired whole.
    found.missing = sum(customer not in right or not sent[customer] for customer in due)
    return found


def firings(deployment: Deployment, waits: Waits) -> Firings:
    """Read the topics to their ends and judge them."""
    return judged(waits, _log(deployment), _letters(deployment))


def _log(deployment: Deployment) -> Iterator[Fired]:
    client = {"bootstrap.servers": deployment.bootstrap_servers}
    for message in read_messages(client, f"{deployment.prefix}journey-log"):
        key, value = message.key(), message.value()
        if key is None or value is None or not key.startswith(STRANGER.encode()):
            continue
        line = orjson.loads(value)
        if line["cause"]["kind"] == "timer":
            _, written_ms = message.timestamp()
            times = (_epoch_ms(line["cause"]["due"]), _epoch_ms(line["now"]), written_ms)
            yield Fired(key.decode(), *times)


def _letters(deployment: Deployment) -> Iterator[str]:
    client = {"bootstrap.servers": deployment.bootstrap_servers}
    for message in read_messages(client, deployment.prefix + LETTERS):
        key, value = message.key(), message.value()
        if key is None or value is None or not key.startswith(STRANGER.encode()):
            continue
        if orjson.loads(value)["type"] == "message.send":
            yield key.decode()


def _epoch_ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1_000)
