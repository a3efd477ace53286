"""By hand: jobs that a person or a program cancels, replays, promotes or deletes, whichever process holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import attrs

from actors.core.errors import NotFound, WrongState
from actors.core.job import FINAL, JobRecord
from actors.core.lifecycle import advance
from actors.mailbox import answer, nobody
from actors.queue.floor import Floor
from actors.queue.messages import Act
from actors.queue.turn import Asking, Doing, Turn
from actors.store.port import Outcome, Stop, Write


class ByHand:
    """Folds acts on jobs as they were just read; what somebody else has changed meanwhile is read and tried again."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._doing: list[Doing] = []  # for the next tick

    @property
    def is_ready(self) -> bool:
        """Whether there is something for the next tick without a message."""
        return bool(self._doing)

    def add(self, act: Act) -> None:
        """Do this with the tick under way."""
        if not act.ids:
            answer(act.reply, [])
        asking = Asking[JobRecord](act.reply, [None] * len(act.ids), len(act.ids))
        self._doing.extend(Doing(act, asking, index) for index in range(len(act.ids)))

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel these with the next tick; nobody waits for the answer."""
        if ids:
            self.add(Act("cancel", ids, nobody()))

    def ids(self) -> list[str]:
        """The jobs to be loaded before `fold`."""
        return [doing.id for doing in self._doing]

    def fold(self, turn: Turn, known: Mapping[str, JobRecord]) -> None:
        """Put the acts into the batch; what can't be done is answered at once."""
        doings, self._doing = self._doing, []
        for doing in doings:
            job = known.get(doing.id)
            if job is None:
                doing.decide(NotFound("job", doing.id))
                continue
            try:
                self._fold(turn, doing, job)
            except WrongState as error:
                doing.decide(error)

    def _fold(self, turn: Turn, doing: Doing, job: JobRecord) -> None:
        batch, verb = turn.batch, doing.act.verb
        match verb:
            case "delete":
                if job.state not in FINAL:
                    raise WrongState(job.id, job.state, "be deleted")
                turn.deleted.append((len(batch.deletes), doing))
                batch.deletes.append(job)
            case "cancel" if job.state == "running":
                turn.stopped.append((len(batch.stops), doing, job))
                batch.stops.append(Stop(id=job.id, reason="user"))
            case "cancel" | "replay" | "promote":
                after = advance(job, verb, batch.now, run_at=batch.now if verb == "promote" else None)
                turn.written.append((len(batch.writes), doing))
                batch.writes.append(Write(job=job, after=after, step=verb))
                self._floor.stir(job.queue)
            case _:
                assert_never(verb)

    def settle(self, turn: Turn, outcome: Outcome) -> None:
        """Answer what was done; where somebody else was faster, look again with the next tick."""
        batch = turn.batch
        for index, doing in turn.written:
            if index in outcome.lost:
                self._doing.append(doing)
            else:
                write = batch.writes[index]
                doing.decide(attrs.evolve(write.job, standing=write.after))
        for index, doing in turn.deleted:
            if index in outcome.undeleted:
                self._doing.append(doing)
            else:
                doing.decide(batch.deletes[index])
        for index, doing, job in turn.stopped:
            if index in outcome.unstopped:
                self._doing.append(doing)
            else:
                doing.decide(attrs.evolve(job, stop="user"))

    def undecided(self) -> list[Doing]:
        """Everybody who still waits here."""
        return self._doing
