"""What `actors serve` prints when it listens: where, with what, and every call, ready to be pasted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from actors import Queue
from actors.core.registry import Registry
from actors.server.call import Call
from actors.server.calls import CALLS
from actors.server.calls.about import version


def print_banner(
    url: str,
    store: str,
    queues: Mapping[str, Queue],
    registry: Registry,
    schedules: list[str],
    *,
    open: bool,
    everywhere: bool = False,
) -> None:
    """Print it to stdout; without colours where no one looks."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(f"actors {version()} listens on {url}", style="bold"))
    facts = {
        "store": without_password(store),
        "queues": ", ".join(f"{name}={queue.workers}" for name, queue in queues.items()),
        "types": ", ".join(registry),
        "schedules": ", ".join(schedules),
        "access": "anyone on this machine (no tokens yet: actors token create)"
        if open
        else f"with a token: Authorization: Bearer TOKEN{', also from other machines' if everywhere else ''}",
        "docs": f"{url}/docs",
    }
    for name, fact in facts.items():
        console.print(Text(f"  {name:<10}", style="dim").append(fact, style="default"))
    for name in registry:
        queue = registry[name].options.queue
        if queue not in queues:
            console.print(
                Text(f"  note: nobody here works on queue {queue} of {name}: add --queue {queue}=N", style="yellow")
            )
    console.print()
    width = max(len(call.summary) for call in CALLS)
    for call in CALLS:
        console.print(
            Text(f"  {call.summary:<{width}}  ", style="dim").append(curl(call, url, open=open), style="default")
        )
    console.print()
    console.print(Text("Ctrl-C stops it: running jobs may finish.", style="dim"))


def curl(call: Call, url: str, *, open: bool) -> str:
    """A command that makes the call; where a path has a parameter, its name in capitals stands for it."""
    path = call.shown
    for name in ("id", "name", "type"):
        path = path.replace("{" + name + "}", name.upper())
    words = ["curl"]
    if call.method != "GET":
        words += ["-X", call.method]
    words.append(url + path)
    if not open and call.access != "anyone":
        words += ["-H", '"Authorization: Bearer $TOKEN"']
    if call.body is not None and call.example is not None:
        words += ["-H", '"Content-Type: application/json"', "-d", shlex.quote(json.dumps(call.example))]
    return " ".join(words)


def without_password(store: str) -> str:
    """A store's URL for people to read."""
    scheme, mark, rest = store.partition("://")
    account, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{account.partition(':')[0]}:***@{host}" if at and ":" in account else store
