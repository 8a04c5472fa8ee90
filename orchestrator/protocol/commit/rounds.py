"""Rounds of visits to the customers of a partition, for journeys and when a pause has changed.

A journey visits at times of a table, or once when it is new; a change of what is paused visits
those whom a pause holds. A round goes through the customers in the order of their ids. How far
it is stands in the meta record, in the same transaction as what it did, so that a worker that dies
in the middle leaves a round that goes on behind the last customer it visited. A visit is always
behind live events.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from orchestrator.core.calendar import first_zone, latest_occurrence, next_occurrence
from orchestrator.core.event import Resumed, Visit
from orchestrator.core.identity.notices import INDEX_BYTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from zoneinfo import ZoneInfo

    from orchestrator.core.journeys import Journeys, Plan

# Who is new here is looked at without a rate of the author's, and not all at once either.
_INTRODUCED_PER_SECOND: Final = 2_000
# What a pause has held goes out behind live events, and not all of it in one burst.
_RESUMED_PER_SECOND: Final = 2_000
# The round after a change of what is paused; no journey can have this name.
RESUMED: Final = "*resumed*"
# A table is asked again at the latest after this; its next time may be years away.
_ASK_AGAIN_MS: Final = 3_600_000


class Cursor(Struct, frozen=True, array_like=True, gc=False):
    """How far a journey's round is: behind which customer; empty at its beginning, None at its end.

    `occurrence_ms` is the time of the table that it is about; None for who is new here. `version`
    is the journey's, or the revision of the pauses after whose change a round goes.
    """

    version: int
    occurrence_ms: int | None = None
    after: bytes | None = None


class _Round:
    """A round under way: who is left, and how fast it goes."""

    __slots__ = ("began_ms", "customers", "next", "per_second", "visit")

    def __init__(
        self,
        visit: Visit | Resumed,
        customers: list[bytes],
        next_: int,
        per_second: float,
        now_ms: int,
    ) -> None:
        self.visit = visit
        self.customers = customers
        self.next = next_
        self.per_second = per_second
        self.began_ms = now_ms - round(1_000 * next_ / per_second)

    def due_ms(self) -> int:
        """Return when the next customer is to be visited."""
        return self.began_ms + round(1_000 * self.next / self.per_second)


class Rounds:
    """The visits of one partition. `partitions` is how many share a journey's rate."""

    def __init__(
        self, journeys: Journeys, cursors: Mapping[str, Cursor], *, partitions: int
    ) -> None:
        self._journeys: Final = journeys
        self._partitions: Final = partitions
        known = {*journeys.visiting, RESUMED}
        self._cursors = {name: one for name, one in cursors.items() if name in known}
        self._active: dict[str, _Round] = {}
        # When a journey's table has to be asked again.
        self._asked_again_ms: dict[str, int] = dict.fromkeys(
            (plan.name for plan in journeys.scheduled), 0
        )
        self._new = [plan for plan in journeys.watching.values() if self._is_new(plan)]

    def cursors(self) -> dict[str, Cursor]:
        """Return how far every round is, for the meta record."""
        return dict(self._cursors)

    @property
    def left(self) -> int:
        """How many visits are left in the rounds under way; another thread may ask."""
        return sum(len(one.customers) - one.next for one in self._active.copy().values())

    def next_due_ms(self, now_ms: int) -> int | None:
        """Return when there may be somebody to visit; not after `now_ms` when there is."""
        if self._new or self._is_resuming():
            return now_ms
        due = [one.due_ms() for one in self._active.values()]
        due += self._asked_again_ms.values()
        due += [
            now_ms
            for name, one in self._cursors.items()
            if one.after is not None and name not in self._active
        ]
        return min(due, default=None)

    def next_visit(
        self, customers: Iterable[bytes], paused: Iterable[bytes], now_ms: int
    ) -> tuple[bytes, Visit | Resumed] | None:
        """Return whom to visit now. The caller decides it in the open group, before anything else.

        `customers` are all ids of the partition, `paused` those whom a pause holds, in any order;
        only looked at when a round begins.
        """
        self._begin(customers, paused, now_ms)
        for name, one in sorted(self._active.items()):
            if one.due_ms() > now_ms:
                continue
            customer = one.customers[one.next]
            one.next += 1
            over = one.next == len(one.customers)
            self._cursors[name] = replace(self._cursors[name], after=None if over else customer)
            if over:
                del self._active[name]
            return customer, one.visit
        return None

    def _is_resuming(self) -> bool:
        """Whether what is paused has changed since the last round about it began."""
        revision, cursor = self._journeys.pauses.revision, self._cursors.get(RESUMED)
        return revision != (0 if cursor is None else cursor.version)

    def _begin(self, customers: Iterable[bytes], paused: Iterable[bytes], now_ms: int) -> None:
        if self._is_resuming():
            # Also for who was to be visited after the change before: one round is enough.
            self._cursors[RESUMED] = Cursor(self._journeys.pauses.revision, after=b"")
        for name, cursor in list(self._cursors.items()):
            if cursor.after is None or name in self._active:
                continue
            if name == RESUMED:
                self._start_resumed(cursor, paused, now_ms)
            else:
                version = self._journeys.visiting[name].version
                self._start(name, replace(cursor, version=version), customers, now_ms)
        new, self._new = self._new, []
        for plan in new:
            self._start(plan.name, Cursor(plan.version, after=b""), customers, now_ms)
        for name, ask_ms in self._asked_again_ms.items():
            if ask_ms <= now_ms and name not in self._active:
                self._ask(self._journeys.visiting[name], customers, now_ms)

    def _ask(self, plan: Plan, customers: Iterable[bytes], now_ms: int) -> None:
        """Start a round when a time of the journey's table has come since the last one."""
        schedule = plan.entry.schedule
        assert schedule is not None
        zone = schedule_zone(self._journeys, plan)
        following_ms = next_occurrence(schedule.cron, zone, now_ms)
        again_ms = now_ms + _ASK_AGAIN_MS
        self._asked_again_ms[plan.name] = min(following_ms or again_ms, again_ms)
        held = self._cursors.get(plan.name)
        last_ms = latest_occurrence(schedule.cron, zone, now_ms)
        if held is None or held.occurrence_ms is None or last_ms is None:
            # A journey does not make up for the time before it was there.
            self._cursors[plan.name] = Cursor(plan.version, last_ms or 0)
        elif last_ms > held.occurrence_ms:
            too_late = now_ms - last_ms > plan.entry.max_age
            cursor = Cursor(plan.version, last_ms, after=None if too_late else b"")
            if too_late:
                self._cursors[plan.name] = cursor
            else:
                self._start(plan.name, cursor, customers, now_ms)

    def _start(self, name: str, cursor: Cursor, customers: Iterable[bytes], now_ms: int) -> None:
        """Begin a round, or go on behind the customer that the cursor names."""
        self._cursors[name] = cursor
        plan = self._journeys.visiting[name]
        # An index of addresses is nobody; no customer id in UTF-8 begins like its key.
        ordered = sorted(one for one in customers if not one.startswith(INDEX_BYTE))
        next_ = bisect_right(ordered, cursor.after or b"")
        if next_ == len(ordered):
            self._cursors[name] = replace(cursor, after=None)
            return
        schedule = plan.entry.schedule
        rate = _INTRODUCED_PER_SECOND if schedule is None else schedule.rate / self._partitions
        visit = Visit(name, plan.version, cursor.occurrence_ms)
        self._active[name] = _Round(visit, ordered, next_, rate, now_ms)

    def _start_resumed(self, cursor: Cursor, paused: Iterable[bytes], now_ms: int) -> None:
        """Begin a round through those whom a pause holds, or go on with it.

        Who is held later than this is held by what is paused now, and needs no visit.
        """
        after = cursor.after or b""
        left = sorted(one for one in paused if one > after)
        if not left:
            self._cursors[RESUMED] = replace(cursor, after=None)
            return
        visit = Resumed(cursor.version)
        self._active[RESUMED] = _Round(visit, left, 0, _RESUMED_PER_SECOND, now_ms)

    def _is_new(self, plan: Plan) -> bool:
        held = self._cursors.get(plan.name)
        return held is None or held.version != plan.version


def schedule_zone(journeys: Journeys, plan: Plan) -> ZoneInfo:
    """Return the zone of a journey's time table."""
    schedule = plan.entry.schedule
    own = None if schedule is None else schedule.zone
    return first_zone((own, plan.journey.zone, journeys.shop.zone))
