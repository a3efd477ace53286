"""What commands that work on a store itself expect of it."""

from __future__ import annotations

from pathlib import Path

from actors.cli.failure import COULD_NOT, Failure


def check_lasts(store: str, what: str) -> None:
    """Refuse a store that is gone when the command ends; `what` begins the sentence that says so."""
    if store.startswith("memory:"):
        raise Failure(f"{what} memory:, which is gone when a program ends: expected a store that lasts")


def check_there(store: str) -> None:
    """What only looks makes no database."""
    path = store.removeprefix("sqlite:///")
    if path != store and not Path(path).exists():
        raise Failure(f"store {store} is not there: expected the database of a server", COULD_NOT)


def with_strictness(store: str, strict: bool) -> str:
    """The URL of this store, which then refuses a server that may lose jobs. (SQLite loses none; `memory:` says so.)"""
    if not strict or store.startswith(("sqlite:", "memory:")):
        return store
    return f"{store}{'&' if '?' in store else '?'}strict=1"
