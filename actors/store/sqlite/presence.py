"""Who is alive, by a kernel lock per holder: a process keeps it while it is stopped, and loses it when it dies.

POSIX locks belong to a process, and closing *any* descriptor of a file drops them: a file whose lock this process
has is never opened again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

from actors.core.errors import StoreError

LONGEST: Final = 200  # characters of a file name that a holder's name may give
PROBED: Final = 0.1  # seconds; how long somebody who only probes may have the lock in the way

_mine: dict[
    str, tuple[int, int]
] = {}  # path of the lock file -> its descriptor and how often it was taken, in this whole process
_guard = threading.Lock()


def _forget() -> None:
    global _guard
    _mine.clear()  # a forked child holds none of its parent's locks
    _guard = threading.Lock()


os.register_at_fork(after_in_child=_forget)


class Presence:
    """The lock files of the holders of one database, in a directory beside it."""

    def __init__(self, database: Path) -> None:
        self.directory = database.with_name(database.name + "-holders")

    def _file(self, holder: str) -> str:
        name = quote(holder, safe="")
        if len(name) > LONGEST:
            name = hashlib.sha256(holder.encode()).hexdigest()
        return str(self.directory / f"{name}.lock")

    def take(self, holder: str) -> None:
        """Be `holder` until as many calls of `release`, or death. `StoreError` when another process is."""
        self.directory.mkdir(exist_ok=True)
        file = self._file(holder)
        until = time.monotonic() + PROBED
        with _guard:
            if (taken := _mine.get(file)) is not None:
                _mine[file] = (taken[0], taken[1] + 1)
                return
            while True:
                descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                if _lock(descriptor) and _is_at(descriptor, file):
                    _mine[file] = (descriptor, 1)
                    return
                os.close(descriptor)
                if time.monotonic() > until:
                    raise StoreError(f"holder {holder!r} is open already in another process")
                time.sleep(0.002)

    def release(self, holder: str) -> None:
        """Be `holder` no longer."""
        file = self._file(holder)
        with _guard:
            descriptor, times = _mine.pop(file)
            if times > 1:
                _mine[file] = (descriptor, times - 1)
                return
            _unlink(file)
            os.close(descriptor)

    def is_here(self, holder: str) -> bool:
        """Whether `holder` is of this process."""
        return self._file(holder) in _mine

    def lives(self, holder: str) -> bool:
        """Whether the process that is `holder` lives."""
        file = self._file(holder)
        with _guard:
            if file in _mine:
                return True
            try:
                descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            except PermissionError:
                return True  # can't be told, and to take the jobs of a living one would be worse
            try:
                return not _lock(descriptor)
            finally:
                os.close(descriptor)

    def clear(self, holder: str) -> None:
        """Remove the file of a holder that is dead."""
        if not self.lives(holder):
            _unlink(self._file(holder))


def _lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _is_at(descriptor: int, file: str) -> bool:
    """Whether `file` still names what is open: somebody may have removed it as a dead one's, between open and lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _unlink(file: str) -> None:
    try:
        os.unlink(file)
    except FileNotFoundError:
        pass
