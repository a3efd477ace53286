"""`actors verify`: the audit of a store, with a bar while it takes. Exit code 1 when something does not add up."""

from __future__ import annotations

import sys

import orjson
import trio
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from actors import Audit, open_system
from actors.cli.failure import COULD_NOT
from actors.cli.stores import check_lasts, check_there
from actors.core.registry import Registry
from actors.server.calls.health import audit_as_json


def verify(store: str, as_json: bool) -> int:
    """Audit `store`, which others may be using, and print what was found."""
    check_lasts(store, "there is nothing to verify in")
    check_there(store)
    audit = trio.run(_audit, store)
    if as_json:
        print(orjson.dumps(audit_as_json(audit)).decode())
    else:
        _show(audit)
    return 0 if audit.ok else COULD_NOT


async def _audit(store: str) -> Audit:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking at each job", total=None)
        async with open_system(Registry(), store=store, queues={}) as system:
            return await system.audit(
                every_job=True, progress=lambda done, total: bar.update(task, completed=done, total=total)
            )


def _show(audit: Audit) -> None:
    console = Console()
    table = Table("jobs", "how many")
    for state, number in audit.states.items():
        table.add_row(state, f"{number:,}")
    table.add_row("deleted", f"{audit.deleted:,}", end_section=True)
    table.add_row("accepted", f"{audit.accepted:,}")
    console.print(table)
    if audit.ok:
        console.print(f"all is well: {audit.checked:,} jobs looked at, and everything adds up")
        return
    for problem in audit.problems:
        console.print(Text(problem))
    print(f"actors: {audit.found:,} problems found", file=sys.stderr)
