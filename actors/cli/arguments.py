"""What `serve` and `worker` can be told, as the command line reads it. Imports nothing heavy: `--help` needs it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import attrs
from cyclopts import Parameter

DEFAULT_STORE: Final = "sqlite:///actors.db"
LASTING: Final = "`sqlite:///path.db` (four slashes: absolute), `redis://host:port/db` for many machines"
_STORE: Final = f"where jobs are kept: {LASTING}, or `memory:`"
Many = Parameter(negative=(), show_default=False)
Store = Annotated[str, Parameter(help=_STORE)]


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class WorkArguments:
    """The store, the workers, and what the ready-made jobs need."""

    store: Store = DEFAULT_STORE
    grace: float = 25.0
    """Seconds that running jobs have at a stop."""
    lease: float = 30.0
    """On Redis: seconds without a sign of life after which what a process ran is given to others."""
    strict: Annotated[bool, Parameter(negative=())] = False
    """On Redis: refuse a server that may lose accepted jobs: one without an append-only file, or that evicts keys."""
    workers: int = 4
    """How many jobs of the queue `default` run at a time; `--queue default=N` wins."""
    queue: Annotated[tuple[str, ...], Many] = ()
    """Another queue and its workers, as in `mail=8`. Several times."""
    queue_limit: int | None = None
    """How many jobs may wait in each queue; more are refused (429 over HTTP). Default: any number."""
    app: Annotated[tuple[str, ...], Many] = ()
    """Job types of yours: `module:registry`, found from the working directory. Several times."""
    smtp_url: str | None = None
    """Sends mail for real: `smtp://user:password@host:587` or `smtps://host:465`. Without it mail is simulated."""
    email_from: str | None = None
    """The sender of mail, `Name <a@example.org>` or the address."""
    email_failure_rate: float = 0.1
    """The share of simulated mails that fail."""
    webhook_allow: Annotated[tuple[str, ...], Many] = ()
    """A network that webhooks may post to although it is not public, as in `127.0.0.0/8`. Several times."""
    webhook_secret: str | None = None
    """Signs webhooks (Standard Webhooks); better given as ACTORS_WEBHOOK_SECRET, as others can read a command line."""
    cleanup_root: Annotated[tuple[str, ...], Many] = ()
    """A directory below which `cleanup` may delete files. Several times."""
    log_format: Literal["text", "json"] = "text"
    """Logs go to stderr, one line an event."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious lines that are written."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class HttpArguments:
    """Where the API listens, and its limits."""

    host: str = "127.0.0.1"
    """Address or name to listen on; anything but this machine needs tokens."""
    port: Annotated[int, Parameter(env_var=("ACTORS_PORT", "PORT"), show_env_var=False)] = 8080
    """0 takes a free one. [env var: ACTORS_PORT, PORT]"""
    cors_origin: Annotated[tuple[str, ...], Many] = ()
    """An origin whose pages may call, as in `https://example.org`. Several times."""
    max_body: int = 1024 * 1024
    """Bytes of a request's body."""
    batch_max_body: int = 16 * 1024 * 1024
    """Bytes of a batch's body."""
    max_batch: int = 10_000
    """Jobs of a batch."""
