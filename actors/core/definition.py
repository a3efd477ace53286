"""One registered job type: its options, how its payload is read, written and checked, and how its body is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
)

import attrs
import orjson

from actors.core import codec, strict_json
from actors.core.context import JobContext
from actors.core.errors import (
    BadPayload,
)
from actors.core.job import NO_DETAILS, RANK, Details, Priority, RunIn
from actors.core.options import (
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_QUEUE,
)
from actors.core.retry import DEFAULT_POLICY, Policy
from actors.core.unique import Unique

if TYPE_CHECKING:
    from cattrs import Converter

P = ParamSpec("P")
R = TypeVar("R")

LONGEST_PROBLEM: Final = 300  # characters of one field's problem
LONGEST_PATH: Final = 100  # characters of where it is
MOST_PROBLEMS: Final = 100  # named in one error

Authorize = Callable[[str | None, Any], bool]
Middleware = Callable[[JobContext, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""`async def middleware(ctx, run): ... return await run()`; wraps every run of the registry's jobs."""


class Home(Protocol):
    """What a definition needs of the registry where it was registered."""

    @property
    def wraps(self) -> tuple[Middleware, ...]:
        """The registry's middleware, the outermost first."""
        ...

    def converter(self, *, explain: bool) -> Converter:
        """The registry's strict converter."""
        ...


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


def _details(options: JobOptions) -> Details:
    if options.description is None and not options.tags:
        return NO_DETAILS
    return Details(description=options.description, tags=options.tags)


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
    registry: Home = attrs.field(repr=False)
    # what an enqueue without options writes of the options, made once
    rank: int = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: RANK[self.options.priority], takes_self=True)
    )
    details: Details = attrs.field(
        init=False, repr=False, default=attrs.Factory(lambda self: _details(self.options), takes_self=True)
    )

    @property
    def middleware(self) -> tuple[Middleware, ...]:
        """What wraps every run: that of the registry where it was registered, the outermost first."""
        return self.registry.wraps

    def encode(self, payload: Any) -> str:
        """The payload object as one JSON object; `BadPayload` naming every wrong field."""
        if self.flat is not None:
            fields: dict[str, Any] = {}
            for name, kinds in self.flat:
                given = getattr(payload, name)
                if type(given) not in kinds:
                    break
                fields[name] = given
            else:
                return self._dumps(fields) if fields else "{}"
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
            if self._are_as_they_are(fields):
                return self.payload_class(**fields)
            return self.registry.converter(explain=False).structure(fields, self.payload_class)
        except Exception:
            pass
        try:
            return self.registry.converter(explain=True).structure(fields, self.payload_class)
        except Exception as error:
            raise BadPayload(self.name, _bounded(codec.problems(error))) from None

    def _are_as_they_are(self, fields: Any) -> bool:
        """Whether these JSON values are all fields of a flat payload, as they are: they need no converter."""
        flat = self.flat
        if flat is None or type(fields) is not dict or len(fields) != len(flat):
            return False
        for name, kinds in flat:
            kind = type(fields.get(name))
            if kind not in kinds or (kind is int and float in kinds):  # which becomes a float
                return False
        return True

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
