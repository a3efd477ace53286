"""What `actors serve` was asked for, checked before anything is opened."""

from __future__ import annotations

from pathlib import Path

import attrs

from actors import Queue
from actors.cli.failure import Failure
from actors.cli.registries import load
from actors.core.errors import BadOption, RegistrationError, check_seconds
from actors.core.options import DEFAULT_QUEUE, check_queue
from actors.core.registry import Registry
from actors.jobs import Settings
from actors.jobs import registry as ready_made
from actors.server.origin import is_loopback
from actors.server.settings import ServerSettings


@attrs.frozen(kw_only=True)
class ServeOptions:
    """The options as they were given."""

    store: str
    host: str
    port: int
    grace: float
    workers: int
    queue: tuple[str, ...]
    queue_limit: int | None
    app: tuple[str, ...]
    smtp_url: str | None
    email_from: str | None
    email_failure_rate: float
    webhook_allow: tuple[str, ...]
    webhook_secret: str | None
    cleanup_root: tuple[str, ...]
    cors_origin: tuple[str, ...]
    max_body: int
    batch_max_body: int
    max_batch: int
    log_format: str
    log_level: str

    @property
    def is_local(self) -> bool:
        """Whether only this machine can call."""
        return is_loopback(self.host)

    def check(self) -> None:
        """Raise for a number that is out of its bounds, or an origin that is none."""
        check_seconds("grace", self.grace)
        for name in ("max_body", "batch_max_body", "max_batch"):
            if getattr(self, name) < 1:
                raise BadOption(name, getattr(self, name), "a number above 0")
        for root in self.cleanup_root:
            if not Path(root).is_dir():
                raise BadOption("cleanup_root", root, "a directory that is there")
        for origin in self.cors_origin:
            scheme, mark, host = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not mark or not host or "/" in host):
                raise BadOption("cors_origin", origin, "an origin such as https://example.org, without a path")

    def queues(self) -> dict[str, Queue]:
        """The queues of this process."""
        if self.queue_limit is not None and self.queue_limit < 1:
            raise BadOption("queue_limit", self.queue_limit, "a number above 0")
        numbers = {DEFAULT_QUEUE: self.workers}
        named: set[str] = set()
        for given in self.queue:
            name, mark, number = given.rpartition("=")
            if not mark or not (number.isascii() and number.isdecimal()) or len(number) > 6:
                raise BadOption("queue", given, "NAME=N, as in mail=8")
            if name in named:
                raise BadOption("queue", given, f"queue {name} only once")
            named.add(check_queue(name))
            numbers[name] = int(number)
        return {name: Queue(number, self.queue_limit, "reject") for name, number in numbers.items()}

    def registry(self) -> Registry:
        """The ready-made job types, and those of every `--app`."""
        settings = Settings(
            smtp_url=self.smtp_url,
            email_from=self.email_from,
            email_failure_rate=self.email_failure_rate,
            webhook_allow=self.webhook_allow,
            webhook_secret=self.webhook_secret,
            cleanup_roots=self.cleanup_root,
        )
        made = ready_made(settings)
        for given in self.app:
            try:
                made.include(load(given))
            except RegistrationError as error:
                raise Failure(f"--app {given}: {error}") from None
        return made

    def server(self) -> ServerSettings:
        """The limits of the HTTP edge."""
        return ServerSettings(
            max_body=self.max_body,
            batch_max_body=self.batch_max_body,
            max_batch=self.max_batch,
            cors_origins=self.cors_origin,
            loopback_only=self.is_local,
        )
