"""What the bodies of the ready-made jobs work with, handed down from their registry to each run."""

from __future__ import annotations

import random
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import attrs
import trio

from actors import ActorsError
from actors.jobs.settings import Settings


class DeliveryFailed(ActorsError):
    """The mail server or the receiver of a webhook did not take it; another attempt may succeed."""


@attrs.define
class Tools:
    """One registry's settings, its chance, and its TLS context (made at the first use: it reads files)."""

    settings: Settings
    rng: random.Random
    _tls: ssl.SSLContext | None = None

    async def tls(self) -> ssl.SSLContext:
        """The context that trusts the system's certificates and those of `ca_file`; also loads httpx2."""
        made = self._tls
        if made is None:
            # 30 ms to make, and up to a second with the import: too long for the loop
            made = self._tls = await trio.to_thread.run_sync(_make_tls, self.settings.ca_file)
        return made


_current: ContextVar[Tools | None] = ContextVar("actors.jobs", default=None)


def current_tools() -> Tools:
    """The tools of the run that asks; `RuntimeError` for a body that runs without `registry`."""
    tools = _current.get()
    if tools is None:
        raise RuntimeError(
            "no settings: expected a ready-made job to run by the registry of actors.jobs.registry(settings)"
        )
    return tools


@contextmanager
def at_hand(tools: Tools) -> Generator[None]:
    """Make `tools` what `current_tools` answers in this task."""
    before = _current.get()
    _current.set(tools)
    try:
        yield
    finally:
        _current.set(before)  # not `reset`: that raises when a run is closed from another context


def _make_tls(ca_file: str | None) -> ssl.SSLContext:
    try:
        import httpx2
    except ImportError:
        context = ssl.create_default_context()
    else:
        context = httpx2.create_ssl_context()  # knows where more systems keep their certificates
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context
