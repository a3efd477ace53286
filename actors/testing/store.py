"""`check_store`: what every store promises, and the proof. A failure names the promise that was broken.

In the spirit of `trio.testing.check_two_way_stream` and River's `riverdrivertest`: one public suite, run by
the stores of this package and by anyone who writes another one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import trio

from actors.store.port import Store
from actors.testing.conformance import (
    beside,
    carrying,
    claims,
    groups,
    inserts,
    keys,
    liveness,
    log,
    pages,
    schedules,
    tallies,
    ticks,
    writes,
)
from actors.testing.conformance.rig import Check, Rig
from actors.testing.conformance.walk import walk

CHECKS: Final[tuple[Check, ...]] = (
    *inserts.CHECKS,
    *keys.CHECKS,
    *claims.CHECKS,
    *writes.CHECKS,
    *groups.CHECKS,
    *beside.CHECKS,
    *schedules.CHECKS,
    *tallies.CHECKS,
    *pages.CHECKS,
    *carrying.CHECKS,
    *ticks.CHECKS,
    *liveness.CHECKS,
    *log.CHECKS,
)
"""Every promise, in the order in which `check_store` tries them; the random walks come after."""


class StoreNonconformance(AssertionError):
    """A store broke a promise of the port. `check` is the name of the check, `promise` its text."""

    def __init__(self, check: str, promise: str, detail: str) -> None:
        super().__init__(f"{check}: {promise}\n  {detail}")
        self.check = check
        self.promise = promise


async def check_store(
    make_store: Callable[[], Store],
    *,
    reopen: Callable[[], Store] | None = None,
    seeds: Iterable[int] = range(5),
    steps: int = 60,
) -> None:
    """Try every promise of `actors.store.port` on fresh stores; raise `StoreNonconformance` at the first that
    is broken.

    `make_store` is called for every check and makes a store with no data. A store that persists gives
    `reopen` too: another store object on the data of the last `make_store()`, to check what survives a
    restart and what two processes see of each other. After the single promises come random walks beside a
    naive model, one for each of `seeds`, of `steps` commits each; a failure names its seed, and the same seed
    walks the same way.

    Runs in the caller's trio run, on its real clock (nothing here waits for time to pass). Leases that run
    out are not tried, since stores know in different ways that a holder is gone.
    """
    for check in CHECKS:
        await check_promise(check, make_store, reopen=reopen)
    for seed in seeds:
        await check_promise(partial(walk, seed=seed, steps=steps), make_store, reopen=reopen)


async def check_promise(
    check: Check, make_store: Callable[[], Store], *, reopen: Callable[[], Store] | None = None
) -> None:
    """Try one of `CHECKS` (or a walk) on a fresh store; raise `StoreNonconformance` when the promise is
    broken.
    """
    named = check.func if isinstance(check, partial) else check
    name, promise = getattr(named, "__name__", repr(named)), inspect.getdoc(named) or ""
    rig = Rig(make_store, reopen)
    try:
        try:
            await rig.open("one")
            await check(rig)
        except Exception as error:
            raise StoreNonconformance(name, promise, _detail(error)) from error
        finally:
            with trio.CancelScope(shield=True):
                await rig.close_all()
    except StoreNonconformance:
        raise
    except Exception as error:
        if isinstance(error.__context__, StoreNonconformance):  # closing what is broken may well fail too
            raise error.__context__ from error
        raise StoreNonconformance(name, promise, f"when closing: {_detail(error)}") from error


def _detail(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
