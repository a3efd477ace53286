"""`cleanup`: deletes old files below the configured roots, never through a symlink."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any, Final

import attrs
import trio

from actors import BadPayload, Discard, JobContext
from actors.jobs.files import NotADirectory, Tally, locate, sweep
from actors.jobs.tools import current_tools

MOST_DAYS: Final = 36_525  # a hundred years
LONGEST_PATH: Final = 4096
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400 * 10**9  # nanoseconds
_TOLD_EVERY: Final = 1.0  # seconds between two reports of progress


@attrs.frozen
class Cleanup:
    """Deletes the regular files in `directory` and below that were last modified more than `maxAgeDays` ago;
    `BadPayload` at construction.

    `directory` is one of the roots or lies below one (a relative path begins at the working directory), else
    the job is discarded. The result is `{"deleted", "bytes", "kept", "skipped", "failed"}`: zeros when the
    directory is missing. Directories, symlinks and other file systems mounted below are left alone. Ages are
    told by the system's clock.
    """

    directory: str
    maxAgeDays: float = 30  # named as on the wire

    def __attrs_post_init__(self) -> None:
        problems: list[tuple[str, str]] = []
        directory, days = self.directory, self.maxAgeDays
        if not isinstance(directory, str) or not 0 < len(directory) <= LONGEST_PATH or "\0" in directory:
            problems.append(("directory", f"expected a path of 1 to {LONGEST_PATH} characters"))
        elif ".." in PurePath(directory).parts:
            problems.append(("directory", "expected a path without .."))
        if isinstance(days, bool) or not isinstance(days, (int, float)) or not 0 <= days <= MOST_DAYS:
            problems.append(("maxAgeDays", f"expected a number from 0 to {MOST_DAYS}"))
        if problems:
            raise BadPayload("cleanup", problems)

    async def execute(self, ctx: JobContext) -> dict[str, Any]:
        """Delete, in a thread. Cancellation stops it before the next file; what is gone by then is gone."""
        roots = current_tools().settings.cleanup_roots
        if not roots:
            raise Discard("no cleanup roots are configured (cleanup_roots, --cleanup-root): nothing may be deleted")
        found = locate(self.directory, roots)
        if found is None:
            raise Discard("directory is not below a configured cleanup root: nothing was deleted")
        root, parts = found
        now = ctx.job.started_at or datetime.now(UTC)
        before = (now - _EPOCH) // timedelta(microseconds=1) * 1000 - round(self.maxAgeDays * _DAY)
        try:
            tally = await trio.to_thread.run_sync(sweep, root, parts, before, _Pause(ctx))
        except NotADirectory as error:
            raise Discard(f"{error}; nothing was deleted") from error
        if tally is None:
            ctx.log("the directory does not exist: nothing to delete")
            tally = Tally()
        if tally.error is not None:
            ctx.log(f"{tally.failed} could not be deleted, the first one {tally.error}")
        return attrs.asdict(tally, filter=attrs.filters.exclude("error"))


class _Pause:
    """Between two files: stops for a cancellation, and tells the progress now and then."""

    def __init__(self, ctx: JobContext) -> None:
        self._ctx = ctx
        self._next = time.monotonic() + _TOLD_EVERY

    def __call__(self, tally: Tally) -> None:
        trio.from_thread.check_cancelled()
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TOLD_EVERY
            self._ctx.progress(
                tally.deleted + tally.kept + tally.skipped + tally.failed,
                message=f"{tally.deleted} files deleted",
            )
