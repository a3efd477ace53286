"""`actors token`: the tokens in a store. The secret is on stdout alone, so that a shell can catch it; all else is for
people.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson
import trio
from rich.console import Console
from rich.table import Table

from actors import System, open_system
from actors.cli.failure import COULD_NOT, Failure
from actors.cli.stores import check_lasts, check_there
from actors.core.registry import Registry
from actors.server.tokens import PREFIX, make_token, tokens_in

T = TypeVar("T")


def create(store: str, owner: str, role: str) -> int:
    """Make one; prints its text."""

    async def keep(system: System) -> str:
        taken = {token.id for token in tokens_in(await system.settings())}
        while True:
            text, token = make_token(owner, role, system.now())
            if token.id not in taken:
                break
        await system.set_setting(*token.setting)
        print(f"token {token.id} for {owner!r} ({role}); it is shown this once:", file=sys.stderr)
        return text

    print(_within(store, keep))
    return 0


def list_all(store: str, as_json: bool) -> int:
    """Print all, oldest first; never their secrets, which nobody has."""

    async def read(system: System) -> dict[str, str]:
        return await system.settings()

    check_there(store)
    tokens = tokens_in(_within(store, read))
    if as_json:
        listed = [{"id": one.id, "owner": one.owner, "role": one.role, "createdAt": one.created_at} for one in tokens]
        print(orjson.dumps(listed).decode())
        return 0
    if not tokens:
        print("no tokens: everybody on this machine may call, and nobody else")
        return 0
    table = Table("id", "owner", "role", "created")
    for one in tokens:
        table.add_row(one.id, one.owner, one.role, one.created_at)
    Console().print(table)
    return 0


def revoke(store: str, id: str) -> int:
    """End one."""

    async def forget(system: System) -> None:
        for token in tokens_in(await system.settings()):
            if token.id == id:
                await system.set_setting(PREFIX + token.digest, None)
                return
        raise Failure(f"token {id!r} not found: `actors token list` shows the ids", COULD_NOT)

    check_there(store)
    _within(store, forget)
    print(f"token {id} is revoked", file=sys.stderr)
    return 0


def _within(store: str, work: Callable[[System], Awaitable[T]]) -> T:
    check_lasts(store, "tokens would be lost in")

    async def run() -> T:
        async with open_system(Registry(), store=store, queues={}) as system:
            return await work(system)

    return trio.run(run)
