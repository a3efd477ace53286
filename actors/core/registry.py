"""Job types: how a function or a class becomes one, with its payload, its options and its way to and from JSON.

A `Registry` is an explicit object, never a module global.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Iterator
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

import attrs

from actors.core import codec
from actors.core.context import Job, JobContext
from actors.core.definition import Authorize, Call, JobDefinition, JobOptions, JobType, Middleware
from actors.core.errors import (
    BadOption,
    RegistrationError,
    UnknownType,
    quote,
)
from actors.core.job import Priority, RunIn
from actors.core.options import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_QUEUE,
    check_description,
    check_max_attempts,
    check_priority,
    check_queue,
    check_run_in,
    check_tags,
    check_timeout,
)
from actors.core.payload import flat_fields, is_async, payload_of_class, payload_of_function
from actors.core.retry import DEFAULT_POLICY, Exponential, Fixed, Linear, Policy, Steps
from actors.core.unique import Unique

if TYPE_CHECKING:
    from cattrs import Converter

P = ParamSpec("P")
R = TypeVar("R")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}", re.ASCII)


C = TypeVar("C", bound=type[Job[Any]])
ExceptionClass = type[BaseException]


class _Decorator(Protocol):
    """What `Registry.job(...)` returns. The order of the overloads matters: a class must come back unchanged."""

    @overload
    def __call__(self, body: C, /) -> C: ...  # type: ignore[overload-overlap]  # a class is a callable too
    @overload
    def __call__(self, body: Callable[Concatenate[JobContext, P], Awaitable[R]], /) -> JobType[P, R]: ...
    @overload
    def __call__(self, body: Callable[P, Awaitable[R]], /) -> JobType[P, R]: ...
    @overload
    def __call__(self, body: Callable[Concatenate[JobContext, P], R], /) -> JobType[P, R]: ...
    @overload
    def __call__(self, body: Callable[P, R], /) -> JobType[P, R]: ...


class Registry:
    """The job types of a program. Registries merge: `jobs.include(other)`."""

    def __init__(self) -> None:
        self._definitions: dict[str, JobDefinition] = {}
        self._classes: dict[type[Any], JobDefinition] = {}
        self.wraps: tuple[Middleware, ...] = ()  # see `middleware`
        self._hooks: dict[Any, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}
        self._converters: dict[bool, Converter] = {}

    # Registering

    def job(
        self,
        *,
        type: str | None = None,
        queue: str = DEFAULT_QUEUE,
        priority: Priority = "normal",
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        timeout: float | None = None,
        retry: Policy = DEFAULT_POLICY,
        retry_on: tuple[ExceptionClass, ...] = (),
        give_up_on: tuple[ExceptionClass, ...] = (),
        unique: Unique | None = None,
        run_in: RunIn | None = None,
        description: str | None = None,
        tags: typing.Sequence[str] = (),
        authorize: Authorize | None = None,
    ) -> _Decorator:
        """Register a function (its signature is the payload) or an attrs class with `execute` (its fields are).

        `type` defaults to the function's or class's name. Without `run_in` an `async def` body runs on trio and a plain
        `def` in a thread. Raises `RegistrationError` (a name taken, no `execute`, a field that can't be JSON) and
        `BadOption`.
        """
        check_queue(queue)
        check_priority(priority)
        check_max_attempts(max_attempts)
        check_timeout(timeout)
        if not isinstance(retry, (Exponential, Fixed, Linear, Steps)) and not callable(retry):
            raise BadOption("retry", retry, "a back-off policy or a function of (attempt, error)")
        if unique is not None and not isinstance(unique, Unique):
            raise BadOption("unique", unique, "actors.Unique(...)")
        if authorize is not None and not callable(authorize):
            raise BadOption("authorize", authorize, "a function of (owner, payload)")
        check_description(description)
        for option, classes in (("retry_on", retry_on), ("give_up_on", give_up_on)):
            if not isinstance(classes, (tuple, list)):
                raise BadOption(option, classes, "a tuple of exception classes")
            for given in classes:
                if not (inspect.isclass(given) and issubclass(given, BaseException)):
                    raise BadOption(option, given, "exception classes")

        def register(body: Any) -> Any:
            is_class: bool = inspect.isclass(body)
            if not callable(body) or (type is None and not hasattr(body, "__name__")):
                raise RegistrationError(f"expected a function or an attrs class, not {quote(body)}")
            name = body.__name__ if type is None else type
            if not isinstance(name, str) or _NAME.fullmatch(name) is None:
                raise RegistrationError(f"job type {quote(name)}: expected 1 to 100 letters, digits or _.:/-")
            if name in self._definitions:
                raise RegistrationError(
                    f"job type {name!r} is registered already, as {_where(self._definitions[name])}"
                )
            function = None if is_class else body
            payload_class, takes_ctx = payload_of_class(body, name) if is_class else payload_of_function(body, name)
            code: Any = getattr(body, "execute", None) if is_class else body
            asynchronous = is_async(code)
            options = JobOptions(
                queue=queue,
                priority=priority,
                max_attempts=max_attempts,
                timeout=timeout,
                retry=retry,
                retry_on=tuple(retry_on),
                give_up_on=tuple(give_up_on),
                unique=unique,
                run_in=check_run_in(run_in or ("trio" if asynchronous else "thread"), asynchronous, name),
                description=description,
                tags=check_tags(tags),
                authorize=authorize,
            )
            attrs.resolve_types(payload_class)
            for field in attrs.fields(payload_class):
                if (why := codec.unsupported(field.type, self._hooks.__contains__)) is not None:
                    raise RegistrationError(f"job type {name!r}, field {field.name!r}: {why}")
            definition = JobDefinition(
                name,
                options,
                payload_class,
                tuple(field.name for field in attrs.fields(payload_class)),
                function,
                takes_ctx,
                asynchronous,
                flat_fields(payload_class),
                self,
            )
            self._definitions[name] = definition
            if is_class:
                self._classes[body] = definition
                return body
            return JobType(definition)

        return cast("_Decorator", register)

    def include(self, other: Registry) -> None:
        """Add all job types of `other`, with their own middleware and hooks. A name that is taken is a
        `RegistrationError`, and nothing is added.
        """
        for name, definition in other._definitions.items():
            if name in self._definitions and self._definitions[name] is not definition:
                raise RegistrationError(
                    f"job type {name!r} is registered already, as {_where(self._definitions[name])}"
                )
        self._definitions.update(other._definitions)
        self._classes.update(other._classes)

    def middleware(self, wrap: Middleware) -> Middleware:
        """Wrap every run of this registry's jobs, those registered before and after; the first one registered is the
        outermost. A decorator.
        """
        self.wraps = (*self.wraps, wrap)
        return wrap

    def hook(self, kind: Any, *, structure: Callable[[Any], Any], unstructure: Callable[[Any], Any]) -> None:
        """Teach payloads a type of yours: `unstructure` makes JSON values of it, `structure` the type again (or
        raises).
        """
        self._hooks[kind] = (structure, unstructure)
        self._converters.clear()

    # Asking

    def __contains__(self, type: object) -> bool:
        return type in self._definitions

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._definitions))

    def __len__(self) -> int:
        return len(self._definitions)

    def __getitem__(self, type: str) -> JobDefinition:
        try:
            return self._definitions[type]
        except (KeyError, TypeError):
            raise UnknownType(type, list(self)) from None

    def find(self, type: str) -> JobDefinition | None:
        """The definition of `type`, or None."""
        return self._definitions.get(type)

    @property
    def types(self) -> frozenset[str]:
        """The names of all job types."""
        return frozenset(self._definitions)

    def from_json(self, type: str, fields: Any) -> Job[Any]:
        """A job of `type` from JSON values; `UnknownType`, or `BadPayload` naming every wrong field at once."""
        definition = self[type]
        payload = definition.from_fields(fields)
        return payload if definition.function is None else Call(definition, payload)

    def resolve(self, job: object) -> tuple[JobDefinition, Any]:
        """The definition and the payload object of a job that was made by calling its type.

        `TypeError` for a type that was not called and for what is no job; `UnknownType` for a job of another registry.
        """
        if isinstance(job, Call):
            known = self._definitions.get(job.definition.name)
            if known is None or known.payload_class is not job.definition.payload_class:
                raise UnknownType(job.definition.name, list(self))
            return known, job.payload
        definition = self._classes.get(_class_of(job))
        if definition is not None:
            return definition, job
        if isinstance(job, JobType) or inspect.isclass(job):
            name = job.name if isinstance(job, JobType) else job.__name__
            raise TypeError(f"{name} is a job type, not a job: call it, as in enqueue({name}(...))")
        if hasattr(job, "execute"):
            raise UnknownType(_class_of(job).__name__, list(self))
        raise TypeError(f"expected a job, made by calling a registered job type, not {quote(job)}")

    def converter(self, *, explain: bool) -> Converter:
        """The registry's strict cattrs converter; `explain` gathers every wrong field."""
        made = self._converters.get(explain)
        if made is None:
            made = self._converters[explain] = codec.make_converter(explain=explain)
            for kind, (structure, unstructure) in self._hooks.items():
                made.register_structure_hook(kind, _ignoring_the_type(structure))
                made.register_unstructure_hook(kind, unstructure)
        return made


_class_of = type  # `type` is the name of an option here


def _ignoring_the_type(structure: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda given, _: structure(given)


def _where(definition: JobDefinition) -> str:
    body = definition.function or definition.payload_class
    return f"{body.__module__}.{body.__qualname__}"
