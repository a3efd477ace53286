"""The floor: all lanes of this process, the jobs that are out on them, and whether anything is claimed at all."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Final

import attrs

from actors.core.job import JobRecord, Reason
from actors.core.lifecycle import ALONE_FROM, Step, advance
from actors.queue.lane import QUICK, TAKE_BACK_AFTER, Lane
from actors.queue.messages import Reported
from actors.queue.turn import Turn
from actors.store.port import Batch, Claim, Write

NOBODY: Final[frozenset[str]] = frozenset()


@attrs.define
class Books:
    """What became of the jobs that were held when the shutdown began."""

    finished: int = 0
    given_back: int = 0
    cancelled: int = 0
    stuck: list[str] = attrs.Factory(list)

    def enter(self, job: JobRecord, step: Step, *, stuck: bool = False) -> None:
        """One of them is accounted for."""
        match step:
            case "give_back":
                self.given_back += 1
            case "cancel":
                self.cancelled += 1
            case _:
                self.finished += 1
        if stuck:
            self.stuck.append(job.id)


class Floor:
    """Claims for the lanes, hands out, takes back, and passes stops on. Only the queue actor touches it."""

    def __init__(self) -> None:
        self.claiming = True
        self.books = Books()
        self._lanes: dict[str, Lane] = {}
        self._held: dict[str, JobRecord] = {}
        self._told: set[str] = set()  # jobs whose workers have been told to stop
        self._suspects: list[JobRecord] = []  # claimed, and waiting until this process runs nothing else
        self._alone: str | None = None  # the one that runs, and nothing is claimed beside it

    # Lanes

    def hire(self, lane: Lane) -> None:
        """A queue's workers stand ready."""
        self._lanes[lane.queue] = lane
        if not self.claiming:
            lane.close()

    def resize(self, queue: str, capacity: int, now: int) -> None:
        """A queue has so many workers from now on."""
        if (lane := self._lanes.get(queue)) is not None:
            lane.resize(capacity, now)

    def stuck(self, job: JobRecord) -> None:
        """This job's place is free for another one, though it has not ended."""
        if (lane := self._lanes.get(job.queue)) is not None:
            lane.out -= 1
            lane.dry = False
        if job.id == self._alone:  # it may never end
            self._alone = None

    def stir(self, queue: str) -> None:
        """Something may have come for this queue: claim for it again."""
        if (lane := self._lanes.get(queue)) is not None:
            lane.dry = False

    def stir_all(self) -> None:
        """Something may have come for any queue."""
        for lane in self._lanes.values():
            lane.dry = False

    def patience(self, now: int) -> float:
        """Seconds until unstarted jobs or idle workers are to be looked at."""
        if len(self._suspects) > 1:
            return 0.0
        looks = [lane.look_again for lane in self._lanes.values() if lane.look_again is not None]
        if looks and self.claiming:
            return min(looks) / 1e6
        waiting = [lane.waiting_since for lane in self._lanes.values() if lane.waiting_since is not None]
        return max(0.0, (min(*waiting, now) + TAKE_BACK_AFTER - now) / 1e6) if waiting else math.inf

    # Claiming and handing out

    def claim(self, batch: Batch) -> None:
        """Claim as many jobs as there are idle workers, and a few ahead for those that finish quickly.

        Nothing while a job that may kill its process runs here, or waits until what runs has ended.
        """
        if self._alone is not None or self._suspects:
            return
        for lane in self._lanes.values():
            if not lane.dry and (wanted := lane.wanted(batch.now)):
                batch.claims.append(Claim(queue=lane.queue, limit=wanted))

    def hand_out(self, batch: Batch, claimed: list[JobRecord]) -> None:
        """Send what was claimed to the workers, in claim order."""
        by_queue: dict[str, list[JobRecord]]
        if len(batch.claims) == 1:
            by_queue = {batch.claims[0].queue: claimed}
        else:
            by_queue = {}
            for job in claimed:
                by_queue.setdefault(job.queue, []).append(job)
        self._held.update({job.spec.id: job for job in claimed})
        suspects = [job for job in claimed if job.standing.crashes >= ALONE_FROM]
        for claim in batch.claims:
            lane = self._lanes[claim.queue]
            mine = by_queue.get(claim.queue, [])
            lane.dry = len(mine) < claim.limit
            if suspects:
                mine = [job for job in mine if job.standing.crashes < ALONE_FROM]
            if mine:
                lane.hand_out(mine, batch.now)
        self._suspects += suspects

    def start_alone(self, now: int) -> None:
        """Hand out the job that is to run alone, if nothing else is out (but what is stuck, and may never end).

        Not before the others that waited for the same have been given back: its death must not count as theirs.
        """
        if len(self._suspects) == 1 and not any(lane.out > 0 for lane in self._lanes.values()):
            job = self._suspects.pop()
            self._alone = job.id
            self._lanes[job.queue].hand_out([job], now)

    def returned(self, report: Reported) -> Collection[str]:
        """A worker has reported these jobs; those of them (by id) that were told to stop."""
        held = self._held
        count = quick = 0
        for ended in report.ended:
            job = ended.job
            if held.get(job.spec.id) is job:  # else it was lost meanwhile, and runs here anew
                del held[job.spec.id]
            if not ended.replaced:  # else its place counts as free already
                count += 1
                if 0 <= ended.at - (job.standing.started_at or ended.at) <= QUICK:
                    quick += 1
        last = report.ended[-1]
        if (lane := self._lanes.get(last.job.spec.queue)) is not None:
            lane.suspends = report.suspended
            lane.ended(last.at, count, quick)
        if self._alone is None and not self._told:
            return NOBODY
        ids = {ended.job.spec.id for ended in report.ended}
        if self._alone in ids:
            self._alone = None
        told = self._told & ids
        self._told -= told
        return told

    def tell_to_stop(self, stops: Iterable[tuple[str, Reason]]) -> list[str]:
        """Tell the workers of these jobs, once each; the ids of those that are not here."""
        elsewhere: list[str] = []
        for id, reason in stops:
            job = self._held.get(id)
            if job is None:
                elsewhere.append(id)
            elif id not in self._told and (lane := self._lanes.get(job.queue)) is not None:
                self._told.add(id)
                lane.tell((job, reason))
        return elsewhere

    def holds(self, job: JobRecord) -> bool:
        """Whether this run of the job is here, started or not."""
        held = self._held.get(job.id)
        return held is not None and held.standing.version == job.standing.version

    # Giving back

    def take_back(self, turn: Turn) -> None:
        """Give back what was claimed ahead and waits for nothing; and all but the first of those that run alone.

        Call idle workers for what was left to busy ones.
        """
        self._give_back(turn, self._suspects[1:])
        del self._suspects[1:]
        for lane in self._lanes.values():
            lane.look(turn.batch.now)
            if lane.waiting_since is not None:
                self._give_back(turn, lane.take_back(turn.batch.now))

    def stop_claiming(self, turn: Turn) -> None:
        """The shutdown: give back what nobody has started, let idle workers end."""
        self.claiming = False
        self._give_back(turn, self._suspects)
        self._suspects = []
        for lane in self._lanes.values():
            self._give_back(turn, lane.take_all_back())
            lane.waiting_since = None
            lane.close()

    def _give_back(self, turn: Turn, jobs: list[JobRecord]) -> None:
        for job in jobs:
            self._held.pop(job.id, None)
            if job.id == self._alone:
                self._alone = None
            step: Step = "cancel" if job.id in self._told else "give_back"  # its cancel was accepted
            self._told.discard(job.id)
            after = advance(job, step, turn.batch.now)
            turn.batch.writes.append(Write(job=job, after=after, step=step))
            self.stir(job.queue)
            self.account(job, step)

    def account(self, job: JobRecord, step: Step, *, stuck: bool = False) -> None:
        """Enter into the books what became of a job, once the shutdown has begun."""
        if not self.claiming:
            self.books.enter(job, step, stuck=stuck)

    def close(self) -> None:
        """The end: no more jobs, no more stops."""
        for lane in self._lanes.values():
            lane.close()
            lane.stops.close()
