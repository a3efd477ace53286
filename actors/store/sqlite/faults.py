"""What SQLite and the file system say when they can't, as the errors of the store port. The cause stays chained."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from actors.core.errors import StoreBusy, StoreError, StoreFull

_NO_ROOM: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
)  # the second: no room for the WAL's index
_HELD: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DISK_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else holds the database."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in _HELD


def is_full(error: Exception) -> bool:
    """Whether the disk has no room."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code in _NO_ROOM or code & 0xFF in _NO_ROOM


def is_no_room(error: OSError) -> bool:
    """Whether the disk, or the share of it that this user may have, has no room."""
    return error.errno in _DISK_ERRNOS


def store_error(error: Exception, path: str) -> StoreError:
    """The port's error for what SQLite or the system raised about the database at `path`."""
    if isinstance(error, OSError):
        kind = StoreFull if is_no_room(error) else StoreError
        return kind(f"the files beside {path}: {error.strerror or error}")
    code: int = getattr(error, "sqlite_errorcode", 0)
    if is_full(error):
        return StoreFull(f"no room on the disk under {path}: {error}")
    if isinstance(error, sqlite3.Error) and is_busy(error):
        return StoreBusy(f"{path} is held by another process: {error}")
    if code & 0xFF == sqlite3.SQLITE_NOTADB:
        return StoreError(f"{path} is not a SQLite database: expected one, or no file")
    return StoreError(f"{path}: {error}")


@contextmanager
def store_errors(path: str) -> Generator[None]:
    """Raise what SQLite and the system raise inside as a `StoreError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise store_error(error, path) from error
