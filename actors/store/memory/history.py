"""All jobs by age and the finished ones by their end, as sorted lists of numbers. What was deleted stays
until it is half of a list.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from actors.core.job import FINAL, JobRecord
from actors.store.memory.lanes import SLACK
from actors.store.memory.rows import FINISHED_AT, ID, SEQ, STATE, Row, Rows, record

End = tuple[int, int, str]
"""(finished_at, seq, id): the place of a finished job."""


def numbered(rows: Rows, id: str, seq: int) -> Row | None:
    """The job with this id, unless it is another one that was given the id of a deleted job."""
    row = rows.get(id)
    return row if row is not None and row[SEQ] == seq else None


class ByAge:
    """Every job by seq: 16 bytes each."""

    __slots__ = ("_gone", "_ids", "_seqs")

    def __init__(self) -> None:
        self._seqs = array("q")  # rising; `_ids` beside it
        self._ids: list[str] = []
        self._gone = 0

    def add(self, seq: int, id: str) -> None:
        """Add a new job; `seq` is above all before it."""
        self._seqs.append(seq)
        self._ids.append(id)

    def leave(self, rows: Rows) -> None:
        """A job was deleted; the rows know already."""
        self._gone += 1
        if self._gone > SLACK and self._gone * 2 > len(self._ids):
            pairs = zip(self._seqs, self._ids, strict=True)
            kept = [(seq, id) for seq, id in pairs if numbered(rows, id, seq) is not None]
            self._seqs = array("q", (seq for seq, _ in kept))
            self._ids = [id for _, id in kept]
            self._gone = 0

    def oldest(self, rows: Rows, above: int) -> Iterator[JobRecord]:
        """The jobs by seq upwards, from just above `above`."""
        for index in range(bisect_right(self._seqs, above), len(self._seqs)):
            row = numbered(rows, self._ids[index], self._seqs[index])
            if row is not None:
                yield record(row)

    def newest(self, rows: Rows, below: int | None) -> Iterator[JobRecord]:
        """The jobs by seq downwards, from just under `below`."""
        end = len(self._seqs) if below is None else bisect_left(self._seqs, below)
        for index in range(end - 1, -1, -1):
            row = numbered(rows, self._ids[index], self._seqs[index])
            if row is not None:
                yield record(row)


class ByEnd:
    """The finished jobs by (finished_at, seq)."""

    __slots__ = ("_entries", "_stale")

    def __init__(self) -> None:
        self._entries: list[End] = []
        self._stale = 0

    def __len__(self) -> int:
        """How many entries, stale ones included."""
        return len(self._entries)

    def add(self, row: Row) -> None:
        """Add a job that has just got to a final state."""
        entry = (row[FINISHED_AT] or 0, row[SEQ], row[ID])
        if not self._entries or entry > self._entries[-1]:
            self._entries.append(entry)
        else:
            insort(self._entries, entry)  # several ended at once, or the clock was set back

    def leave(self, rows: Rows) -> None:
        """A finished job was deleted or runs again; the rows know already."""
        self._stale += 1
        if self._stale > SLACK and self._stale * 2 > len(self._entries):
            self._entries = [entry for entry in self._entries if _ended(rows, entry) is not None]
            self._stale = 0

    def latest(self, rows: Rows, below: tuple[int, int] | None) -> Iterator[JobRecord]:
        """The jobs by (finished_at, seq) downwards, from just under `below`."""
        end = len(self._entries) if below is None else bisect_left(self._entries, (*below, ""))
        last: End | None = None
        for index in range(end - 1, -1, -1):
            entry = self._entries[index]
            row = _ended(rows, entry)
            if row is not None and entry != last:  # equal when it ended twice in one instant
                yield record(row)
            last = entry


def _ended(rows: Rows, entry: End) -> Row | None:
    """The job that ended there; None when it has left that state since, or is gone."""
    row = numbered(rows, entry[2], entry[1])
    return row if row is not None and row[STATE] in FINAL and row[FINISHED_AT] == entry[0] else None
