"""The ready jobs in memory, in claim order. An entry is a job's number and version, and counts only while the job still
stands there.

Jobs mostly become ready in the order in which they will be claimed, so a lane is a line (16 bytes a job,
constant time) with a heap beside it for those that jump in. What was cancelled or deleted stays in place
until it surfaces, or until it is half of the lane.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final

from actors.core.job import PRIORITIES
from actors.store.memory.rows import FRONT, PRIORITY, RUN_AT, SEQ, TYPE, VERSION, Row
from actors.store.memory.shelf import BITS, Shelf

Key = tuple[int, int, int]
"""(front, run_at, seq): the place of a job among those of its queue and priority."""

SLACK: Final = 32  # so many stale entries are never worth a rebuild
WORN: Final = 4_096  # so many taken entries are cut off the line, once they are half of it


class Lane:
    """The ready jobs of one (queue, priority, type), in order of their keys."""

    __slots__ = ("_head", "_heap", "_last", "_seqs", "_stale", "_versions")

    def __init__(self) -> None:
        self._seqs = array("q")  # the line: what is before `_head` has been taken
        self._versions = array("q")  # beside it
        self._head = 0
        self._last: Key | None = None  # of the line
        self._heap: list[tuple[int, int, int, int]] = []  # key, version
        self._stale = 0

    def __len__(self) -> int:
        """How many entries, stale ones included."""
        return len(self._seqs) - self._head + len(self._heap)

    def push(self, row: Row) -> None:
        """Add a job that has just become ready."""
        key = _key(row)
        if self._last is not None and key <= self._last:
            heappush(self._heap, (*key, row[VERSION]))
        else:
            self._last = key
            self._seqs.append(row[SEQ])
            self._versions.append(row[VERSION])

    def take(self, limit: int, shelf: Shelf) -> list[Row]:
        """Remove and return the first `limit` jobs."""
        shards, seqs, versions, heap = shelf.shards, self._seqs, self._versions, self._heap
        head, end = self._head, len(seqs)
        taken: list[Row] = []
        while limit > 0:
            if head < end:
                seq = seqs[head]
                row = shards[seq >> BITS].get(seq)
                if row is None or row[VERSION] != versions[head]:
                    head += 1
                    self._stale -= 1
                    continue
                if heap and heap[0] < _key(row):
                    row = self._pop(shelf)
                else:
                    head += 1
            elif heap:
                row = self._pop(shelf)
            else:
                break
            if row is not None:
                taken.append(row)
                limit -= 1
        self._move(head)
        return taken

    def first(self, shelf: Shelf) -> Key | None:
        """The key of the first job; None when there is none."""
        heap, head, line = self._heap, self._head, None
        while head < len(self._seqs):
            row = shelf.numbered(self._seqs[head])
            if row is not None and row[VERSION] == self._versions[head]:
                line = _key(row)
                break
            head += 1
            self._stale -= 1
        self._move(head)
        while heap and not stands(shelf, heap[0][2], heap[0][3]):
            heappop(heap)
            self._stale -= 1
        if not heap:
            return line
        return heap[0][:3] if line is None else min(line, heap[0][:3])

    def leave(self, shelf: Shelf) -> None:
        """A job of this lane has stopped being ready otherwise than by `take`; the shelf knows already."""
        self._stale += 1
        if self._stale > SLACK and self._stale * 2 > len(self):
            line = zip(self._seqs[self._head :], self._versions[self._head :], strict=True)
            kept = [entry for entry in line if stands(shelf, *entry)]
            self._seqs = array("q", (seq for seq, _ in kept))
            self._versions = array("q", (version for _, version in kept))
            self._head = 0
            if not kept:
                self._last = None
            self._heap = [entry for entry in self._heap if stands(shelf, *entry[2:])]
            heapify(self._heap)
            self._stale = 0

    def _pop(self, shelf: Shelf) -> Row | None:
        """Take the first entry of the heap: its row, None when it was stale."""
        _, _, seq, version = heappop(self._heap)
        row = shelf.numbered(seq)
        if row is not None and row[VERSION] == version:
            return row
        self._stale -= 1
        return None

    def _move(self, head: int) -> None:
        """The line begins there now."""
        if head == len(self._seqs):
            self._last = None
        elif head < WORN or head * 2 < len(self._seqs):
            self._head = head
            return
        del self._seqs[:head], self._versions[:head]
        self._head = 0


class Ready:
    """The ready jobs of one queue: a lane per priority and type, so that unknown types are passed over and
    not lost.
    """

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        self._levels: tuple[dict[str, Lane], ...] = tuple({} for _ in PRIORITIES)

    def __len__(self) -> int:
        """How many entries, stale ones included."""
        return sum(len(lane) for lanes in self._levels for lane in lanes.values())

    def push(self, row: Row) -> None:
        """Add a job that has just become ready."""
        lanes = self._levels[row[PRIORITY]]
        lane = lanes.get(row[TYPE])
        if lane is None:
            lane = lanes[row[TYPE]] = Lane()
        lane.push(row)

    def leave(self, row: Row, shelf: Shelf) -> None:
        """`row` has stopped being ready otherwise than by `take`."""
        self._levels[row[PRIORITY]][row[TYPE]].leave(shelf)

    def take(self, limit: int, types: frozenset[str], shelf: Shelf) -> Iterator[list[Row]]:
        """Remove the first `limit` jobs of the given types, as one list per priority, the highest first."""
        for level in reversed(self._levels):
            lanes = [lane for type, lane in level.items() if type in types and len(lane)]
            if not lanes:
                continue
            taken = lanes[0].take(limit, shelf) if len(lanes) == 1 else _merge(lanes, limit, shelf)
            if taken:
                yield taken
                limit -= len(taken)
                if limit <= 0:
                    return


def _key(row: Row) -> Key:
    return row[FRONT], row[RUN_AT], row[SEQ]


def stands(shelf: Shelf, seq: int, version: int) -> bool:
    """Whether the job with this number is still at this version."""
    row = shelf.numbered(seq)
    return row is not None and row[VERSION] == version


def _merge(lanes: list[Lane], limit: int, shelf: Shelf) -> list[Row]:
    # seq makes the keys differ; the number only keeps the type checker from comparing lanes
    heads = [(key, number, lane) for number, lane in enumerate(lanes) if (key := lane.first(shelf)) is not None]
    heapify(heads)
    taken: list[Row] = []
    while heads and len(taken) < limit:
        _, number, lane = heads[0]
        taken += lane.take(1, shelf)
        key = lane.first(shelf)
        if key is None:
            heappop(heads)
        else:
            heapreplace(heads, (key, number, lane))
    return taken
