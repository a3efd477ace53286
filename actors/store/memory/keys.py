"""Unique keys and idempotency keys. A key counts only while the job that took it is there; `sweep` frees the
memory.
"""

from __future__ import annotations

from actors.core.job import JobRecord, JobSpec
from actors.store.memory.rows import ID, STATE
from actors.store.memory.shelf import Shelf
from actors.store.port import IdempotencyKey, Insert, Kept, Refusal, UniqueKey


class Keys:
    """Who took which key, and until when."""

    __slots__ = ("_idempotency", "_unique")

    def __init__(self) -> None:
        self._unique: dict[str, list[tuple[int, int | None]]] = {}  # -> (seq, expiry) of all that took it
        self._idempotency: dict[tuple[str, str], tuple[str, int, int]] = {}  # -> (digest, seq, expiry)

    def take(self, insert: Insert, seq: int) -> None:
        """The insert was made, under this number."""
        unique, key = insert.unique, insert.idempotency
        if unique is not None:
            self._unique.setdefault(unique.key, []).append((seq, unique.expires_at))
        if key is not None:
            self._idempotency[key.scope, key.key] = (key.digest, seq, key.expires_at)

    def repeated(self, key: IdempotencyKey, now: int, shelf: Shelf) -> Refusal | None:
        """The answer to an insert whose idempotency key is taken."""
        taken = self._idempotency.get((key.scope, key.key))
        if taken is None or now >= taken[2]:
            return None
        first = shelf.numbered(taken[1])
        if first is None:
            return None
        return Refusal("existing" if taken[0] == key.digest else "conflict", first[ID], first[STATE])

    def held(self, unique: UniqueKey, now: int, shelf: Shelf) -> Refusal | None:
        """The answer to an insert whose unique key another job holds: the oldest one that does."""
        for seq, expiry in self._unique.get(unique.key, ()):
            first = shelf.numbered(seq)
            if first is not None and first[STATE] in unique.states and (expiry is None or now < expiry):
                return Refusal("unique", first[ID], first[STATE])
        return None

    def of(self, jobs: list[JobRecord]) -> list[Kept]:
        """The jobs with the keys that they took. Walks all keys."""
        seqs = {job.standing.seq for job in jobs}
        unique = {
            seq: UniqueKey(key=key, states=frozenset(), expires_at=expiry)
            for key, holders in self._unique.items()
            for seq, expiry in holders
            if seq in seqs
        }
        idempotency = {
            seq: IdempotencyKey(scope=scope, key=key, digest=digest, expires_at=expiry)
            for (scope, key), (digest, seq, expiry) in self._idempotency.items()
            if seq in seqs
        }
        return [
            Kept(job=job, unique=unique.get(job.standing.seq), idempotency=idempotency.get(job.standing.seq))
            for job in jobs
        ]

    def sweep(self, now: int, shelf: Shelf) -> None:
        """Drop what has expired and what the deleted took."""
        self._idempotency = {
            key: taken
            for key, taken in self._idempotency.items()
            if now < taken[2] and shelf.numbered(taken[1]) is not None
        }
        unique: dict[str, list[tuple[int, int | None]]] = {}
        for key, holders in self._unique.items():
            kept = [
                (seq, expiry)
                for seq, expiry in holders
                if (expiry is None or now < expiry) and shelf.numbered(seq) is not None
            ]
            if kept:
                unique[key] = kept
        self._unique = unique


def same_id(given: JobSpec, first: JobRecord) -> Refusal:
    """The answer to an insert whose id is taken: the same job asked for again, or another one."""
    there = first.spec
    equal = (there.owner, there.type, there.payload) == (given.owner, given.type, given.payload)
    return Refusal("existing" if equal else "conflict", there.id, first.standing.state)
