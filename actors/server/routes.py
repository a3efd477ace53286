"""From a path and a method to a call. A path without parameters wins over one with; a path with another method is a
405.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from actors.server.call import Access, Call, Handler
from actors.server.problems import Problem

_PARAMETER: Final = re.compile(r"\{(\w+)(:path)?\}")


@attrs.frozen
class Route:
    """What one method of one path leads to."""

    handler: Handler
    access: Access


class Routes:
    """All routes. `add` those without a call, too (the pages)."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        by_path: dict[str, dict[str, Route]] = {}
        for call in calls:
            by_path.setdefault(call.path, {})[call.method] = Route(call.handler, call.access)
        for path, methods in by_path.items():
            if "{" in path:
                self._patterns.append((_pattern(path), methods))
            else:
                self._fixed[path] = methods
        # the more of a path is fixed, the earlier it is tried: /queues/a/pause is no queue named a/pause
        self._patterns.sort(key=lambda found: -found[0].pattern.count("/"))

    def add(self, path: str, handler: Handler, access: Access) -> None:
        """A GET that is in no document."""
        self._fixed.setdefault(path, {})["GET"] = Route(handler, access)

    def find(self, path: str, method: str) -> tuple[Route, Mapping[str, str]]:
        """The route and the path's parameters; a 404 or a 405 when there is none. HEAD is a GET whose answer has no
        body.
        """
        methods, parameters = self._methods(path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise Problem(
                405, "wrong-method", "This path does not have that method", headers={"Allow": allowed(methods)}
            )
        return route, parameters

    def allow(self, path: str) -> str:
        """The methods of a path, for an `Allow` header; a 404 when there is no such path."""
        return allowed(self._methods(path)[0])

    def _methods(self, path: str) -> tuple[Mapping[str, Route], Mapping[str, str]]:
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed, {}
        for pattern, methods in self._patterns:
            if (found := pattern.fullmatch(path)) is not None:
                return methods, found.groupdict()
        raise Problem(404, "no-such-path", "There is no such path: GET / lists what there is", error="Not found")


def allowed(methods: Mapping[str, Route]) -> str:
    """The value of an `Allow` header."""
    words = {*methods, "OPTIONS"}
    if "GET" in words:
        words.add("HEAD")
    return ", ".join(sorted(words))


def _pattern(path: str) -> re.Pattern[str]:
    made, end = "", 0
    for found in _PARAMETER.finditer(path):
        made += re.escape(path[end : found.start()]) + (f"(?P<{found[1]}>.+)" if found[2] else f"(?P<{found[1]}>[^/]+)")
        end = found.end()
    return re.compile(made + re.escape(path[end:]), re.DOTALL)
