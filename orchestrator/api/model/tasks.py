"""Open tasks in the file of the read model: kept with each state, listed by queue, age, priority.

`store` writes here in the transaction of the state. Queue and priority are the journeys' word, so
they are looked up when somebody asks, and a new publication counts at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.core.encoded.state import UnknownStateFormat
from orchestrator.core.people.open_tasks import OpenTask, open_tasks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from orchestrator.core.journeys import Journeys

TABLE: Final = """
CREATE TABLE tasks (
    id TEXT PRIMARY KEY, customer BLOB NOT NULL, channel TEXT NOT NULL, journey TEXT NOT NULL,
    version INTEGER NOT NULL, step TEXT NOT NULL, enrollment TEXT NOT NULL,
    created_ms INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL, claimed_by TEXT, claimed_ms INTEGER
);
CREATE INDEX tasks_of ON tasks (customer);
CREATE INDEX tasks_by_step ON tasks (journey, version, step, channel)
"""
_COLUMNS: Final = (
    "id, customer, channel, journey, version, step, enrollment, created_ms, expires_at_ms,"
    " claimed_by, claimed_ms"
)


class Waiting(NamedTuple):
    """An open task as the list shows it; a greater `priority` is more urgent."""

    task: OpenTask
    customer: str
    queue: str
    priority: int

    def mark(self, *, by_priority: bool) -> tuple[int, int, str]:
        """Return where it stands in the list: what the next page begins after."""
        return (-self.priority if by_priority else 0, self.task.created_ms, self.task.id)


class Wanted(NamedTuple):
    """Which tasks to list; None is any. `now_ms` leaves out what has expired."""

    now_ms: int
    queue: str | None = None
    customer: str | None = None
    claimed: bool | None = None
    claimed_by: str | None = None
    task: str | None = None
    by_priority: bool = False
    after: tuple[int, int, str] | None = None


class Queue(NamedTuple):
    """How many tasks wait in a queue, how many of them somebody has, and since when the oldest."""

    name: str
    open: int
    claimed: int
    oldest_ms: int


# A step with tasks: journey, version, step, channel.
_Step = tuple[str, int, str, str]


def keep(
    db: sqlite3.Connection, customer: bytes, state: bytes | None, before: bytes | None
) -> None:
    """Replace the tasks of a customer by those of a new state."""
    had, has = _tasks(before), _tasks(state)
    if had == has:
        return
    db.execute("DELETE FROM tasks WHERE customer = ?", (customer,))
    db.executemany(
        "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                *(one.id, customer, one.channel, one.journey, one.version, one.step),
                *(one.enrollment, one.created_ms, one.expires_at_ms),
                *(one.claimed_by, one.claimed_ms),
            )
            for one in has
        ),
    )


def listed(
    db: sqlite3.Connection, journeys: Journeys | None, wanted: Wanted, limit: int
) -> list[Waiting]:
    """Return open tasks, the most urgent or the oldest first."""
    conditions, values = ["expires_at_ms > ?"], [wanted.now_ms]
    for condition, value in (
        ("queue = ?", wanted.queue),
        ("customer = ?", None if wanted.customer is None else wanted.customer.encode()),
        ("claimed_by = ?", wanted.claimed_by),
        ("id = ?", wanted.task),
        ("(claimed_by IS NOT NULL) = ?", wanted.claimed),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)  # type: ignore[arg-type]
    if wanted.after is not None:
        conditions.append("(rank, created_ms, id) > (?, ?, ?)")
        values += wanted.after  # type: ignore[arg-type]
    steps, named = _steps(db, journeys)
    if not named:
        return []
    rank = "-priority" if wanted.by_priority else "0"
    rows = db.execute(
        f"{steps} SELECT * FROM (SELECT {_COLUMNS}, queue, priority, {rank} AS rank"  # noqa: S608
        " FROM tasks JOIN steps USING (journey, version, step, channel))"
        f" WHERE {' AND '.join(conditions)} ORDER BY rank, created_ms, id LIMIT ?",
        (*named, *values, limit),
    )
    return [_waiting(row) for row in rows]


def queues(db: sqlite3.Connection, journeys: Journeys | None, now_ms: int) -> list[Queue]:
    """Return every queue in which something waits, by name."""
    steps, named = _steps(db, journeys)
    if not named:
        return []
    rows = db.execute(
        f"{steps} SELECT queue, count(*), count(claimed_by), min(created_ms)"  # noqa: S608
        " FROM tasks JOIN steps USING (journey, version, step, channel)"
        " WHERE expires_at_ms > ? GROUP BY queue ORDER BY queue",
        (*named, now_ms),
    )
    return [Queue(*row) for row in rows]


def _steps(db: sqlite3.Connection, journeys: Journeys | None) -> tuple[str, list[object]]:
    """Return a table of the steps that have tasks with queue and priority, and its values."""
    found: Iterable[_Step] = db.execute(
        "SELECT DISTINCT journey, version, step, channel FROM tasks"
    ).fetchall()
    values: list[object] = []
    for step in found:
        values += (*step, *_place(journeys, step))
    rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * (len(values) // 6))
    return f"WITH steps (journey, version, step, channel, queue, priority) AS (VALUES {rows})", (
        values
    )


def _place(journeys: Journeys | None, step: _Step) -> tuple[str, int]:
    """Return the queue of a step's tasks and the priority of its journey."""
    journey, version, step_id, channel = step
    if journeys is None:
        return channel, 0
    declared = journeys.channels.get(channel)
    queue = (None if declared is None else declared.queue) or channel
    found = journeys.versions.get((journey, version))
    if found is None:
        return queue, 0
    words = (one.task for one in found.steps if one.id == step_id)
    own = next((word.queue for word in words if word is not None), None)
    return own or queue, found.priority


def _waiting(row: tuple[object, ...]) -> Waiting:
    task_id, customer, *rest, queue, priority, _ = row
    assert isinstance(customer, bytes)
    task = OpenTask(task_id, *rest)  # type: ignore[arg-type]
    return Waiting(task, customer.decode(), str(queue), int(str(priority)))


def _tasks(state: bytes | None) -> tuple[OpenTask, ...]:
    try:
        return () if state is None else open_tasks(state)
    except UnknownStateFormat:
        return ()  # A newer release has written it; its tasks are listed there.
