"""`SQLiteStore` keeps the port's promises, with threads and inline."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from actors.store.sqlite import SQLiteStore
from actors.testing.store import check_store


def _stores(directory: Path, *, inline: bool) -> tuple[Callable[[], SQLiteStore], Callable[[], SQLiteStore]]:
    numbers = count()
    last = directory / "none"

    def make() -> SQLiteStore:
        nonlocal last
        last = directory / f"{next(numbers)}.db"
        return SQLiteStore(last, inline=inline)

    return make, lambda: SQLiteStore(last, inline=inline)


@pytest.mark.parametrize("inline", [False, True], ids=["threads", "inline"])
async def test_it_keeps_the_promises_of_the_port(tmp_path: Path, inline: bool) -> None:
    make, reopen = _stores(tmp_path, inline=inline)
    await check_store(make, reopen=reopen)
