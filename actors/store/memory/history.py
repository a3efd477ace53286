"""The finished jobs by their end. What was deleted or runs again stays until it is half of the list."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from actors.core.job import FINAL
from actors.store.memory.lanes import SLACK
from actors.store.memory.rows import FINISHED_AT, SEQ, STATE, Row
from actors.store.memory.shelf import Shelf


class ByEnd:
    """The finished jobs by (finished_at, seq): 16 bytes each."""

    __slots__ = ("_ends", "_seqs", "_stale")

    def __init__(self) -> None:
        self._ends = array("q")
        self._seqs = array("q")  # beside it
        self._stale = 0

    def __len__(self) -> int:
        """How many entries, stale ones included."""
        return len(self._ends)

    def add(self, row: Row) -> None:
        """Add a job that has just got to a final state."""
        ends, seqs = self._ends, self._seqs
        end, seq = row[FINISHED_AT] or 0, row[SEQ]
        if not ends or end > ends[-1] or (end == ends[-1] and seq > seqs[-1]):
            ends.append(end)
            seqs.append(seq)
        else:  # several ended at once, or the clock was set back
            index = self._place(end, seq)
            ends.insert(index, end)
            seqs.insert(index, seq)

    def leave(self, shelf: Shelf) -> None:
        """A finished job was deleted or runs again; the shelf knows already."""
        self._stale += 1
        if self._stale > SLACK and self._stale * 2 > len(self._ends):
            pairs = zip(self._ends, self._seqs, strict=True)
            kept = [(end, seq) for end, seq in pairs if _ended(shelf, end, seq) is not None]
            self._ends = array("q", (end for end, _ in kept))
            self._seqs = array("q", (seq for _, seq in kept))
            self._stale = 0

    def latest(self, shelf: Shelf, below: tuple[int, int] | None) -> Iterator[Row]:
        """The jobs by (finished_at, seq) downwards, from just under `below`."""
        ends, seqs = self._ends, self._seqs
        last: tuple[int, int] | None = None
        for index in range((len(ends) if below is None else self._place(*below)) - 1, -1, -1):
            entry = ends[index], seqs[index]
            row = _ended(shelf, *entry)
            if row is not None and entry != last:  # equal when it ended twice in one instant
                yield row
            last = entry

    def _place(self, end: int, seq: int) -> int:
        """The index of the first entry that is not below (end, seq)."""
        first = bisect_left(self._ends, end)
        return bisect_left(self._seqs, seq, first, bisect_right(self._ends, end, first))


def _ended(shelf: Shelf, end: int, seq: int) -> Row | None:
    """The job that ended there; None when it has left that state since, or is gone."""
    row = shelf.numbered(seq)
    return row if row is not None and row[STATE] in FINAL and (row[FINISHED_AT] or 0) == end else None
