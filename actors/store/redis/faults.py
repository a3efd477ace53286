"""What the server and the network say when they can't, as the errors of the store port. The cause stays chained."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import trio
from coredis import exceptions

from actors.core.errors import StoreBusy, StoreError, StoreFull

_FULL: Final = ("OOM ", "MISCONF ")  # no memory left; a disk that takes no snapshot or log any more
_PASSING: Final = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY ", "NOREPLICAS", "UNBLOCKED")
_OUT_OF_REACH: Final = (
    exceptions.ConnectionError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.PrimaryNotFoundError,
    exceptions.ReplicationError,
    exceptions.PersistenceError,
    exceptions.ClusterError,
    trio.TooSlowError,
    TimeoutError,
    OSError,
)


def store_error(error: BaseException, where: str) -> StoreError:
    """The port's error for what was raised about the server `where`."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error) or ("no answer in time" if isinstance(error, trio.TooSlowError) else type(error).__name__)
    cause = error.__cause__
    if isinstance(error, exceptions.AuthenticationError):
        return StoreError(f"{where} refuses these credentials: {text}")
    if isinstance(cause, exceptions.AuthenticationError):
        return StoreError(f"{where} refuses these credentials: {cause}")
    if text.startswith(_FULL):
        return StoreFull(f"{where} takes no more: {text}")
    if isinstance(error, _OUT_OF_REACH) or text.startswith(_PASSING):
        return StoreBusy(f"{where} is out of reach: {text}")
    return StoreError(f"{where}: {text}")


@contextmanager
def redis_errors(where: str) -> Generator[None]:
    """Raise what the client raises inside as a `StoreError`."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        raise store_error(error, where) from error
