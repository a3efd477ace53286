"""The ready jobs in memory, in claim order. An entry is a snapshot, and counts only while it is still the
job's current one.

Jobs mostly become ready in the order in which they will be claimed, so a lane is a queue (8 bytes a job,
constant time) with a heap beside it for those that jump in. What was cancelled or deleted stays in place
until it surfaces, or until it is half of the lane.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush, heapreplace

from actors.core.job import PRIORITIES, JobRecord

Snapshots = Mapping[str, JobRecord]
"""The current snapshot of every job, by id."""

Key = tuple[int, int, int]
"""(front, run_at, seq): the place of a job among those of its queue and priority."""

SLACK = 32  # so many stale entries are never worth a rebuild


class Lane:
    """The ready jobs of one (queue, priority, type), in order of their keys."""

    __slots__ = ("_heap", "_line", "_stale")

    def __init__(self) -> None:
        self._line: deque[JobRecord] = deque()
        self._heap: list[
            tuple[int, int, int, int, JobRecord]
        ] = []  # key, version (so that no two compare equal), snapshot
        self._stale = 0

    def __len__(self) -> int:
        """How many entries, stale ones included."""
        return len(self._line) + len(self._heap)

    def push(self, record: JobRecord) -> None:
        """Add a job that has just become ready."""
        line = self._line
        if line:
            last, standing = line[-1], record.standing
            front, before = record.spec.front, last.standing
            if front < last.spec.front or (
                front == last.spec.front
                and (
                    standing.run_at < before.run_at or (standing.run_at == before.run_at and standing.seq <= before.seq)
                )
            ):
                heappush(self._heap, (front, standing.run_at, standing.seq, standing.version, record))
                return
        line.append(record)

    def take(self, limit: int, current: Snapshots) -> list[JobRecord]:
        """Remove and return the first `limit` jobs."""
        line, heap, taken = self._line, self._heap, []
        while limit > 0:
            if line:
                record = line[0]
                if heap and heap[0] < _key(record):
                    record = heappop(heap)[4]
                else:
                    line.popleft()
            elif heap:
                record = heappop(heap)[4]
            else:
                break
            if current.get(record.spec.id) is record:
                taken.append(record)
                limit -= 1
            else:
                self._stale -= 1
        return taken

    def first(self, current: Snapshots) -> Key | None:
        """The key of the first job; None when there is none."""
        line, heap = self._line, self._heap
        while line and current.get(line[0].spec.id) is not line[0]:
            line.popleft()
            self._stale -= 1
        while heap and current.get(heap[0][4].spec.id) is not heap[0][4]:
            heappop(heap)
            self._stale -= 1
        if not heap:
            return _key(line[0]) if line else None
        key = heap[0][:3]
        return min(key, _key(line[0])) if line else key

    def leave(self, current: Snapshots) -> None:
        """A job of this lane has stopped being ready otherwise than by `take`; `current` knows already."""
        self._stale += 1
        if self._stale > SLACK and self._stale * 2 > len(self):
            self._line = deque(record for record in self._line if current.get(record.spec.id) is record)
            self._heap = [entry for entry in self._heap if current.get(entry[4].spec.id) is entry[4]]
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

    def push(self, record: JobRecord) -> None:
        """Add a job that has just become ready."""
        spec = record.spec
        lanes = self._levels[spec.priority]
        lane = lanes.get(spec.type)
        if lane is None:
            lane = lanes[spec.type] = Lane()
        lane.push(record)

    def leave(self, record: JobRecord, current: Snapshots) -> None:
        """`record` has stopped being ready otherwise than by `take`."""
        self._levels[record.spec.priority][record.spec.type].leave(current)

    def take(self, limit: int, types: frozenset[str], current: Snapshots) -> Iterator[list[JobRecord]]:
        """Remove the first `limit` jobs of the given types, as one list per priority, the highest first."""
        for level in reversed(self._levels):
            lanes = [lane for type, lane in level.items() if type in types and len(lane)]
            if not lanes:
                continue
            taken = lanes[0].take(limit, current) if len(lanes) == 1 else _merge(lanes, limit, current)
            if taken:
                yield taken
                limit -= len(taken)
                if limit <= 0:
                    return


def _key(record: JobRecord) -> Key:
    standing = record.standing
    return record.spec.front, standing.run_at, standing.seq


def _merge(lanes: list[Lane], limit: int, current: Snapshots) -> list[JobRecord]:
    # seq makes the keys differ; the number only keeps the type checker from comparing lanes
    heads = [(key, number, lane) for number, lane in enumerate(lanes) if (key := lane.first(current)) is not None]
    heapify(heads)
    taken: list[JobRecord] = []
    while heads and len(taken) < limit:
        _, number, lane = heads[0]
        taken += lane.take(1, current)
        key = lane.first(current)
        if key is None:
            heappop(heads)
        else:
            heapreplace(heads, (key, number, lane))
    return taken
