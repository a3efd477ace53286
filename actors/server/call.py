"""A call of the API as data: the router, the OpenAPI document, the index and the start banner are all made from
these.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import attrs
from starlette.responses import Response

from actors.server.ask import Ask
from actors.server.query import CURSOR_PATTERN, MOST_JOBS, TEXT_PATTERN

Schema = Mapping[str, Any]
Access = Literal["anyone", "caller", "admin"]
Handler = Callable[[Ask], Awaitable[Response]]


@attrs.frozen
class Parameter:
    """A parameter of the query string."""

    name: str
    schema: Schema
    description: str


@attrs.frozen(kw_only=True)
class Call:
    """One method of one path. `errors` are the statuses that this call adds to those that every call has."""

    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    handler: Handler
    summary: str
    tag: str
    answer: Schema
    status: int = 200
    body: Schema | None = None
    body_required: bool = True
    query: tuple[Parameter, ...] = ()
    access: Access = "caller"
    errors: tuple[int, ...] = ()
    example: Any = None  # a body to try it with

    @property
    def shown(self) -> str:
        """The path as people read it."""
        return self.path.replace(":path}", "}")


# The words of the answers' schemas


def ref(name: str) -> Schema:
    """One of the document's component schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def obj(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """An object of an answer."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }


def list_of(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    """The schema, or null."""
    if isinstance(kind := schema.get("type"), str):
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Final[Schema] = {"type": "string"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
FLAG: Final[Schema] = {"type": "boolean"}
YES: Final[Schema] = {"const": True}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}

LIMIT: Final = Parameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": MOST_JOBS, "default": 100}, "how many at most"
)
TEN: Final = Parameter(
    "limit", {"type": "integer", "minimum": 1, "maximum": MOST_JOBS, "default": 10}, "how many at most"
)
AFTER: Final = Parameter(
    "after", {"type": "string", "pattern": CURSOR_PATTERN}, "the cursor `after` of the page before"
)


def text_filter(name: str, description: str) -> Parameter:
    """A filter by a text."""
    return Parameter(name, {"type": "string", "pattern": TEXT_PATTERN}, description)
