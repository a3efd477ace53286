"""The function library: its text, its name, and how it gets to the server.

Its name carries a digest of its text, so the programs of two releases live side by side on one server, each with the
library that it was made for. What they share is the data, and its `SCHEMA`.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any, Final

from coredis import exceptions

from actors.store.port import LOG_KEPT, LOG_STEPS

SCHEMA: Final = 1  # of the data; a program that finds a higher one does not touch it

_PARTS: Final = (  # each uses what those before it define
    "words",
    "work",
    "log",
    "schedules",
    "writes",
    "inserts",
    "removals",
    "takes",
    "commit",
    "holders",
    "find",
    "counts",
    "functions",
)
_ROOM: Final = files("actors.store.redis").joinpath("lua")
_TEXT: Final = (
    "\n".join(_ROOM.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in _PARTS)
    .replace("%LOG_STEPS%", str(LOG_STEPS))
    .replace("%LOG_LEASE%", str(round(LOG_KEPT * 1_000)))
)
NAME: Final = f"actors_{hashlib.sha256(_TEXT.encode()).hexdigest()[:12]}"
CODE: Final = f"#!lua name={NAME}\n" + _TEXT.replace("%NAME%", NAME)

Client = Any  # coredis.Redis[bytes] | coredis.RedisCluster[bytes]: no type of its own names what both can do


async def call(client: Client, function: str, prefix: str, *arguments: str | bytes | int) -> bytes:
    """The answer of a function, loading the library first where the server does not know it (any more)."""
    name = f"{NAME}_{function}"
    try:
        reply: bytes = await client.fcall(name, [prefix], arguments)
    except exceptions.ResponseError as error:
        if "not found" not in str(error).lower():
            raise
        await load(client)
        reply = await client.fcall(name, [prefix], arguments)
    return reply


async def load(client: Client) -> None:
    """Give the library to the server; another process may have been faster."""
    try:
        await client.function_load(CODE)
    except exceptions.ResponseError as error:
        if "already exists" not in str(error):
            raise
