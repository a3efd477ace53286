"""`actors`: reads the arguments (and `ACTORS_*` variables) and hands them on. Errors are one sentence, and the exit
code says whose fault.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Final, Literal

from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Env

from actors.cli.failure import USAGE, Failure, explained

DEFAULT_STORE: Final = "sqlite:///actors.db"
_HELP: Final = r"""A job system for trio programs: typed jobs, retries, schedules and dead letters.

Start a server, and give it a job:

    actors serve

    curl -X POST http://localhost:8080/jobs -H "Content-Type: application/json" \
      -d '{"type": "send_email", "to": "a@example.com", "subject": "Hi", "body": "Hello"}'

    curl http://localhost:8080/jobs/stats

`actors COMMAND --help` tells more of a command. Every option can also be given as an environment variable.
"""


def _version() -> str:
    try:
        return metadata.version("trio-actors")
    except metadata.PackageNotFoundError:
        return "not installed"


app = App(
    name="actors",
    help=_HELP,
    help_format="markdown",
    version=_version,
    config=Env("ACTORS_", command=False),
    exit_on_error=False,
    print_error=True,
)
token = App(
    name="token",
    help="Who may call a server: create, list and revoke tokens. "
    "They are kept, hashed, in the store; a running server sees a change within a second.",
)
app.command(token)

Many = Parameter(negative=(), show_default=False)
Store = Annotated[str, Parameter(help="where jobs are kept: `sqlite:///path.db` (four slashes: absolute) or `memory:`")]


@app.command
def serve(
    *,
    store: Store = DEFAULT_STORE,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(env_var=("ACTORS_PORT", "PORT"), show_env_var=False)] = 8080,
    grace: float = 25.0,
    workers: int = 4,
    queue: Annotated[tuple[str, ...], Many] = (),
    queue_limit: int | None = None,
    app: Annotated[tuple[str, ...], Many] = (),
    smtp_url: str | None = None,
    email_from: str | None = None,
    email_failure_rate: float = 0.1,
    webhook_allow: Annotated[tuple[str, ...], Many] = (),
    webhook_secret: str | None = None,
    cleanup_root: Annotated[tuple[str, ...], Many] = (),
    cors_origin: Annotated[tuple[str, ...], Many] = (),
    max_body: int = 1024 * 1024,
    batch_max_body: int = 16 * 1024 * 1024,
    max_batch: int = 10_000,
    log_format: Literal["text", "json"] = "text",
    log_level: Literal["debug", "info", "warning", "error"] = "info",
) -> int:
    """Run the job server: the workers, the schedules, and a REST API to use them.

    It stops on Ctrl-C or SIGTERM: no new work, running jobs have `--grace` seconds, the rest is given back and
    runs again later. A second signal stops it at once.

    Without tokens it listens on this machine only. To open it to others, make a token first:

        actors token create --owner you --role admin

        actors serve --host 0.0.0.0

    Your own jobs, from a file `myjobs.py` with `jobs = actors.Registry()` in it:

        actors serve --app myjobs:jobs --queue mail=8

    Options that can be given several times are separated by spaces in their environment variable.

    Parameters
    ----------
    host
        Address or name to listen on; anything but this machine needs tokens.
    port
        0 takes a free one. [env var: ACTORS_PORT, PORT]
    grace
        Seconds that running jobs have at a stop.
    workers
        How many jobs of the queue `default` run at a time; `--queue default=N` wins.
    queue
        Another queue and its workers, as in `mail=8`. Several times.
    queue_limit
        How many jobs may wait in each queue; more are refused with 429. Default: any number.
    app
        Job types of yours: `module:registry`, found from the working directory. Several times.
    smtp_url
        Sends mail for real: `smtp://user:password@host:587` or `smtps://host:465`. Without it mail is simulated.
    email_from
        The sender of mail, `Name <a@example.org>` or the address.
    email_failure_rate
        The share of simulated mails that fail.
    webhook_allow
        A network that webhooks may post to although it is not public, as in `127.0.0.0/8`. Several times.
    webhook_secret
        Signs webhooks (Standard Webhooks); better given as ACTORS_WEBHOOK_SECRET, as others can read a command line.
    cleanup_root
        A directory below which `cleanup` may delete files. Several times.
    cors_origin
        An origin whose pages may call, as in `https://example.org`. Several times.
    max_body
        Bytes of a request's body.
    batch_max_body
        Bytes of a batch's body.
    max_batch
        Jobs of a batch.
    log_format
        Logs go to stderr, one line an event.
    log_level
        The least serious lines that are written.
    """
    from actors.cli.options import ServeOptions
    from actors.cli.serve import serve as run

    return run(
        ServeOptions(
            store=store,
            host=host,
            port=port,
            grace=grace,
            workers=workers,
            queue=queue,
            queue_limit=queue_limit,
            app=app,
            smtp_url=smtp_url,
            email_from=email_from,
            email_failure_rate=email_failure_rate,
            webhook_allow=webhook_allow,
            webhook_secret=webhook_secret,
            cleanup_root=cleanup_root,
            cors_origin=cors_origin,
            max_body=max_body,
            batch_max_body=batch_max_body,
            max_batch=max_batch,
            log_format=log_format,
            log_level=log_level,
        )
    )


@app.command
def verify(*, store: Store = DEFAULT_STORE, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Check a store: whether every job that was ever accepted is there, in one state, or was deleted.

    Counts all jobs again, looks at each, and says what does not add up; the exit code is 1 then. Others may go on
    working in the store meanwhile.

    Parameters
    ----------
    json
        For machines.
    """
    from actors.cli.verify import verify as run

    return run(store, json)


@token.command
def create(*, owner: str, role: Literal["user", "admin"] = "user", store: Store = DEFAULT_STORE) -> int:
    """Make a token and print it, once: only its hash is kept.

        TOKEN=$(actors token create --owner alice)

        curl -H "Authorization: Bearer $TOKEN" http://localhost:8080/jobs

    Parameters
    ----------
    owner
        Whose jobs these will be.
    role
        A user sees and touches the owner's own jobs only; an admin all, and the queues and schedules.
    """
    from actors.cli import token as tokens

    return tokens.create(store, owner, role)


@token.command(name="list")
def list_(*, store: Store = DEFAULT_STORE, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """List the tokens: id, owner, role, and when they were made.

    Parameters
    ----------
    json
        For machines.
    """
    from actors.cli import token as tokens

    return tokens.list_all(store, json)


@token.command
def revoke(id: str, /, *, store: Store = DEFAULT_STORE) -> int:
    """End a token: calls with it are refused from the next second on.

    Parameters
    ----------
    id
        As `actors token list` shows it.
    """
    from actors.cli import token as tokens

    return tokens.revoke(store, id)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code: 0, 1 when it could not be done, 2 when it was asked wrongly, 130 on Ctrl-C
    before it served.
    """
    try:
        code = app(sys.argv[1:] if arguments is None else arguments)
    except CycloptsError:
        return USAGE  # cyclopts has said why
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        failure = error if isinstance(error, Failure) else explained(error)
        if failure is None:
            raise
        print(f"actors: {failure}", file=sys.stderr)
        return failure.code
    return code if isinstance(code, int) else 0
