"""Unique keys and idempotency keys. A key counts only while the job that took it is there; `sweep` frees the
memory.
"""

from __future__ import annotations

from actors.core.job import JobRecord, JobSpec
from actors.store.memory.history import numbered
from actors.store.memory.rows import ID, STATE, Rows
from actors.store.port import IdempotencyKey, Insert, Kept, Refusal, UniqueKey


class Keys:
    """Who took which key, and until when."""

    __slots__ = ("_idempotency", "_unique")

    def __init__(self) -> None:
        self._unique: dict[str, list[tuple[str, int, int | None]]] = {}  # -> (id, seq, expiry) of all that took it
        self._idempotency: dict[tuple[str, str], tuple[str, str, int, int]] = {}  # -> (digest, id, seq, expiry)

    def take(self, insert: Insert, seq: int) -> None:
        """The insert was made, under this number."""
        unique, key = insert.unique, insert.idempotency
        if unique is not None:
            self._unique.setdefault(unique.key, []).append((insert.spec.id, seq, unique.expires_at))
        if key is not None:
            self._idempotency[key.scope, key.key] = (key.digest, insert.spec.id, seq, key.expires_at)

    def repeated(self, key: IdempotencyKey, now: int, rows: Rows) -> Refusal | None:
        """The answer to an insert whose idempotency key is taken."""
        taken = self._idempotency.get((key.scope, key.key))
        if taken is None or now >= taken[3]:
            return None
        first = numbered(rows, taken[1], taken[2])
        if first is None:
            return None
        return Refusal("existing" if taken[0] == key.digest else "conflict", first[ID], first[STATE])

    def held(self, unique: UniqueKey, now: int, rows: Rows) -> Refusal | None:
        """The answer to an insert whose unique key another job holds: the oldest one that does."""
        for id, seq, expiry in self._unique.get(unique.key, ()):
            first = numbered(rows, id, seq)
            if first is not None and first[STATE] in unique.states and (expiry is None or now < expiry):
                return Refusal("unique", id, first[STATE])
        return None

    def of(self, jobs: list[JobRecord]) -> list[Kept]:
        """The jobs with the keys that they took. Walks all keys."""
        seqs = {job.standing.seq for job in jobs}
        unique = {
            seq: UniqueKey(key=key, states=frozenset(), expires_at=expiry)
            for key, holders in self._unique.items()
            for _, seq, expiry in holders
            if seq in seqs
        }
        idempotency = {
            seq: IdempotencyKey(scope=scope, key=key, digest=digest, expires_at=expiry)
            for (scope, key), (digest, _, seq, expiry) in self._idempotency.items()
            if seq in seqs
        }
        return [
            Kept(job=job, unique=unique.get(job.standing.seq), idempotency=idempotency.get(job.standing.seq))
            for job in jobs
        ]

    def sweep(self, now: int, rows: Rows) -> None:
        """Drop what has expired and what the deleted took."""
        self._idempotency = {
            key: taken
            for key, taken in self._idempotency.items()
            if now < taken[3] and numbered(rows, taken[1], taken[2]) is not None
        }
        unique: dict[str, list[tuple[str, int, int | None]]] = {}
        for key, holders in self._unique.items():
            kept = [
                held
                for held in holders
                if (held[2] is None or now < held[2]) and numbered(rows, held[0], held[1]) is not None
            ]
            if kept:
                unique[key] = kept
        self._unique = unique


def same_id(given: JobSpec, first: JobRecord) -> Refusal:
    """The answer to an insert whose id is taken: the same job asked for again, or another one."""
    there = first.spec
    equal = (there.owner, there.type, there.payload) == (given.owner, given.type, given.payload)
    return Refusal("existing" if equal else "conflict", there.id, first.standing.state)
