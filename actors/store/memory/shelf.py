"""All jobs at rest, by number and by id, where the garbage collector does not walk them.

A full collection visits what every dictionary and list holds, so one with a million rows stops the loop for a tenth of
a second. It passes over dictionaries that hold nothing but texts, numbers and rows of those; one that is written to is
visited again for a while. So rows are kept in small dictionaries, and only those of jobs that move are visited; indexes
hold numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Final

from actors.core.job import JobRecord
from actors.store.memory.rows import ID, SEQ, Row, packed, record

BITS: Final = 10
"""`seq >> BITS` is the shard of a job: a thousand neighbours, which mostly come and go together."""


class Shelf(MutableMapping[str, JobRecord]):
    """All jobs. As a mapping: records by id, each made when it is asked for; `shards` are the rows by number, in its
    order.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}  # id -> seq
        self.shards: list[dict[int, Row]] = [{}]

    # Rows

    def row(self, id: str) -> Row | None:
        """The current row of the job with this id."""
        seq = self.numbers.get(id)
        return None if seq is None else self.shards[seq >> BITS].get(seq)

    def numbered(self, seq: int) -> Row | None:
        """The current row of the job with this number; None when there is none (any more)."""
        shard = seq >> BITS
        return self.shards[shard].get(seq) if 0 <= shard < len(self.shards) else None

    def put(self, row: Row) -> None:
        """Keep this row, the first one of its job or the next."""
        seq = row[SEQ]
        shards, shard = self.shards, seq >> BITS
        while shard >= len(shards):
            shards.append({})
        shards[shard][seq] = row
        self.numbers[row[ID]] = seq

    def oldest(self, above: int) -> Iterator[Row]:
        """The rows by number upwards, from just above `above`."""
        first = max(0, above + 1)
        for shard in self.shards[first >> BITS :]:
            for seq, row in shard.items():
                if seq >= first:
                    yield row

    def newest(self, below: int | None) -> Iterator[Row]:
        """The rows by number downwards, from just under `below` (None: from the last)."""
        end = len(self.shards) if below is None else min(len(self.shards), (below >> BITS) + 1)
        for index in range(end - 1, -1, -1):
            for seq, row in reversed(self.shards[index].items()):
                if below is None or seq < below:
                    yield row

    # Records

    def __getitem__(self, id: str) -> JobRecord:
        row = self.row(id)
        if row is None:
            raise KeyError(id)
        return record(row)

    def __setitem__(self, id: str, job: JobRecord) -> None:
        self.put(packed(job))

    def __delitem__(self, id: str) -> None:
        seq = self.numbers.pop(id)
        del self.shards[seq >> BITS][seq]

    def __contains__(self, id: object) -> bool:
        return id in self.numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)
