"""From a JSON body to a job and its options: flat or nested, every wrong field named at once, nothing coerced.

Nested is what has no other keys than `type`, `data` and `options`; all else is flat: the payload's fields beside the
options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

import attrs

from actors.core import strict_json
from actors.core.context import Job
from actors.core.errors import BadOption, BadPayload, UnknownType, check_seconds, quote
from actors.core.ids import check_id
from actors.core.options import (
    Options,
    check_description,
    check_max_attempts,
    check_priority,
    check_queue,
    check_tags,
    check_timeout,
)
from actors.core.registry import Registry
from actors.core.unique import Unique
from actors.server.problems import FieldErrors, Problem, field_errors_of, problem_of, wrong_fields
from actors.server.wire import collisions

NOT_IDS: Final = ("batch", "completed", "failed", "retry", "stats")
NESTED: Final = frozenset({"type", "data", "options"})
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})", re.ASCII)


def read_time(name: str, given: object) -> datetime:
    """An ISO 8601 time with a zone, in UTC; `BadOption` otherwise."""
    expected = "an ISO 8601 time with a zone, as in 2030-01-31T12:00:00Z"
    if not isinstance(given, str) or _TIME.fullmatch(given) is None:
        raise BadOption(name, given, expected)
    try:
        return datetime.fromisoformat(given).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadOption(name, given, expected) from None


def read_seconds(name: str, given: object) -> float:
    """A finite number of seconds from 0 to ten years."""
    check_seconds(name, given)
    if given is None:
        raise BadOption(name, given, "a number of seconds")
    return float(cast("float", given))


def _priority(given: object) -> Any:
    check_priority(given)
    return given


def _unique(given: object) -> Unique:
    if not isinstance(given, str):
        raise BadOption("uniqueKey", given, "1 to 200 characters")
    return Unique(key=given)


def _own_id(given: object) -> str:
    if given in NOT_IDS:
        raise BadOption("id", given, f"none of {', '.join(sorted(NOT_IDS))}: those are paths of their own")
    return check_id(given)


_READERS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "priority": ("priority", _priority),
    "maxAttempts": ("max_attempts", check_max_attempts),
    "delay": ("delay", lambda given: read_seconds("delay", given)),
    "runAt": ("run_at", lambda given: read_time("runAt", given)),
    "queue": ("queue", check_queue),
    "timeout": ("timeout", check_timeout),
    "uniqueKey": ("unique", _unique),
    "tags": ("tags", check_tags),
    "description": ("description", check_description),
    "jobId": ("id", _own_id),
}
OF_ONE_JOB: Final = frozenset(_READERS)
OF_A_SCHEDULE: Final = frozenset(_READERS) - {"delay", "runAt", "jobId"}


@attrs.frozen
class Submission:
    """A body that was understood."""

    type: str
    job: Job[Any]
    options: Options


def read_submission(given: Any, registry: Registry, *, max_payload: int | None = None) -> Submission:
    """The job and the options that a body means. Raises one `Problem`: 400 for an unknown type, 413, or 422 for all
    wrong fields.
    """
    if not isinstance(given, dict):
        raise Problem(422, "wrong-fields", "expected a JSON object", errors=[("", "expected an object")])
    body = cast("dict[str, Any]", given)
    type = read_type(body, registry)
    if body.keys() <= NESTED:
        return read_job(type, body, registry, OF_ONE_JOB, max_payload)
    if taken := collisions(registry[type]):
        said = f"{', '.join(taken)}: such a field of {type} needs the nested form: {{type, data, options}}"
        raise Problem(422, "nested-form-only", said, errors=[(name, "only under data") for name in taken])
    data = {name: member for name, member in body.items() if name != "type"}
    options: dict[str, Any] = {}
    if not OF_ONE_JOB.isdisjoint(data):
        options = {name: data.pop(name) for name in body if name in OF_ONE_JOB}
    return _read(type, data, options, registry, OF_ONE_JOB, "", "", max_payload)


def read_type(body: Mapping[str, Any], registry: Registry) -> str:
    """The body's `type`, if it is a registered one."""
    type = body.get("type")
    if not isinstance(type, str):
        said = "required, but missing" if "type" not in body else f"expected the name of a job type, not {quote(type)}"
        raise Problem(422, "wrong-fields", f"type: {said}", error="Wrong fields: type", errors=[("type", said)])
    if type not in registry:
        raise problem_of(UnknownType(type, list(registry)))
    return type


def read_job(
    type: str, body: Mapping[str, Any], registry: Registry, allowed: frozenset[str], max_payload: int | None = None
) -> Submission:
    """The job and the options in a body that keeps them under `data` and `options`."""
    errors = FieldErrors()
    parts: dict[str, dict[str, Any]] = {}
    for name in ("data", "options"):
        part = body.get(name, {})
        if not isinstance(part, dict):
            errors.add(name, f"expected an object, not {quote(part)}")
        else:
            parts[name] = cast("dict[str, Any]", part)
    errors.raise_if_any()
    return _read(type, parts["data"], parts["options"], registry, allowed, "data.", "options.", max_payload)


def _read(
    type: str,
    data: dict[str, Any],
    options: dict[str, Any],
    registry: Registry,
    allowed: frozenset[str],
    data_prefix: str,
    option_prefix: str,
    max_payload: int | None,
) -> Submission:
    errors = FieldErrors()
    read = read_options(options, allowed, errors, option_prefix)
    try:
        job = registry.from_json(type, data)
    except BadPayload as error:
        errors.found.extend(field_errors_of(error, payload_prefix=data_prefix))
        raise wrong_fields(errors.found) from None
    errors.raise_if_any()
    if max_payload is not None and len(strict_json.dumps(data)) > max_payload:
        raise Problem(
            413, "payload-too-large", f"The payload is larger than {max_payload} bytes of JSON", maxBytes=max_payload
        )
    return Submission(type, job, read)


def read_options(given: Mapping[str, Any], allowed: frozenset[str], errors: FieldErrors, prefix: str = "") -> Options:
    """The options of a body under the system's names; what is wrong goes to `errors`."""
    made: dict[str, Any] = {}
    for name, member in given.items():
        if name not in allowed:
            errors.add(prefix + name, "unknown field")
            continue
        known_as, read = _READERS[name]
        try:
            made[known_as] = read(member)
        except BadOption as error:
            errors.add_option(error, prefix)
    if "delay" in made and "run_at" in made:
        errors.add(prefix + "runAt", "not to be given together with delay")
    return cast("Options", cast("object", made))
