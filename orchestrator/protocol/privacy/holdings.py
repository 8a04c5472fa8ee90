"""What one topic holds of a customer: live, to be compacted away, or until retention drops it.

`cli/privacy` feeds every record of a topic in log order and asks for the verdict at the end. Of a
compacted topic the newest record of a key is live; only keys that were found once are remembered.
What is live may be nothing but the marker of the erasure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from msgspec import DecodeError, Struct, json

from orchestrator.core.calendar import instant_text
from orchestrator.core.encoded.state import UnknownStateFormat, decode_customer
from orchestrator.core.rules.erasure import EVERY_ENROLLMENT, is_forgotten
from orchestrator.protocol.outputs import Fence
from orchestrator.protocol.privacy.needles import IDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.protocol.privacy.needles import Needles

_WEEK_MS: Final = 7 * 86_400_000


class Record(Protocol):
    """One record, as a reader brings it."""

    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]: ...  # noqa: D102
    @property
    def timestamp_ms(self) -> int: ...  # noqa: D102


class Remains(NamedTuple):
    """What is found of a customer in a live record: what it is, and whether it may stay."""

    sentence: str
    may_stay: bool


class Holding(Struct, frozen=True):
    """The verdict on one topic. `clean`: nothing beyond the marker is live in it.

    `lines` say for people what is there and until when; empty when there is nothing.
    """

    topic: str
    records: int
    clean: bool
    lines: tuple[str, ...] = ()


class Judge(Protocol):
    """Says what a customer's own live record is, or that of an id that was absorbed into theirs."""

    def __call__(self, value: bytes, *, absorbed: str | None = None) -> Remains: ...  # noqa: D102


class Live:
    """A compacted topic. Without a `judge` its records are no customer's."""

    def __init__(self, topic: str, needles: Needles, judge: Judge | None = None) -> None:
        self.topic: Final = topic
        self._needles: Final = needles
        self._judge: Final = judge
        self._live: dict[bytes | None, tuple[frozenset[str], bytes | None]] = {}
        self._superseded = 0
        self._records = 0

    def take(self, record: Record) -> None:
        """Look at the next record of the topic."""
        self._records += 1
        found = self._needles.found_in_record(record.key, record.value, record.headers)
        if record.key in self._live or found:
            before = self._live.get(record.key)
            self._superseded += before is not None and bool(before[0])
            self._live[record.key] = (found, record.value)

    def verdict(self, config: Mapping[str, str]) -> Holding:
        """Return what is live and what the next compaction removes; `config` is the topic's."""
        del config
        lines, clean = [], True
        for key, (found, value) in sorted(self._live.items(), key=lambda one: one[0] or b""):
            if not found or value is None:
                continue
            remains = self._remains(key, value, found)
            clean &= remains.may_stay
            lines.append(remains.sentence)
        if self._superseded:
            older = "older record" if self._superseded == 1 else "older records"
            lines.append(f"{self._superseded} {older} of theirs until the next compaction")
        return Holding(self.topic, self._records, clean, tuple(lines))

    def _remains(self, key: bytes | None, value: bytes, found: frozenset[str]) -> Remains:
        needles = self._needles
        by, of = ", ".join(sorted(found)), (key or b"").decode("utf-8", "replace")
        if self._judge is not None and (key == needles.key or key in needles.absorbed):
            remains = self._judge(value, absorbed=None if key == needles.key else of)
            more = sorted(needles.found_in(value) - IDS)
            if more and remains.may_stay:
                return Remains(f"{remains.sentence}; it holds {', '.join(more)}", may_stay=False)
            return remains
        if self._judge is judge_state and found <= IDS and _points_to(value, needles):
            return _pointer_of(of)
        if self._judge is None and found <= IDS:
            # Definitions, orders and attempts are no customer's; the id is a word of theirs.
            return Remains(f"the record of {of!r:.80} has {by} as a word", may_stay=True)
        return Remains(f"the live record of {of!r:.80} holds {by}", may_stay=False)


