"""The options of a job, shared by its type and by each enqueue, and the checks that name what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypedDict, cast

from actors.core.errors import BadOption, check_seconds
from actors.core.job import RANK, Priority, RunIn
from actors.core.retry import PolicyValue
from actors.core.strict_json import is_text
from actors.core.unique import Unique

DEFAULT_QUEUE: Final = "default"
DEFAULT_MAX_ATTEMPTS: Final = 3
MOST_ATTEMPTS: Final = 1_000_000
MOST_TAGS: Final = 20
LONGEST_DESCRIPTION: Final = 1_000
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}", re.ASCII)


class Options(TypedDict, total=False):
    """What an enqueue can say; what it does not say, the job's type says. `delay` and `run_at` exclude each other."""

    id: str  # the caller's own: repeating the enqueue is safe
    queue: str
    priority: Priority
    front: bool  # before all others of its priority; the newest first
    delay: float  # seconds
    run_at: datetime  # aware
    unique: Unique
    owner: str | None
    description: str | None
    tags: Sequence[str]
    max_attempts: int
    timeout: float | None
    retry: PolicyValue
    idempotency_key: str  # kept 24 h, per owner


def check_queue(given: object) -> str:
    """The queue's name, or `BadOption`."""
    if not isinstance(given, str) or _NAME.fullmatch(given) is None:
        raise BadOption("queue", given, "1 to 100 letters, digits or _.:/-")
    return given


def check_priority(given: object) -> int:
    """The priority's rank, or `BadOption`."""
    rank = RANK.get(given) if isinstance(given, str) else None
    if rank is None:
        raise BadOption("priority", given, "low, normal, high or critical")
    return rank


def check_max_attempts(given: object) -> int:
    """The number of attempts, or `BadOption`."""
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= MOST_ATTEMPTS:
        raise BadOption("max_attempts", given, f"an integer from 1 to {MOST_ATTEMPTS}")
    return given


def check_timeout(given: Any) -> float | None:
    """Seconds, or `BadOption`."""
    check_seconds("timeout", given)
    if given is not None and given <= 0:
        raise BadOption("timeout", given, "more than 0 seconds, or None")
    return None if given is None else float(given)


def check_tags(given: object) -> tuple[str, ...]:
    """The tags as a tuple, or `BadOption`."""
    if isinstance(given, (list, tuple)) and len(given) <= MOST_TAGS and all(is_text(tag, 100) for tag in given):
        return tuple(dict.fromkeys(given))
    raise BadOption("tags", given, f"a list of at most {MOST_TAGS} words of 1 to 100 characters")


def check_run_in(given: object, is_async: bool, name: str) -> RunIn:
    """Where the body runs, or `BadOption`."""
    if given == "process":
        raise BadOption("run_in", given, "trio or thread (processes are not there yet)")
    if given == "trio" and is_async:
        return "trio"
    if given == "thread" and not is_async:
        return "thread"
    expected = "trio, as the body is async" if is_async else "thread, as the body is a plain def"
    raise BadOption("run_in", given, f"{expected} ({name})")


def check_front(given: object) -> bool:
    """Whether it goes to the front, or `BadOption`."""
    if not isinstance(given, bool):
        raise BadOption("front", given, "True or False")
    return given


def check_description(given: object) -> str | None:
    """The description, or `BadOption`."""
    if given is None or is_text(given, LONGEST_DESCRIPTION, 0):
        return cast("str | None", given)
    raise BadOption("description", given, f"at most {LONGEST_DESCRIPTION} characters")


def check_owner(given: object) -> str | None:
    """The owner's name, or `BadOption`."""
    if given is None or is_text(given, 200):
        return cast("str | None", given)
    raise BadOption("owner", given, "1 to 200 characters, or None")


def check_idempotency_key(given: object) -> str:
    """The idempotency key, or `BadOption`."""
    if is_text(given, 255):
        return cast("str", given)
    raise BadOption("idempotency_key", given, "1 to 255 characters")


def check_count(option: str, given: object, least: int, most: int) -> int:
    """A whole number within bounds, or `BadOption`."""
    if not isinstance(given, int) or isinstance(given, bool) or not least <= given <= most:
        raise BadOption(option, given, f"an integer from {least} to {most}")
    return given
