"""The tables, their versions, and how a connection to them is opened.

A job is two rows: `job`, written once, and `standing`, small, rewritten at every step; so a claim and a completion
touch only the second. The sort keys are copied to it for the index of what is ready. Everything rare (errors, notes,
tags, keys) has a table of its own, without a row for the jobs that have none of it.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from actors.core.errors import StoreError
from actors.core.job import STATES
from actors.core.lifecycle import PROMOTION, bulk_claim
from actors.store.sqlite.faults import is_busy, store_errors

SCHEDULED: Final = PROMOTION.source
PENDING: Final = PROMOTION.target
RUNNING: Final = bulk_claim(0, "").target

APPLICATION: Final = 0x61637473  # "acts", in the header of the file: whose database this is
OLDEST: Final = (3, 37, 0)  # STRICT tables
BUSY_SECONDS: Final = (
    5.0  # how long a locked database is waited for: well below the 6 s after which the API must have answered
)
WRITER_CACHE: Final = 16_384  # KiB of pages; a million waiting jobs must not move into RAM
READER_CACHE: Final = 8_192
STATEMENTS: Final = 128  # prepared ones a connection keeps

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE job (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, payload TEXT NOT NULL,
            queue TEXT NOT NULL, priority INTEGER NOT NULL, front INTEGER NOT NULL, max_attempts INTEGER NOT NULL,
            timeout TEXT, -- as Python writes the number: SQLite's JSON keeps 15 digits of a REAL
            created_at INTEGER NOT NULL, owner TEXT, details TEXT
        ) STRICT""",
        "CREATE INDEX job_owner ON job (owner) WHERE owner IS NOT NULL",
        """CREATE TABLE standing (
            seq INTEGER PRIMARY KEY, state TEXT NOT NULL, queue TEXT NOT NULL, type TEXT NOT NULL,
            priority INTEGER NOT NULL, front INTEGER NOT NULL, run_at INTEGER NOT NULL, version INTEGER NOT NULL,
            attempt INTEGER NOT NULL, runs INTEGER NOT NULL, crashes INTEGER NOT NULL,
            started_at INTEGER, finished_at INTEGER, holder TEXT, stop TEXT, result TEXT
        ) STRICT""",
        f"CREATE INDEX ready ON standing (queue, priority DESC, front, run_at, seq, type) WHERE state = '{PENDING}'",
        f"CREATE INDEX due ON standing (run_at) WHERE state = '{SCHEDULED}'",
        "CREATE INDEX held ON standing (holder) WHERE holder IS NOT NULL",
        "CREATE INDEX stopping ON standing (holder) WHERE stop IS NOT NULL",
        "CREATE INDEX ended ON standing (state, finished_at) WHERE finished_at IS NOT NULL",
        # n grows from row to row, so it is the order in which they came
        "CREATE TABLE attempt_error (n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, body TEXT NOT NULL) STRICT",
        "CREATE INDEX attempt_error_of ON attempt_error (seq)",
        "CREATE TABLE note (seq INTEGER PRIMARY KEY, progress TEXT, saved TEXT) STRICT",
        """CREATE TABLE log_line (
            n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, at INTEGER NOT NULL, run INTEGER NOT NULL, text TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX log_line_of ON log_line (seq)",
        "CREATE TABLE tag (tag TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (tag, seq)) STRICT, WITHOUT ROWID",
        """CREATE TABLE unique_key (
            key TEXT NOT NULL, seq INTEGER NOT NULL, expires_at INTEGER, PRIMARY KEY (key, seq)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE idempotency_key (
            scope TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, seq INTEGER NOT NULL,
            expires_at INTEGER NOT NULL, PRIMARY KEY (scope, key)
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE schedule (
            name TEXT PRIMARY KEY, definition TEXT NOT NULL, cursor INTEGER NOT NULL, paused INTEGER NOT NULL,
            fired INTEGER NOT NULL, errors INTEGER NOT NULL, last_run INTEGER, last_job TEXT, last_error TEXT
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE slot (
            n INTEGER PRIMARY KEY, name TEXT NOT NULL, slot INTEGER NOT NULL, job TEXT, reason TEXT
        ) STRICT""",
        "CREATE INDEX slot_of ON slot (name)",
        "CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
        """CREATE TABLE counter (
            queue TEXT NOT NULL, priority INTEGER NOT NULL, state TEXT NOT NULL, now INTEGER NOT NULL,
            ended INTEGER NOT NULL, PRIMARY KEY (queue, priority, state)
        ) STRICT, WITHOUT ROWID""",
        # one row; `accepted` is also the last seq given out, so that none is used twice
        "CREATE TABLE tally (accepted INTEGER NOT NULL, deleted INTEGER NOT NULL) STRICT",
        "INSERT INTO tally VALUES (0, 0)",
        # `alive_until` serves stores without kernel locks (inline); NULL: has not said
        """CREATE TABLE holder (
            name TEXT PRIMARY KEY, tick INTEGER NOT NULL, outcome TEXT, alive_until INTEGER
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        # one row per commit; n numbers its last step, and so also tells how far the log goes
        """CREATE TABLE event_log (
            n INTEGER PRIMARY KEY, steps INTEGER NOT NULL, at INTEGER NOT NULL, holder TEXT NOT NULL, body TEXT NOT NULL
        ) STRICT""",
        # one row: until when the log is written (NULL: nobody listens), when it was opened, and its last number
        "CREATE TABLE listening (until INTEGER, log INTEGER NOT NULL, last INTEGER NOT NULL) STRICT",
        "INSERT INTO listening VALUES (NULL, 0, 0)",
    ),
)
"""What takes a database from each version (`PRAGMA user_version`) to the next: only ever appended to."""

CANDIDATES: Final = {
    state: f"state = '{state}'"
    + {PENDING: "", SCHEDULED: "", RUNNING: " AND holder IS NOT NULL"}.get(state, " AND finished_at IS NOT NULL")
    for state in STATES
}
"""For each state a condition that one of the partial indexes answers."""


def connect_writer(path: Path) -> sqlite3.Connection:
    """The writing connection: WAL, every commit on the disk before it is answered. Makes or migrates the tables.

    Raises `StoreError`, naming the path, when the directory is missing, the file is no database or somebody else's,
    or is newer than this program; `StoreBusy` when it stays locked.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        expected = ".".join(map(str, OLDEST))
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old for {path}: expected {expected} or newer")
    if not path.parent.is_dir():
        raise StoreError(f"the directory {path.parent} of {path.name} does not exist")
    with store_errors(str(path)):
        connection = _connect(path, WRITER_CACHE)
        try:
            _migrate(connection, path)
            connection.execute("PRAGMA synchronous = FULL")
            # `transaction.begin` waits by itself: a commit on the loop's thread must not wait at all
            connection.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            connection.close()
            raise
        return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads what `connect_writer` has made."""
    with store_errors(str(path)):
        connection = _connect(path, READER_CACHE)
        connection.execute("PRAGMA query_only = ON")
        return connection


def _connect(path: Path, cache: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{cache}")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection, path)
    _use_wal(connection)
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path)  # another process may have migrated while this one waited
        for steps in MIGRATIONS[version:]:
            for step in steps:
                connection.execute(step)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    ((version, application, tables),) = connection.execute(
        """SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
        FROM pragma_user_version, pragma_application_id"""
    ).fetchall()
    if application != APPLICATION and (version or tables):
        raise StoreError(f"{path} is the database of another program: expected one that this package made, or no file")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} has schema version {version}: expected at most {len(MIGRATIONS)}; it needs a newer trio-actors"
        )
    return int(version)


def _use_wal(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            # the switch does not wait by itself: somebody else may just be making it
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.005)
