"""What a command was asked for, checked before anything is opened, and made into what the system takes."""

from __future__ import annotations

from pathlib import Path

from actors import Queue
from actors.cli.arguments import HttpArguments, WorkArguments
from actors.cli.failure import Failure
from actors.cli.registries import load
from actors.core.errors import BadOption, RegistrationError, check_seconds
from actors.core.options import DEFAULT_QUEUE, check_queue
from actors.core.registry import Registry
from actors.jobs import Settings
from actors.jobs import registry as ready_made
from actors.server.origin import is_loopback
from actors.server.settings import ServerSettings


def check_work(given: WorkArguments) -> None:
    """Raise for what is out of its bounds, or is not there."""
    check_seconds("grace", given.grace)
    check_seconds("lease", given.lease)
    for root in given.cleanup_root:
        if not Path(root).is_dir():
            raise BadOption("cleanup_root", root, "a directory that is there")


def queues_of(given: WorkArguments) -> dict[str, Queue]:
    """The queues of this process."""
    if given.queue_limit is not None and given.queue_limit < 1:
        raise BadOption("queue_limit", given.queue_limit, "a number above 0")
    numbers = {DEFAULT_QUEUE: given.workers}
    named: set[str] = set()
    for one in given.queue:
        name, mark, number = one.rpartition("=")
        if not mark or not (number.isascii() and number.isdecimal()) or len(number) > 6:
            raise BadOption("queue", one, "NAME=N, as in mail=8")
        if name in named:
            raise BadOption("queue", one, f"queue {name} only once")
        named.add(check_queue(name))
        numbers[name] = int(number)
    return {name: Queue(number, given.queue_limit, "reject") for name, number in numbers.items()}


def registry_of(given: WorkArguments) -> Registry:
    """The ready-made job types, and those of every `--app`."""
    settings = Settings(
        smtp_url=given.smtp_url,
        email_from=given.email_from,
        email_failure_rate=given.email_failure_rate,
        webhook_allow=given.webhook_allow,
        webhook_secret=given.webhook_secret,
        cleanup_roots=given.cleanup_root,
    )
    made = ready_made(settings)
    for one in given.app:
        try:
            made.include(load(one))
        except RegistrationError as error:
            raise Failure(f"--app {one}: {error}") from None
    return made


def check_http(given: HttpArguments) -> None:
    """Raise for a limit that is out of its bounds, or an origin that is none."""
    for name in ("max_body", "batch_max_body", "max_batch"):
        if getattr(given, name) < 1:
            raise BadOption(name, getattr(given, name), "a number above 0")
    for origin in given.cors_origin:
        scheme, mark, host = origin.partition("://")
        if origin != "*" and (scheme not in ("http", "https") or not mark or not host or "/" in host):
            raise BadOption("cors_origin", origin, "an origin such as https://example.org, without a path")


def is_local(given: HttpArguments) -> bool:
    """Whether only this machine can call."""
    return is_loopback(given.host)


def server_settings(given: HttpArguments) -> ServerSettings:
    """The limits of the HTTP edge."""
    return ServerSettings(
        max_body=given.max_body,
        batch_max_body=given.batch_max_body,
        max_batch=given.max_batch,
        cors_origins=given.cors_origin,
        loopback_only=is_local(given),
    )
