"""The file of the read model: customers, their timelines, and how far each topic was read.

Everything a batch of records changes is one SQLite transaction together with the positions to read
on from, so that a kill at any point neither loses nor doubles anything. One at a time writes
(`apply`), and the loop reads on a connection of its own; docs/api.md has the measurement that led
to SQLite.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.api.model import tasks
from orchestrator.core.encoded.places import Place, places_of
from orchestrator.core.encoded.state import UnknownStateFormat
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.api.model.tasks import Queue, Waiting, Wanted
    from orchestrator.core.journeys import Journeys

FORMAT: Final = 2
_FILE: Final = "read-model.db"
# Deleting old entries goes along with writing, in steps that no batch notices.
_SWEPT_MAX: Final = 2_000
_CACHE_KIB: Final = 64 * 1024
_BUSY_MS: Final = 10_000
# `checkpoint` comes first as a rule; this bounds the log of a file that is being filled.
_WAL_PAGES_MAX: Final = 8_000

_TABLES: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE positions (topic TEXT, part INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, part));
CREATE TABLE causes (topic TEXT, part INTEGER, newest INTEGER NOT NULL, PRIMARY KEY (topic, part));
CREATE TABLE decided (part INTEGER, topic TEXT, next INTEGER NOT NULL, PRIMARY KEY (part, topic));
CREATE TABLE customers (row INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, state BLOB NOT NULL);
CREATE TABLE timeline (
    row INTEGER PRIMARY KEY, customer BLOB NOT NULL, at_ms INTEGER NOT NULL, record BLOB NOT NULL
);
CREATE INDEX timeline_of ON timeline (customer, row);
CREATE INDEX timeline_at ON timeline (at_ms);
CREATE TABLE dead_letters (
    topic TEXT, part INTEGER, position INTEGER, at_ms INTEGER NOT NULL, reason TEXT NOT NULL,
    detail TEXT NOT NULL, PRIMARY KEY (topic, part, position)
);
CREATE INDEX dead_letters_at ON dead_letters (at_ms);
CREATE TABLE places (
    journey TEXT, version INTEGER, step TEXT, people INTEGER NOT NULL,
    PRIMARY KEY (journey, version, step)
);
"""
# In this order for a new file: the size of a page is fixed by the first table.
_PRAGMAS: Final = (
    "PRAGMA page_size = 8192",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    f"PRAGMA busy_timeout = {_BUSY_MS}",
    f"PRAGMA wal_autocheckpoint = {_WAL_PAGES_MAX}",
    "PRAGMA secure_delete = ON",
)

# A topic and a partition.
Part = tuple[str, int]


class Identity(NamedTuple):
    """Which deployment a file belongs to."""

    cluster: str
    changelog: str
    partitions: int


class Entry(NamedTuple):
    """One record of the journey log; `row` orders a customer's entries and is the page mark."""

    row: int
    at_ms: int
    record: bytes


class DeadLetter(NamedTuple):
    """Why a record could not be applied."""

    reason: str
    detail: str


class Bounds(NamedTuple):
    """How much of a timeline is kept."""

    timeline_ms: int
    entries_max: int


@dataclass(slots=True)
class Batch:
    """What some records change.

    `customers` holds new states, None for who is gone; `erased` are those whose timeline goes, and
    `timeline` what comes after it: (customer, time, record);
    `dead_letters` by where the record stood first; `causes` the newest offsets that the journey
    log names; `decided` what meta records say, by home partition; `positions` where to read on.
    """

    customers: dict[bytes, bytes | None] = field(default_factory=dict)
    erased: set[bytes] = field(default_factory=set)
    timeline: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    dead_letters: dict[tuple[str, int, int], tuple[int, DeadLetter]] = field(default_factory=dict)
    causes: dict[Part, int] = field(default_factory=dict)
    decided: dict[int, Mapping[str, int]] = field(default_factory=dict)
    positions: dict[Part, int] = field(default_factory=dict)


