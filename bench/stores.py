"""Which embedded store the read model stands on: the same work for SQLite, LMDB and RocksDB.

`python -m bench.stores [customers]` prints one row for each: cold fill in batches as a changelog
brings them, the size on disk, opening again, reading one, and replacing one in a batch with the
old value read first. lmdb and rocksdict are installed by hand; a missing one is passed over.
Values are 1,400 bytes that compress about as well as encoded customers do.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VALUE_BYTES = 1_400
BATCH = 5_000
READS = 20_000
UPDATES = 100_000


def key_of(number):
    return hashlib.blake2b(number.to_bytes(8, "big"), digest_size=12).hexdigest().encode()


def value_of(number, version=0):
    seed = hashlib.blake2b(b"%d/%d" % (number, version), digest_size=64).digest()
    text = b"browse_abandonment/tent-%d#1 first_mail /shop evt-%d email/promotional " % (
        number % 5_000,
        number,
    )
    return (seed * 10 + text * 20)[:VALUE_BYTES]


class Sqlite:
    """A table with a row id and an index, in WAL mode."""

    def __init__(self, folder):
        self.db = sqlite3.connect(folder / "store.db", isolation_level=None)
        for pragma in (
            "page_size=8192",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "cache_size=-65536",
        ):
            self.db.execute(f"PRAGMA {pragma}")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS customers"
            " (row INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, value BLOB NOT NULL)"
        )

    def put(self, pairs):
        """Write a batch, all or nothing."""
        self.db.execute("BEGIN")
        self.db.executemany(
            "INSERT INTO customers(id, value) VALUES (?, ?)"
            " ON CONFLICT(id) DO UPDATE SET value = excluded.value",
            pairs,
        )
        self.db.execute("COMMIT")

    def get(self, key):
        """Return the value of a key."""
        row = self.db.execute("SELECT value FROM customers WHERE id = ?", (key,)).fetchone()
        return row and row[0]

    def close(self):
        """Let go of the files."""
        self.db.close()


class Lmdb:
    """One B+ tree, mapped into memory; synchronous as SQLite's NORMAL is: metadata only."""

    def __init__(self, folder):
        import lmdb  # noqa: PLC0415 - Only who compares it needs it.

        self.env = lmdb.open(str(folder / "lmdb"), map_size=2**36, sync=False, writemap=False)

    def put(self, pairs):
        """Write a batch, all or nothing."""
        with self.env.begin(write=True) as transaction:
            for key, value in pairs:
                transaction.put(key, value)

    def get(self, key):
        """Return the value of a key."""
        with self.env.begin() as transaction:
            return transaction.get(key)

    def close(self):
        """Let go of the files."""
        self.env.close()


class Rocks:
    """A log-structured tree with its defaults and a write-ahead log."""

    def __init__(self, folder):
        import rocksdict  # noqa: PLC0415 - As above.

        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        self.batch = rocksdict.WriteBatch
        self.db = rocksdict.Rdict(str(folder / "rocks"), options=options)

    def put(self, pairs):
        """Write a batch, all or nothing."""
        batch = self.batch(raw_mode=True)
        for key, value in pairs:
            batch.put(key, value)
        self.db.write(batch)

    def get(self, key):
        """Return the value of a key."""
        return self.db.get(key)

    def close(self):
        """Let go of the files."""
        self.db.close()


STORES = {"sqlite": Sqlite, "lmdb": Lmdb, "rocksdb": Rocks}


def measure(name, customers):
    folder = Path(tempfile.mkdtemp(prefix=f"stores-{name}-"))
    dice = random.Random(1)
    try:
        started = time.perf_counter()
        store = STORES[name](folder)
        for first in range(0, customers, BATCH):
            numbers = range(first, min(first + BATCH, customers))
            store.put([(key_of(number), value_of(number)) for number in numbers])
        filled = time.perf_counter() - started
        store.close()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        started = time.perf_counter()
        store = STORES[name](folder)
        assert store.get(key_of(7)) == value_of(7)
        opened = time.perf_counter() - started
        times = []
        for _ in range(READS):
            key = key_of(dice.randrange(customers))
            begun = time.perf_counter()
            store.get(key)
            times.append(time.perf_counter() - begun)
        started = time.perf_counter()
        for first in range(0, UPDATES, 500):
            numbers = [dice.randrange(customers) for _ in range(500)]
            for number in numbers:
                store.get(key_of(number))
            store.put([(key_of(number), value_of(number, first + 1)) for number in numbers])
        updated = time.perf_counter() - started
        store.close()
    finally:
        shutil.rmtree(folder)
    times.sort()
    return {
        "store": name,
        "fill_seconds": round(filled, 1),
        "disk_mb": round(size / 1e6),
        "open_ms": round(opened * 1000, 1),
        "read_p50_us": round(times[len(times) // 2] * 1e6, 1),
        "read_p99_us": round(times[len(times) * 99 // 100] * 1e6, 1),
        "replaced_per_second": round(UPDATES / updated),
        "resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main():
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[1]))))
        return
    customers = sys.argv[1] if len(sys.argv) > 1 else "1000000"
    for name in STORES:
        subprocess.run([sys.executable, "-m", "bench.stores", customers, name], check=False)


if __name__ == "__main__":
    main()
