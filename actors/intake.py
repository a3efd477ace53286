"""From a job and its options to the `Order` that a tick inserts: everything a caller can get wrong at an enqueue is
found here.
"""

from __future__ import annotations

import hashlib
import random
from datetime import datetime
from typing import Any, Final

from actors.clock import Clock
from actors.core.context import Job
from actors.core.definition import JobDefinition
from actors.core.errors import MAX_SECONDS, BadOption, BadPayload, Refused, check_seconds
from actors.core.ids import IdMaker, check_id
from actors.core.job import NO_DETAILS, Details, JobSpec, Standing, instant
from actors.core.options import (
    Options,
    check_description,
    check_front,
    check_idempotency_key,
    check_max_attempts,
    check_owner,
    check_priority,
    check_queue,
    check_tags,
    check_timeout,
)
from actors.core.registry import Registry
from actors.core.retry import policy_to_json
from actors.core.unique import OnConflict, Unique
from actors.core.value import value
from actors.store.port import IdempotencyKey, Insert, UniqueKey

MAX_PAYLOAD: Final = 256 * 1024  # bytes of JSON
IDEMPOTENCY_KEPT: Final = 24 * 3600 * 1_000_000  # microseconds
_KNOWN: Final = frozenset(Options.__annotations__)


@value
class Order:
    """A job to be inserted, and what to do when its unique key is taken."""

    insert: Insert
    on_conflict: OnConflict = "skip"


class Intake:
    """Makes orders: checks payload, options and authorization, and numbers the jobs with ids. Shared by one system's
    tasks.
    """

    def __init__(self, registry: Registry, clock: Clock, rng: random.Random) -> None:
        self._registry = registry
        self._clock = clock
        self._ids = IdMaker(rng)
        self._start = _ready_at(0)

    def order(
        self,
        job: Job[Any],
        options: Options,
        *,
        now: int | None = None,
        schedule: str | None = None,
        slot: int | None = None,
    ) -> Order:
        """The order for `job`; `now` when the clock was read for a bulk. Raises `TypeError` (no job, or an unknown
        option), `UnknownType`, `BadPayload`, `BadOption`, `Refused`.
        """
        definition, payload = self._registry.resolve(job)
        text = definition.encode(payload)
        if len(text) > MAX_PAYLOAD:
            raise BadPayload(definition.name, [("", f"{len(text)} bytes of JSON: expected at most {MAX_PAYLOAD}")])
        if now is None:
            now = self._clock.now()
        given = definition.options
        if not options and schedule is None and given.authorize is None and given.unique is None:
            # what most enqueues are: nothing to be checked that was not checked at the registration
            spec = JobSpec(
                self._ids.make(now),
                definition.name,
                text,
                given.queue,
                definition.rank,
                0,
                given.max_attempts,
                given.timeout,
                now,
                None,
                definition.details,
            )
            if self._start.run_at != now:  # a value: all jobs of a bulk share one
                self._start = _ready_at(now)
            return Order(Insert(spec=spec, standing=self._start))
        return self._with_options(definition, payload, text, now, options, schedule, slot)

    def _with_options(
        self,
        definition: JobDefinition,
        payload: Any,
        text: str,
        now: int,
        options: Options,
        schedule: str | None,
        slot: int | None,
    ) -> Order:
        for name in options:
            if name not in _KNOWN:
                raise TypeError(f"unknown option {name!r}: expected some of {', '.join(sorted(_KNOWN))}")
        given = definition.options
        owner = check_owner(options.get("owner"))
        if given.authorize is not None and not given.authorize(owner, payload):
            raise Refused(f"owner {owner!r} may not enqueue {definition.name}: its type's authorize said no")
        run_at = self._run_at(options, now)
        unique = options.get("unique", given.unique)
        if unique is not None and not isinstance(unique, Unique):
            raise BadOption("unique", unique, "actors.Unique(...)")
        retry = options.get("retry")
        details = Details(
            description=check_description(options.get("description", given.description)),
            tags=check_tags(options.get("tags", given.tags)),
            retry=None if retry is None else policy_to_json(retry),
            unique_key=None if unique is None else unique.full_key(definition.name, owner, payload, text),
            schedule=schedule,
            slot=slot,
        )
        own_id = "id" in options
        spec = JobSpec(
            check_id(options["id"]) if own_id else self._ids.make(now),
            definition.name,
            text,
            check_queue(options.get("queue", given.queue)),
            check_priority(options.get("priority", given.priority)),
            # an instant of its own also within a bulk: the newest one comes first
            -self._clock.now() if check_front(options.get("front", False)) else 0,
            check_max_attempts(options.get("max_attempts", given.max_attempts)),
            check_timeout(options.get("timeout", given.timeout)),
            now,
            owner,
            details if details != NO_DETAILS else NO_DETAILS,
        )
        insert = Insert(
            spec=spec,
            standing=Standing(0, "pending" if run_at <= now else "scheduled", 1, 0, 0, 0, run_at, None, None, None),
            own_id=own_id,
            unique=None if unique is None else _unique_key(unique, details.unique_key, now),
            idempotency=_idempotency(options, spec, now),
        )
        return Order(insert, "skip" if unique is None else unique.on_conflict)

    def _run_at(self, options: Options, now: int) -> int:
        delay, when = options.get("delay"), options.get("run_at")
        if delay is not None and when is not None:
            raise BadOption("run_at", when, "either run_at or delay, not both")
        if when is not None:
            if not isinstance(when, datetime) or when.tzinfo is None:
                raise BadOption("run_at", when, "an aware datetime")
            run_at = instant(when)
            if abs(run_at - now) > MAX_SECONDS * 1e6:
                raise BadOption("run_at", when, "a time within ten years of now")
            return run_at
        check_seconds("delay", delay)
        return now + round((delay or 0) * 1e6)


def _unique_key(unique: Unique, key: str | None, now: int) -> UniqueKey:
    assert key is not None
    expires_at = None if unique.within is None else now + round(unique.within * 1e6)
    return UniqueKey(key=key, states=unique.holding_states(), expires_at=expires_at)


def _idempotency(options: Options, spec: JobSpec, now: int) -> IdempotencyKey | None:
    if "idempotency_key" not in options:
        return None
    key = check_idempotency_key(options["idempotency_key"])
    said = sorted((name, repr(given)) for name, given in options.items() if name not in ("idempotency_key", "owner"))
    digest = hashlib.blake2b(repr((spec.type, spec.payload, said)).encode(), digest_size=16).hexdigest()
    return IdempotencyKey(scope=spec.owner or "", key=key, digest=digest, expires_at=now + IDEMPOTENCY_KEPT)


def _ready_at(now: int) -> Standing:
    return Standing(0, "pending", 1, 0, 0, 0, now, None, None, None)
