"""The calls that explain the others: the index, the OpenAPI document, and the page that shows it."""

from __future__ import annotations

from functools import cache
from importlib import metadata, resources
from typing import Final

from starlette.responses import Response

from actors.server.ask import Ask, answer
from actors.server.call import TEXT, Call, list_of, obj
from actors.server.openapi import openapi

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@cache
def version() -> str:
    """The installed version of this distribution."""
    try:
        return metadata.version("trio-actors")
    except metadata.PackageNotFoundError:
        return "0"


async def page(ask: Ask) -> Response:
    """`GET /docs`."""
    return _file("docs.html", "text/html")


async def script(ask: Ask) -> Response:
    """`GET /docs/docs.js`."""
    return _file("docs.js", "text/javascript")


async def style(ask: Ask) -> Response:
    """`GET /docs/docs.css`."""
    return _file("docs.css", "text/css")


@cache
def _text(name: str) -> str:
    return (resources.files("actors.server") / "page" / name).read_text("utf-8")


def _file(name: str, media_type: str) -> Response:
    return Response(_text(name), 200, _PAGE_HEADERS, media_type)


PAGES: Final = (("/docs", page), ("/docs/docs.js", script), ("/docs/docs.css", style))
"""What a browser loads without a token: it holds nothing but the page itself."""


def calls(others: tuple[Call, ...]) -> tuple[Call, ...]:
    """The calls that tell of `others`, and of themselves."""

    async def index(ask: Ask) -> Response:
        listed = [{"method": call.method, "path": call.shown, "summary": call.summary} for call in everything]
        return answer(
            {
                "name": "trio-actors",
                "version": version(),
                "docs": "/docs",
                "openapi": "/openapi.json",
                "calls": listed,
            }
        )

    async def document(ask: Ask) -> Response:
        return answer(openapi(everything, ask.system.registry, version()))

    made = (
        Call(
            method="GET",
            path="/",
            handler=index,
            summary="What this server offers",
            tag="about",
            answer=obj(
                {"name": TEXT, "version": TEXT, "docs": TEXT, "openapi": TEXT, "calls": list_of({"type": "object"})}
            ),
        ),
        Call(
            method="GET",
            path="/openapi.json",
            handler=document,
            summary="This API as an OpenAPI 3.1 document",
            tag="about",
            answer={"type": "object"},
        ),
    )
    everything = (*others, *made)
    return made
