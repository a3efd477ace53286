"""The rules of one step: what may become of a job, by whom, and why. Written out again, not taken from the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

import actors
from actors.core.job import FINAL
from actors.store.port import Write
from tests.sim.jobs import POLICIES, RETRY_AFTER, SNOOZE
from tests.sim.ledger import Entry, is_step

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.truth import Body

MOST_CRASHES = 4
SAID = {
    "ok": {"complete"},
    "fail": {"retry", "bury"},
    "retry after": {"retry", "bury"},
    "snooze": {"snooze"},
    "discard": {"discard"},
    "cancel": {"cancel"},
    "stopped": set[str](),
}
"""What a body said, and what may become of its job then."""


def check_step(process: Process, holder: Process | None, entry: Entry, write: Write, body: Body | None) -> None:
    """A write of `process` applied to a job that `holder` holds."""
    old, new, step = entry.standing, write.after, write.step
    what = f"{step} of {entry.spec.id[-6:]}"
    assert is_step(step, old.state, new.state), f"{what}: {old.state} to {new.state}"
    assert new.version == old.version + 1, f"{what}: version {old.version} to {new.version}"
    assert new.runs == old.runs, f"{what}: runs {old.runs} to {new.runs}"
    attempt = 0 if step == "replay" else old.attempt + (step in ("retry", "bury"))
    assert new.attempt == attempt <= entry.spec.max_attempts, f"{what}: attempt {old.attempt} to {new.attempt}"
    crashes = 0 if step == "replay" else old.crashes + (step in ("lose", "quarantine"))
    assert new.crashes == crashes, f"{what}: crashes {old.crashes} to {new.crashes}"
    assert new.holder is None, f"{what}: holder {new.holder}"
    assert (new.finished_at is not None) == (new.state in FINAL), f"{what}: finished_at {new.finished_at}"
    assert (write.result is not None) == (step == "complete"), f"{what}: result {write.result}"
    if step in ("retry", "bury", "discard", "lose", "quarantine"):
        assert write.error is not None, f"{what}: no error kept"
    if old.state == "running":
        assert holder is not None
        if holder is process:
            _check_report(process, entry, write, body, what)
        else:
            _check_loss(holder, entry, write, what)


def _check_loss(holder: Process, entry: Entry, write: Write, what: str) -> None:
    assert holder.lapsed_since(entry.claimed_at), f"{what}: {holder}, which holds it, lives"
    step = "quarantine" if entry.standing.crashes + 1 >= MOST_CRASHES else "lose"
    if write.step == "cancel":
        assert entry.stop is not None, f"{what}: nobody asked for it"
    else:
        assert write.step == step, f"{what}: expected {step}"


def _check_report(process: Process, entry: Entry, write: Write, body: Body | None, what: str) -> None:
    step, spec, new = write.step, entry.spec, write.after
    asked = entry.stop is not None or entry.asked is not None
    allowed = {"give_back"}
    if body is not None:
        assert body.process is process, f"{what}: its body is that of {body.process}"
        assert body.said is not None and body.ended is not None, f"{what}: its body is running"
        allowed = set(SAID.get(body.said, set()))
        overran = spec.timeout is not None and body.ended - body.began >= spec.timeout - 1e-6
        if body.said == "stopped":
            allowed |= {"give_back"} if process.leaving or process.stopped_all_since(body.began) else set()
            allowed |= {"retry", "bury"} if overran else set()
        elif overran:
            allowed |= {"retry", "bury"}
    if asked and (body is None or body.said != "ok"):
        allowed |= {"cancel"}
    assert step in allowed, f"{what}: its body said {body and body.said}, so expected {sorted(allowed)}"
    if step == "bury":
        assert new.attempt == spec.max_attempts, f"{what}: after {new.attempt} of {spec.max_attempts}"
    elif step == "retry":
        assert new.attempt < spec.max_attempts, f"{what}: after {new.attempt} of {spec.max_attempts}"
    if step == "complete":
        assert write.result == str(entry_n(entry)), f"{what}: result {write.result}"
    if body is not None and step in ("retry", "snooze"):
        _check_wait(entry, write, body, what)


def _check_wait(entry: Entry, write: Write, body: Body, what: str) -> None:
    """Not before `failed_at + backoff`, and not after."""
    assert body.ended_at is not None
    waits = (write.after.run_at - body.ended_at) / 1e6
    if write.step == "snooze":
        least = most = SNOOZE
    elif body.said == "retry after":
        least = most = RETRY_AFTER
    else:
        least, most = bounds(POLICIES[entry.spec.type], write.after.attempt)
    assert least - 1e-6 <= waits <= most + 1e-6, f"{what}: waits {waits} s, expected {least} to {most}"


def bounds(policy: actors.Exponential | actors.Fixed, attempt: int) -> tuple[float, float]:
    """The least and the most seconds until a retry."""
    if isinstance(policy, actors.Fixed):
        return policy.seconds, policy.seconds
    longest = min(policy.cap, policy.base * policy.factor ** (attempt - 1))
    return {"none": longest, "equal": longest / 2, "full": 0.0}[policy.jitter], longest


def entry_n(entry: Entry) -> int:
    """The number that the job's body returns."""
    return int(orjson.loads(entry.spec.payload)["n"])