class Store:
    """One open file. `rebuilt` says why what was there before had to go, None when it did not."""

    def __init__(self, folder: Path, identity: Identity, bounds: Bounds) -> None:
        """Open or create. Raises UsageError when the folder is in use or another deployment's."""
        self._bounds: Final = bounds
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock: Final = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise UsageError(
                f"api_data_dir: {folder} is in use by another process; allowed: a folder for each"
            ) from None
        self._path: Final = folder / _FILE
        self.rebuilt = self._unusable(identity)
        if self.rebuilt is not None:
            self._remove()
        self._writer = self._opened(identity)
        self._reader = self._connection()

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()
        self._writer.close()
        self._lock.close()

    def start_over(self, identity: Identity, reason: str) -> None:
        """Throw everything away, because it can no longer become true by reading on."""
        self._reader.close()
        self._writer.close()
        self._remove()
        self.rebuilt = reason
        self._writer = self._opened(identity)
        self._reader = self._connection()

    # -- Writing: one at a time ----------------------------------------------------------------

    def apply(self, batch: Batch, *, now_ms: int) -> None:
        """Take a batch in, all or nothing."""
        with self._transaction() as db:
            self._apply_customers(db, batch.customers)
            db.executemany(
                "DELETE FROM timeline WHERE customer = ?", ((one,) for one in batch.erased)
            )
            db.executemany(
                "INSERT INTO timeline (customer, at_ms, record) VALUES (?, ?, ?)", batch.timeline
            )
            self._bound_timelines(db, {customer for customer, _, _ in batch.timeline}, now_ms)
            db.executemany(
                "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?)",
                (
                    (*place, at_ms, one.reason, one.detail)
                    for place, (at_ms, one) in batch.dead_letters.items()
                ),
            )
            db.executemany(
                "INSERT INTO causes VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET newest = max(newest, excluded.newest)",
                ((*part, offset) for part, offset in batch.causes.items()),
            )
            db.executemany(
                "INSERT OR REPLACE INTO decided VALUES (?, ?, ?)",
                (
                    (home, topic, offset)
                    for home, positions in batch.decided.items()
                    for topic, offset in positions.items()
                ),
            )
            db.executemany(
                "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)",
                ((*part, offset) for part, offset in batch.positions.items()),
            )
            db.execute("INSERT OR REPLACE INTO about VALUES ('fed_at_ms', ?)", (str(now_ms),))

    def _apply_customers(
        self, db: sqlite3.Connection, customers: Mapping[bytes, bytes | None]
    ) -> None:
        moved: Counter[Place] = Counter()
        more = 0
        for customer, state in customers.items():
            before = db.execute("SELECT state FROM customers WHERE id = ?", (customer,)).fetchone()
            if before is not None:
                moved.subtract(_places(before[0]))
            tasks.keep(db, customer, state, None if before is None else before[0])
            more += (state is not None) - (before is not None)
            if state is None:
                db.execute("DELETE FROM customers WHERE id = ?", (customer,))
                continue
            moved.update(_places(state))
            if before is None:
                db.execute("INSERT INTO customers (id, state) VALUES (?, ?)", (customer, state))
            else:
                db.execute("UPDATE customers SET state = ? WHERE id = ?", (state, customer))
        # Kept, because counting a million rows would hold up the loop.
        db.execute(
            "INSERT INTO about VALUES ('customers', ?)"
            " ON CONFLICT DO UPDATE SET value = CAST(value AS INTEGER) + ?",
            (str(more), more),
        )
        db.executemany(
            "INSERT INTO places VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET people = people + excluded.people",
            ((*place, people) for place, people in moved.items() if people),
        )

    def _bound_timelines(self, db: sqlite3.Connection, customers: set[bytes], now_ms: int) -> None:
        for customer in customers:
            oldest = db.execute(
                "SELECT row FROM timeline WHERE customer = ? ORDER BY row DESC LIMIT 1 OFFSET ?",
                (customer, self._bounds.entries_max),
            ).fetchone()
            if oldest is not None:
                db.execute(
                    "DELETE FROM timeline WHERE customer = ? AND row <= ?", (customer, oldest[0])
                )
        for table in ("timeline", "dead_letters"):
            db.execute(
                f"DELETE FROM {table} WHERE rowid IN"  # noqa: S608 - Names of our own.
                f" (SELECT rowid FROM {table} WHERE at_ms < ? LIMIT ?)",
                (now_ms - self._bounds.timeline_ms, _SWEPT_MAX),
            )

    def checkpoint(self) -> None:
        """Move what was written from the log into the file; waits for the disk, so not on the loop.

        Nothing is to be written meanwhile: the log begins again only when all of it is moved.
        """
        self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def forget(self, customer: bytes) -> None:
        """Remove a customer's state and timeline."""
        with self._transaction() as db:
            self._apply_customers(db, {customer: None})
            db.execute("DELETE FROM timeline WHERE customer = ?", (customer,))

    # -- Reading: the loop ---------------------------------------------------------------------

    def state(self, customer: bytes) -> bytes | None:
        """Return the newest changelog value of a customer."""
        row = self._reader.execute(
            "SELECT state FROM customers WHERE id = ?", (customer,)
        ).fetchone()
        return None if row is None else row[0]

    def timeline(
        self, customers: Sequence[bytes], *, before: int | None, limit: int
    ) -> list[Entry]:
        """Return entries of these ids that are older than a row, the newest first."""
        marks = ",".join("?" * len(customers))
        rows = self._reader.execute(
            f"SELECT row, at_ms, record FROM timeline WHERE customer IN ({marks}) AND row < ?"  # noqa: S608
            " ORDER BY row DESC LIMIT ?",
            (*customers, 2**62 if before is None else before, limit),
        )
        return [Entry(*row) for row in rows]

    def people(self) -> dict[Place, int]:
        """Return how many people stand in each step."""
        rows = self._reader.execute(
            "SELECT journey, version, step, people FROM places WHERE people > 0"
        )
        return {(journey, version, step): people for journey, version, step, people in rows}

    def tasks(self, journeys: Journeys | None, wanted: Wanted, limit: int) -> list[Waiting]:
        """Return open tasks, the most urgent or the oldest first."""
        return tasks.listed(self._reader, journeys, wanted, limit)

    def queues(self, journeys: Journeys | None, now_ms: int) -> list[Queue]:
        """Return every queue in which something waits."""
        return tasks.queues(self._reader, journeys, now_ms)

    def customers(self) -> int:
        """Return how many customers are known."""
        row = self._reader.execute("SELECT value FROM about WHERE name = 'customers'").fetchone()
        return 0 if row is None else int(row[0])

    def dead_letter(self, topic: str, partition: int, offset: int) -> DeadLetter | None:
        """Return why a record could not be applied; None when nobody said that of it."""
        row = self._reader.execute(
            "SELECT reason, detail FROM dead_letters WHERE topic = ? AND part = ? AND position = ?",
            (topic, partition, offset),
        ).fetchone()
        return None if row is None else DeadLetter(*row)

    def positions(self) -> dict[Part, int]:
        """Return where to read on, by topic and partition."""
        return {
            (topic, part): offset
            for topic, part, offset in self._reader.execute("SELECT * FROM positions")
        }

    def causes(self) -> dict[Part, int]:
        """Return the newest offset of each input partition that the journey log has named."""
        return {
            (topic, part): offset
            for topic, part, offset in self._reader.execute("SELECT * FROM causes")
        }

    def decided(self) -> dict[int, dict[str, int]]:
        """Return the next offsets to decide as of the states, by home partition and topic."""
        found: dict[int, dict[str, int]] = {}
        for home, topic, offset in self._reader.execute("SELECT * FROM decided"):
            found.setdefault(home, {})[topic] = offset
        return found

    def fed_at_ms(self) -> int | None:
        """Return when something was taken in last; None when nothing ever was."""
        row = self._reader.execute("SELECT value FROM about WHERE name = 'fed_at_ms'").fetchone()
        return None if row is None else int(row[0])

    # -- The file ------------------------------------------------------------------------------

    def _unusable(self, identity: Identity) -> str | None:
        """Return why the file that is there cannot be used. Raises UsageError when it is another's.

        What another deployment has written is not ours to throw away.
        """
        if not self._path.exists():
            return None
        try:
            db = self._connection()
            try:
                about = dict(db.execute("SELECT name, value FROM about"))
            finally:
                db.close()
        except sqlite3.DatabaseError as error:
            return f"the file cannot be read ({error})"
        if about.get("format") != str(FORMAT):
            return f"the file has format {about.get('format')}, this release writes {FORMAT}"
        for name, ours in identity._asdict().items():
            if about.get(name) != str(ours):
                raise UsageError(
                    f"api_data_dir: {self._path.parent} holds the read model of {name} "
                    f"{about.get(name)}, this is {ours}; allowed: a folder for each deployment"
                )
        return None

    def _opened(self, identity: Identity) -> sqlite3.Connection:
        db = self._connection()
        if db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
            about = {"format": FORMAT, **identity._asdict()}
            db.execute("BEGIN")
            for statement in (_TABLES + tasks.TABLE).split(";"):
                db.execute(statement)
            db.executemany(
                "INSERT INTO about VALUES (?, ?)",
                ((name, str(value)) for name, value in about.items()),
            )
            db.execute("COMMIT")
        return db

    def _connection(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for pragma in _PRAGMAS:
            db.execute(pragma)
        return db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._writer
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(_FILE + suffix).unlink(missing_ok=True)


def _places(state: bytes) -> tuple[Place, ...]:
    try:
        return places_of(state)
    except UnknownStateFormat:
        return ()  # A newer release has written it; it is kept, and counted nowhere.
