"""The ready jobs in memory, in claim order. An entry is a row, and counts only while it is still the job's
current one.

Jobs mostly become ready in the order in which they will be claimed, so a lane is a queue (8 bytes a job,
constant time) with a heap beside it for those that jump in. What was cancelled or deleted stays in place
until it surfaces, or until it is half of the lane.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush, heapreplace

from actors.core.job import PRIORITIES
from actors.store.memory.rows import FRONT, ID, PRIORITY, RUN_AT, SEQ, TYPE, VERSION, Row, Rows

Key = tuple[int, int, int]
"""(front, run_at, seq): the place of a job among those of its queue and priority."""

SLACK = 32  # so many stale entries are never worth a rebuild


class Lane:
    """The ready jobs of one (queue, priority, type), in order of their keys."""

    __slots__ = ("_heap", "_line", "_stale")

    def __init__(self) -> None:
        self._line: deque[Row] = deque()
        self._heap: list[tuple[int, int, int, int, Row]] = []  # key, version (so that no two compare equal), row
        self._stale = 0

    def __len__(self) -> int:
        """How many entries, stale ones included."""
        return len(self._line) + len(self._heap)

    def push(self, row: Row) -> None:
        """Add a job that has just become ready."""
        line = self._line
        if line and _key(row) <= _key(line[-1]):
            heappush(self._heap, (*_key(row), row[VERSION], row))
        else:
            line.append(row)

    def take(self, limit: int, rows: Rows) -> list[Row]:
        """Remove and return the first `limit` jobs."""
        line, heap, taken = self._line, self._heap, []
        while limit > 0:
            if line:
                row = line[0]
                if heap and heap[0] < _key(row):
                    row = heappop(heap)[4]
                else:
                    line.popleft()
            elif heap:
                row = heappop(heap)[4]
            else:
                break
            if rows.get(row[ID]) is row:
                taken.append(row)
                limit -= 1
            else:
                self._stale -= 1
        return taken

    def first(self, rows: Rows) -> Key | None:
        """The key of the first job; None when there is none."""
        line, heap = self._line, self._heap
        while line and rows.get(line[0][ID]) is not line[0]:
            line.popleft()
            self._stale -= 1
        while heap and rows.get(heap[0][4][ID]) is not heap[0][4]:
            heappop(heap)
            self._stale -= 1
        if not heap:
            return _key(line[0]) if line else None
        key = heap[0][:3]
        return min(key, _key(line[0])) if line else key

    def leave(self, rows: Rows) -> None:
        """A job of this lane has stopped being ready otherwise than by `take`; the rows know already."""
        self._stale += 1
        if self._stale > SLACK and self._stale * 2 > len(self):
            self._line = deque(row for row in self._line if rows.get(row[ID]) is row)
            self._heap = [entry for entry in self._heap if rows.get(entry[4][ID]) is entry[4]]
            heapify(self._heap)
            self._stale = 0


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

    def leave(self, row: Row, rows: Rows) -> None:
        """`row` has stopped being ready otherwise than by `take`."""
        self._levels[row[PRIORITY]][row[TYPE]].leave(rows)

    def take(self, limit: int, types: frozenset[str], rows: Rows) -> Iterator[list[Row]]:
        """Remove the first `limit` jobs of the given types, as one list per priority, the highest first."""
        for level in reversed(self._levels):
            lanes = [lane for type, lane in level.items() if type in types and len(lane)]
            if not lanes:
                continue
            taken = lanes[0].take(limit, rows) if len(lanes) == 1 else _merge(lanes, limit, rows)
            if taken:
                yield taken
                limit -= len(taken)
                if limit <= 0:
                    return


def _key(row: Row) -> Key:
    return row[FRONT], row[RUN_AT], row[SEQ]


def _merge(lanes: list[Lane], limit: int, rows: Rows) -> list[Row]:
    # seq makes the keys differ; the number only keeps the type checker from comparing lanes
    heads = [(key, number, lane) for number, lane in enumerate(lanes) if (key := lane.first(rows)) is not None]
    heapify(heads)
    taken: list[Row] = []
    while heads and len(taken) < limit:
        _, number, lane = heads[0]
        taken += lane.take(1, rows)
        key = lane.first(rows)
        if key is None:
            heappop(heads)
        else:
            heapreplace(heads, (key, number, lane))
    return taken
