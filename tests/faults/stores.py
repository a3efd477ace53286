"""The stores under test: where a trial keeps its jobs, and what that store promises. All that another store changes."""

from __future__ import annotations

from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Promise:
    """What a store promises when processes die, stop or come back."""

    recovery_s: float  # from the death of a process to the last of its jobs begun elsewhere, beyond `leases`
    leases: int  # leases added to it
    lease: float  # what programs are given that die, where the lease is not what is measured
    long_lease: float  # the longest that a trial can wait for
    zombie_twice: bool  # whether the jobs of a process that was stopped for longer than its lease may run twice
    is_file: bool  # whether it lies on a disk that can be full, and can be held by another program


PROMISES = {
    "sqlite": Promise(recovery_s=2.0, leases=0, lease=30.0, long_lease=600.0, zombie_twice=False, is_file=True),
    "redis": Promise(recovery_s=2.0, leases=1, lease=2.0, long_lease=4.0, zombie_twice=True, is_file=False),
}


@attrs.frozen
class Place:
    """A store by its URL; `{folder}` in it is the trial's own folder, so that trials do not meet. The bare word `redis`:
    a server of the trial's own.
    """

    url: str = "sqlite:///{folder}/jobs.db"

    @property
    def kind(self) -> str:
        """The scheme."""
        return self.url.partition(":")[0]

    @property
    def brings_server(self) -> bool:
        """Whether each trial starts a server, which it may hurt."""
        return self.url == "redis"

    @property
    def promise(self) -> Promise:
        """What it promises."""
        return PROMISES[self.kind]

    def within(self, folder: Path) -> str:
        """The URL for a trial in `folder`."""
        return self.url.replace("{folder}", str(folder))

    def recovery(self, lease: float) -> float:
        """Seconds that a recovery may take."""
        return self.promise.recovery_s + self.promise.leases * lease
