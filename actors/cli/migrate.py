"""`actors migrate`: carries a store's contents to another one, with a bar on a terminal, else with lines now and then.
Exit code 1 when the destination has something otherwise.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import orjson
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from actors import Migration, Store
from actors import migrate as carry
from actors.cli.banner import without_password
from actors.cli.failure import COULD_NOT, Failure, explained
from actors.cli.stores import check_lasts, check_there
from actors.core.errors import BadOption, StoreError
from actors.core.job import STATES
from actors.store import store_from_url

EVERY: Final = 5.0  # seconds between two lines, where there is no terminal


def migrate(source: str, destination: str, as_json: bool) -> int:
    """Carry all of `source` to `destination`, and print what came."""
    left, taking = _store("from", source), _store("to", destination)
    check_there(source)
    try:
        with _shown() as progress:
            done = trio.run(_carry, left, taking, progress)
    except KeyboardInterrupt:
        print("actors: interrupted; the same command goes on from here", file=sys.stderr)
        raise
    except Exception as error:
        failure = explained(error)
        if failure is not None and isinstance(error, StoreError):
            raise Failure(f"{failure}; the same command goes on from here", failure.code) from error
        raise
    if as_json:
        print(orjson.dumps(as_dict(done)).decode())
    else:
        _tell(done, without_password(source), without_password(destination))
    return 0 if done.ok else COULD_NOT


def _store(option: str, url: str) -> Store:
    check_lasts(url, f"--{option} is")
    try:
        return store_from_url(url)
    except BadOption as error:
        if error.option != "store":
            raise
        raise BadOption(option, error.given, error.expected) from error


async def _carry(source: Store, destination: Store, progress: Callable[[int, int], None]) -> Migration:
    return await carry(source, destination, progress=progress)


@contextmanager
def _shown() -> Generator[Callable[[int, int], None]]:
    """What shows the progress: a bar on a terminal, else a line every few seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        said_at = time.monotonic()

        def say(done: int, total: int) -> None:
            nonlocal said_at
            if time.monotonic() - said_at > EVERY:
                said_at = time.monotonic()
                print(f"{done:,} of {total:,} jobs", file=sys.stderr, flush=True)

        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("carrying jobs", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def as_dict(done: Migration) -> dict[str, Any]:
    """What machines get."""
    return {
        "ok": done.ok,
        "carried": done.carried,
        "states": dict(done.jobs),
        "lost": done.lost,
        "there": done.there,
        "gone": done.gone,
        "keysLeft": done.keys_left,
        "schedules": done.schedules,
        "settings": done.settings,
        "found": done.found,
        "conflicts": list(done.conflicts),
    }


def _tell(done: Migration, source: str, destination: str) -> None:
    came = {
        "jobs carried": done.carried,
        **{f"  {state}": done.jobs[state] for state in STATES},
        "  that a dead process was running": done.lost,
        "jobs that came before": done.there,
        "jobs that came before, deleted since": done.gone,
        "idempotency keys left to other jobs": done.keys_left,
        "schedules carried": done.schedules,
        "settings carried (tokens, pauses)": done.settings,
    }
    for what, number in came.items():
        if number:
            print(f"{what:<40} {number:>12,}")
    for conflict in done.conflicts:
        print(conflict)
    if not done.ok:
        print(f"actors: {done.found:,} conflicts: what the destination has stays as it is there", file=sys.stderr)
    elif any(came.values()):
        print(f"{destination} has everything of {source}, which is not to be served any more")
    else:
        print(f"{source} has nothing that is not in {destination}")
