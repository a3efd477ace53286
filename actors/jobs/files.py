"""Deletes old files below a directory. Rule: a step down opens a real directory by its parent's descriptor.

No path is looked up twice, so a directory that turns into a symlink meanwhile leads nowhere. POSIX only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from typing import Final

import attrs

DEEPEST: Final = 100  # levels below the directory; each holds a descriptor
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class NotADirectory(Exception):
    """There is something else in the place of the directory: a file or a symlink."""


@attrs.define
class Tally:
    """What was done."""

    deleted: int = 0
    bytes: int = 0  # in the files deleted
    kept: int = 0  # regular files that are young enough
    skipped: int = 0  # what is no regular file, directories of other file systems and those too deep
    failed: int = 0
    error: str | None = None  # the first failure


def locate(directory: str, roots: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """The root that `directory` is or lies below, and the names from there down to it; None without one.

    By the text alone: what the file system says is found out on the way down. `directory` has no `..` in it.
    """
    path = os.path.abspath(directory)
    found: list[tuple[str, str]] = []
    for root in roots:
        for base in (root, os.path.realpath(root)):  # the operator may have named it through a symlink
            if path == base or path.startswith(base + os.sep):
                found.append((base, root))
    if not found:
        return None
    base, root = max(found)
    return root, tuple(part for part in path[len(base) :].split(os.sep) if part)


def sweep(root: str, parts: Sequence[str], before: int, pause: Callable[[Tally], None]) -> Tally | None:
    """Delete the regular files in `root`/`parts` and below that were last modified before `before`.

    `before` is in nanoseconds since the epoch. Directories stay, and so does everything reached through a
    symlink or on another file system. `pause` is called between files and may raise to stop. None when the
    directory does not exist; `NotADirectory` when it is none. A file that can't be deleted is counted.
    """
    descriptor = _open(root, parts)
    if descriptor is None:
        return None
    tally = Tally()
    try:
        _sweep(descriptor, os.fstat(descriptor).st_dev, before, tally, pause, 0)
    finally:
        os.close(descriptor)
    return tally


def _open(root: str, parts: Sequence[str]) -> int | None:
    where = root
    descriptor: int | None = None
    try:
        descriptor = os.open(root, _DIRECTORY)
        for where in parts:
            parent = descriptor
            try:
                descriptor = os.open(where, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
            finally:
                os.close(parent)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise NotADirectory(f"{where!r} is a file or a symlink: expected a directory") from None
    return descriptor


def _sweep(descriptor: int, device: int, before: int, tally: Tally, pause: Callable[[Tally], None], depth: int) -> None:
    below: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            pause(tally)
            try:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    below.append(entry.name)
                elif not stat.S_ISREG(status.st_mode):
                    tally.skipped += 1
                elif status.st_mtime_ns >= before:
                    tally.kept += 1
                else:
                    os.unlink(entry.name, dir_fd=descriptor)
                    tally.deleted += 1
                    tally.bytes += status.st_size
            except FileNotFoundError:
                pass  # somebody else was quicker
            except OSError as error:
                _failed(tally, entry.name, error)
    for name in below:
        pause(tally)
        try:
            child = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        except FileNotFoundError:
            continue
        except NotADirectoryError:  # it has become a symlink or a file since it was listed
            tally.skipped += 1
            continue
        except OSError as error:
            _failed(tally, name, error)
            continue
        try:
            if os.fstat(child).st_dev != device or depth >= DEEPEST:
                tally.skipped += 1
            else:
                _sweep(child, device, before, tally, pause, depth + 1)
        finally:
            os.close(child)


def _failed(tally: Tally, name: str, error: OSError) -> None:
    tally.failed += 1
    if tally.error is None:
        tally.error = f"{name[:100]!a}: {error.strerror}"