class Kept:
    """A topic that keeps records for a time."""

    def __init__(self, topic: str, needles: Needles) -> None:
        self.topic: Final = topic
        self._needles: Final = needles
        self._records = self._found = 0
        self._by: set[str] = set()
        self._oldest_ms: int | None = None
        self._newest_ms = 0

    def take(self, record: Record) -> None:
        """Look at the next record of the topic."""
        self._records += 1
        found = self._needles.found_in_record(record.key, record.value, record.headers)
        if not found:
            return
        self._found += 1
        self._by |= found
        at_ms = record.timestamp_ms
        self._oldest_ms = at_ms if self._oldest_ms is None else min(at_ms, self._oldest_ms)
        self._newest_ms = max(self._newest_ms, at_ms)

    def verdict(self, config: Mapping[str, str]) -> Holding:
        """Return how many records there are and until when; `config` is the topic's."""
        if self._oldest_ms is None:
            return Holding(self.topic, self._records, clean=True)
        what = f"{self._found} record{'' if self._found == 1 else 's'} with "
        what += ", ".join(sorted(self._by))
        return Holding(
            self.topic, self._records, clean=True, lines=(f"{what}: {self._until(config)}",)
        )

    def _until(self, config: Mapping[str, str]) -> str:
        assert self._oldest_ms is not None
        retention_ms = _number(config.get("retention.ms"), -1)
        if retention_ms < 0:
            return "kept for ever (retention.ms is -1); delete them, or give the topic a retention"
        first, last = self._oldest_ms + retention_ms, self._newest_ms + retention_ms
        # The broker drops whole segments, by their newest record, and never the one it writes.
        rolls_ms = _number(config.get("segment.ms"), _WEEK_MS)
        return (
            f"kept until {instant_text(first)} (the oldest) to {instant_text(last)}, or until its "
            f"segment is full or {max(1, rolls_ms // 86_400_000)} d old"
        )


def judge_state(value: bytes, *, absorbed: str | None = None) -> Remains:
    """Say what a changelog record is of the customer, or of an id that was absorbed into theirs."""
    try:
        customer = decode_customer(value)
    except (UnknownStateFormat, DecodeError):
        return Remains("a state that this release cannot read", may_stay=False)
    erased = customer.erased
    if customer.merged_into is not None and absorbed is not None:
        return _pointer_of(absorbed)
    if customer.merged_into is not None:
        into = customer.merged_into
        return Remains(f"a pointer to {into!r}, which it was absorbed into: prove that one", True)
    if erased is None:
        return Remains("the whole state: the customer was not erased", may_stay=False)
    when = f"erased as of {instant_text(erased.at_ms)}"
    if is_forgotten(customer):
        return Remains(f"the marker, {when}, and no more", may_stay=True)
    return Remains(f"the state of a new life that began after: {when}", may_stay=False)


def _pointer_of(customer: str) -> Remains:
    return Remains(f"a pointer of {customer!r:.80}, which was absorbed into it", may_stay=True)


def _points_to(value: bytes, needles: Needles) -> bool:
    try:
        into = decode_customer(value).merged_into
    except (UnknownStateFormat, DecodeError):
        return False
    return into is not None and into.encode() in {needles.key, *needles.absorbed}


def judge_fence(value: bytes, *, absorbed: str | None = None) -> Remains:
    """Say what a record on `fences` is of the customer, or of an id absorbed into theirs."""
    try:
        fences = json.decode(value, type=Fence).enrollments
    except DecodeError:
        return Remains("a record that is no fence", may_stay=False)
    until = max((one.expires_at for one in fences), default="now")
    what = f"fences of what was recalled, taken back soon after {until}"
    if absorbed is not None:
        of = f"under {absorbed!r:.80}, which was absorbed into it"
        return Remains(f"{what}, {of}: names of enrollments and times", may_stay=True)
    if any(one.enrollment == EVERY_ENROLLMENT for one in fences):
        return Remains(f"{what}: names of enrollments and times", may_stay=True)
    return Remains("fences that are not those of an erasure", may_stay=False)


def _number(text: str | None, default: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        return default
