"""Job types: how a function or a class becomes one, with its payload, its options and its way to and from JSON.

A `Registry` is an explicit object, never a module global.
"""

from __future__ import annotations

import copy
import inspect
import re
import typing
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

import attrs
import orjson

from actors.core import codec, strict_json
from actors.core.context import Job, JobContext
from actors.core.errors import (
    BadOption,
    BadPayload,
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
from actors.core.retry import DEFAULT_POLICY, Exponential, Fixed, Linear, Policy, Steps
from actors.core.unique import Unique

if TYPE_CHECKING:
    from cattrs import Converter

P = ParamSpec("P")
R = TypeVar("R")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,99}", re.ASCII)

LONGEST_PROBLEM: Final = 300  # characters of one field's problem
LONGEST_PATH: Final = 100  # characters of where it is
MOST_PROBLEMS: Final = 100  # named in one error

C = TypeVar("C", bound=type[Job[Any]])
ExceptionClass = type[BaseException]
Authorize = Callable[[str | None, Any], bool]
Middleware = Callable[[JobContext, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""`async def middleware(ctx, run): ... return await run()`; wraps every run of the registry's jobs."""


@attrs.frozen(kw_only=True)
class JobOptions:
    """The options of a job type; each can be overridden per enqueue but `authorize`, `retry_on` and `give_up_on`."""

    queue: str = DEFAULT_QUEUE
    priority: Priority = "normal"
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    timeout: float | None = None
    retry: Policy = DEFAULT_POLICY
    retry_on: tuple[type[BaseException], ...] = ()
    give_up_on: tuple[type[BaseException], ...] = ()
    unique: Unique | None = None
    run_in: RunIn = "trio"
    description: str | None = None
    tags: tuple[str, ...] = ()
    authorize: Authorize | None = None


@attrs.frozen(eq=False)
class JobDefinition:
    """A registered job type: its name, its options, and how its payload is read, written and run."""

    name: str
    options: JobOptions
    payload_class: type[Any]
    fields: tuple[str, ...]  # the payload's, in order
    function: Callable[..., Any] | None  # None: the payload class has `execute`
    takes_ctx: bool
    is_async: bool
    flat: tuple[tuple[str, frozenset[type]], ...] | None  # field -> exact types, when all fields are scalars
    registry: Registry = attrs.field(repr=False)

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """What wraps every run: that of the registry where it was registered, the outermost first."""
        return self.registry.wraps

    def encode(self, payload: Any) -> str:
        """The payload object as one JSON object; `BadPayload` naming every wrong field."""
        flat = self.flat
        if flat is not None:
            fields = {name: getattr(payload, name) for name, _ in flat}
            if all(type(fields[name]) in kinds for name, kinds in flat):
                return self._dumps(fields)
        converter = self.registry.converter(explain=False)
        try:
            fields = converter.unstructure(payload)
        except Exception as error:
            raise BadPayload(self.name, self._not_encoded(converter, payload) or [("", _cut(error))]) from error
        text = self._dumps(fields)
        self.decode(text)  # what a run would refuse is refused now
        return text

    def _not_encoded(self, converter: Converter, payload: Any) -> list[tuple[str, str]]:
        """(field, problem) for every field that can't be turned into JSON."""
        problems: list[tuple[str, str]] = []
        for field in attrs.fields(self.payload_class):
            try:
                converter.unstructure(getattr(payload, field.name), unstructure_as=field.type)
            except Exception as error:
                problems.append((field.name, _cut(error)))
        return problems

    def _dumps(self, fields: dict[str, Any]) -> str:
        try:
            return strict_json.dumps(fields)
        except strict_json.NotJSON as error:
            field, _, problem = str(error).partition(": ")
            raise BadPayload(self.name, _bounded([(field, problem)])) from None

    def from_fields(self, fields: Any) -> Any:
        """The payload object made of JSON values; `BadPayload` naming every wrong field at once."""
        try:
            return self.registry.converter(explain=False).structure(fields, self.payload_class)
        except Exception:
            pass
        try:
            return self.registry.converter(explain=True).structure(fields, self.payload_class)
        except Exception as error:
            raise BadPayload(self.name, _bounded(codec.problems(error))) from None

    def decode(self, text: str) -> Any:
        """The inverse of `encode`."""
        if text == "{}" and self.flat == ():
            return self.payload_class()
        return self.from_fields(orjson.loads(text))

    def call(self, ctx: JobContext, payload: Any) -> Any:
        """Call the body: an awaitable when `is_async`, else its result."""
        if self.function is None:
            return payload.execute(ctx)
        fields = {name: getattr(payload, name) for name in self.fields}
        return self.function(ctx, **fields) if self.takes_ctx else self.function(**fields)


@attrs.frozen(eq=False)
class Call(Generic[R]):
    """A function job, called: which type, with which payload. It is a `Job[R]`."""

    definition: JobDefinition
    payload: Any

    def execute(self, ctx: JobContext, /) -> Awaitable[R]:
        """Run the function with the payload."""
        return cast("Awaitable[R]", self.definition.call(ctx, self.payload))

    def __repr__(self) -> str:
        return f"<job {self.definition.name}>"


class JobType(Generic[P, R]):
    """A function registered as a job type. Calling it makes a job; giving the job to a system runs it."""

    def __init__(self, definition: JobDefinition) -> None:
        self.definition = definition

    @property
    def name(self) -> str:
        """The registered name."""
        return self.definition.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        try:
            payload = self.definition.payload_class(*args, **kwargs)
        except TypeError as error:
            why = str(error).replace(f"{self.definition.payload_class.__name__}.__init__", self.name, 1)
            raise TypeError(why.replace("__init__", self.name, 1)) from None
        return Call(self.definition, payload)

    def __repr__(self) -> str:
        return f"<job type {self.name}>"


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
            payload_class, takes_ctx = _payload_of_class(body, name) if is_class else _payload_of_function(body, name)
            code: Any = getattr(body, "execute", None) if is_class else body
            is_async = _is_async(code)
            options = JobOptions(
                queue=queue,
                priority=priority,
                max_attempts=max_attempts,
                timeout=timeout,
                retry=retry,
                retry_on=tuple(retry_on),
                give_up_on=tuple(give_up_on),
                unique=unique,
                run_in=check_run_in(run_in or ("trio" if is_async else "thread"), is_async, name),
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
                is_async,
                _flat(payload_class),
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


def _bounded(problems: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What can be shown and sent: not too many, not too long, no lone surrogates of the caller's."""
    shown = [(_cut(path, LONGEST_PATH), _cut(problem)) for path, problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        shown.append(("", f"and {len(problems) - MOST_PROBLEMS} more"))
    return shown


def _cut(given: object, longest: int = LONGEST_PROBLEM) -> str:
    text = str(given) or type(given).__name__ if isinstance(given, Exception) else str(given)
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def _is_async(code: Any) -> bool:
    """Whether calling it makes a coroutine: a function, what wraps one, or an object with such a `__call__`."""
    return inspect.iscoroutinefunction(inspect.unwrap(code)) or inspect.iscoroutinefunction(type(code).__call__)


def _where(definition: JobDefinition) -> str:
    body = definition.function or definition.payload_class
    return f"{body.__module__}.{body.__qualname__}"


def _payload_of_class(body: type[Any], name: str) -> tuple[type[Any], bool]:
    if not attrs.has(body):
        raise RegistrationError(
            f"job type {name!r}: class {body.__qualname__} is no attrs class: decorate it with @attrs.frozen"
        )
    execute = getattr(body, "execute", None)
    if not callable(execute):
        raise RegistrationError(f"job type {name!r}: class {body.__qualname__} has no execute(self, ctx) method")
    if len(inspect.signature(execute).parameters) != 2:
        raise RegistrationError(
            f"job type {name!r}: {body.__qualname__}.execute must take (self, ctx) and nothing else"
        )
    return body, True


def _payload_of_function(body: Any, name: str) -> tuple[type[Any], bool]:
    if not callable(body):
        raise RegistrationError(f"job type {name!r}: expected a function or an attrs class, not {quote(body)}")
    try:
        hints = typing.get_type_hints(body)
    except NameError as error:
        raise RegistrationError(
            f"job type {name!r}: {error}: expected annotations that can be resolved at registration"
        ) from None
    fields: dict[str, Any] = {}
    takes_ctx = False
    for index, parameter in enumerate(inspect.signature(body).parameters.values()):
        if index == 0 and hints.get(parameter.name) is JobContext:
            takes_ctx = True
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise RegistrationError(
                f"job type {name!r}: parameter {parameter} has no name in a payload: expected named parameters only"
            )
        if parameter.name == "self" or parameter.name.startswith("__"):
            raise RegistrationError(
                f"job type {name!r}: parameter {parameter.name!r} can't be a field: expected another name"
            )
        default = attrs.NOTHING if parameter.default is parameter.empty else parameter.default
        if isinstance(default, (list, dict, set)):  # Python shares it between calls; jobs must not
            default = attrs.Factory(partial(copy.deepcopy, default))
        kw_only = parameter.kind is parameter.KEYWORD_ONLY
        fields[parameter.name] = attrs.field(
            default=default, type=hints.get(parameter.name, Any), kw_only=kw_only, alias=parameter.name
        )
    made = attrs.make_class(re.sub(r"\W", "_", name), fields, frozen=True, slots=True)
    made.__module__ = body.__module__
    return made, takes_ctx


_FLAT: Final = {str: frozenset({str}), int: frozenset({int}), bool: frozenset({bool}), float: frozenset({float, int})}


def _flat(payload_class: type[Any]) -> tuple[tuple[str, frozenset[type]], ...] | None:
    """The exact types of each field when all are scalars without aliases: such a payload needs no converter to be
    checked.
    """
    found = []
    for field in attrs.fields(payload_class):
        kinds = _FLAT.get(field.type)
        if kinds is None or field.alias != field.name or field.validator is not None:
            return None
        found.append((field.name, kinds))
    return tuple(found)
