"""Endings: what becomes of jobs whose run is over, by the core's rules, with the children they leave behind."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence

from actors.core.errors import Snooze, Stopped
from actors.core.job import JobRecord
from actors.core.lifecycle import advance, complete
from actors.core.registry import Registry
from actors.core.retry import DEFAULT_POLICY, Policy, decide, decide_forgotten, decide_lost, policy_from_json
from actors.intake import Order
from actors.queue.floor import Floor
from actors.queue.messages import Ended, Reported
from actors.queue.turn import Turn
from actors.store.port import Outcome, ScheduleError, Write

log = logging.getLogger("actors")


class Endings:
    """Folds reports of this process's workers, and the jobs of processes that vanished or have forgotten them."""

    def __init__(self, holder: str, floor: Floor, registry: Registry, rng: random.Random) -> None:
        self._holder = holder
        self._floor = floor
        self._registry = registry
        self._rng = rng
        self.late = 0  # reports that were refused, ever

    def end(self, turn: Turn, report: Reported) -> None:
        """Runs are over: the hot path of the system, so what can be done once for a report is not done for each job."""
        floor, writes = self._floor, turn.batch.writes
        told = floor.returned(report)
        accounting = not floor.claiming
        turn.ended.extend(range(len(writes), len(writes) + len(report.ended)))  # one write each
        for ended in report.ended:
            job = ended.job
            if ended.note is not None:
                turn.batch.notes.append(ended.note)
            if ended.error is not None:
                # a stop that crossed the report: the cancel was accepted, so the job is not retried
                self._fail(turn, ended, Stopped("user") if job.spec.id in told else ended.error)
                continue
            group = self._insert_children(turn, ended.children) if ended.children else 0
            writes.append(Write(job, complete(job, ended.at), "complete", ended.result, None, group))
            if accounting:
                floor.account(job, "complete", stuck=ended.stuck)

    def _insert_children(self, turn: Turn, children: Sequence[Order]) -> int:
        """Insert them if the success that makes them is kept: the number of the group."""
        group = turn.new_group()
        for order in children:
            turn.insert(order.insert, group)
            self._floor.stir(order.insert.spec.queue)
        return group

    def _fail(self, turn: Turn, ended: Ended, error: BaseException) -> None:
        job = ended.job
        definition = self._registry.find(job.type)
        policy: Policy = DEFAULT_POLICY if definition is None else definition.options.retry
        if job.spec.details.retry is not None:
            policy = policy_from_json(job.spec.details.retry)
        decision = decide(
            job,
            error,
            policy,
            self._rng.random(),
            ended.at,
            retry_on=() if definition is None else definition.options.retry_on,
            give_up_on=() if definition is None else definition.options.give_up_on,
        )
        after = advance(job, decision.step, ended.at, run_at=decision.run_at)
        kept = None if isinstance(error, Snooze) else ended.kept
        turn.batch.writes.append(Write(job=job, after=after, step=decision.step, error=kept))
        self._floor.account(job, decision.step, stuck=ended.stuck)
        if after.state == "dead" and job.spec.details.schedule is not None:
            text = "" if kept is None else f"{kept.type}: {kept.message}"
            turn.batch.schedule_errors.append(ScheduleError(name=job.spec.details.schedule, error=text))
        self._floor.stir(job.queue)

    def lose(self, turn: Turn, jobs: Sequence[JobRecord]) -> None:
        """These running jobs' processes have vanished; or it is this one, and what does not run here was lost by the
        store, which has forgotten the report.
        """
        now = turn.batch.now
        for job in jobs:
            if job.standing.holder != self._holder:
                step, error = decide_lost(job, now)
            elif self._floor.holds(job):
                continue
            else:
                step, error = decide_forgotten(job), None
                log.warning("the store has lost the report of a job, it is given back", extra={"job": job.id})
            turn.batch.writes.append(Write(job=job, after=advance(job, step, now), step=step, error=error))
            self._floor.stir(job.queue)

    def settle(self, turn: Turn, outcome: Outcome) -> None:
        """Say which reports came too late: the store refused them, because the job had moved on."""
        for index in outcome.lost.intersection(turn.ended):
            job = turn.batch.writes[index].job
            self.late += 1
            log.warning("a late report was refused", extra={"job": job.id, "type": job.type, "run": job.runs})
