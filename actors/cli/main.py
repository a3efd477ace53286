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

from actors.cli.arguments import DEFAULT_STORE, LASTING, HttpArguments, Store, WorkArguments
from actors.cli.failure import USAGE, explained

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


@app.command
def serve(*, work: WorkArguments = WorkArguments(), http: HttpArguments = HttpArguments()) -> int:
    """Run the job server: the workers, the schedules, and a REST API to use them.

    It stops on Ctrl-C or SIGTERM: no new work, running jobs have `--grace` seconds, the rest is given back and
    runs again later. A second signal stops it at once.

    Without tokens it listens on this machine only. To open it to others, make a token first:

        actors token create --owner you --role admin

        actors serve --host 0.0.0.0

    Your own jobs, from a file `myjobs.py` with `jobs = actors.Registry()` in it:

        actors serve --app myjobs:jobs --queue mail=8

    Options that can be given several times are separated by spaces in their environment variable.
    """
    from actors.cli.serve import serve as run

    return run(work, http)


@app.command
def worker(*, work: WorkArguments = WorkArguments()) -> int:
    """Run workers without the API: several such processes share one store, with or without servers beside them.

    Here the API takes jobs and runs none, and two processes work:

        actors serve --app myjobs:jobs --workers 0

        actors worker --app myjobs:jobs --workers 8

        actors worker --app myjobs:jobs --queue mail=8

    It stops as `actors serve` does: on Ctrl-C or SIGTERM, running jobs have `--grace` seconds.
    """
    from actors.cli.worker import worker as run

    return run(work)


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


@app.command
def migrate(
    *,
    from_: Annotated[str, Parameter(name="--from", help=f"the store that is left: {LASTING}")],
    to: Annotated[str, Parameter(help="the store that takes everything over, the same way; it may hold others")],
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Carry every job, dead letter, schedule, setting and token of a store to another one.

        actors migrate --from sqlite:///jobs.db --to redis://localhost:6379/0

    First stop all who use the old store: while one lives nothing is carried. Jobs keep their ids, results, errors,
    logs, order and keys; what a killed process was running comes as the next start would have found it. You may stop
    it at any time and give the same command again: it goes on where it was, and changes nothing that has come.

    The old store stays as it is, as a copy. Do not serve it any more: both would run its jobs.

    What the new store has otherwise (another job under the same id, say) stays there and is told; the exit code is 1
    then.

    Parameters
    ----------
    json
        For machines.
    """
    from actors.cli.migrate import migrate as run

    return run(from_, to, json)


@app.command
def bench(
    *,
    jobs: int = 20_000,
    workers: int = 100,
    runs: int = 3,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Measure how fast this machine is: jobs enqueued, run and started, in memory and on SQLite.

    The database is a new one in the working directory, on whose disk it depends, and is gone afterwards. It takes
    about half a minute; whatever else the machine does meanwhile shows in the figures.

    Parameters
    ----------
    jobs
        Jobs of each measurement.
    workers
        How many run at a time.
    runs
        Times that everything is measured; the table has the medians, and the least and the most.
    json
        For machines.
    """
    from actors.cli.bench import bench as run

    return run(jobs, workers, runs, json)


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
        failure = explained(error)
        if failure is None:
            raise
        print(f"actors: {failure}", file=sys.stderr)
        return failure.code
    return code if isinstance(code, int) else 0
