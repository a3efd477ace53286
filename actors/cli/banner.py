"""What a command prints when it is ready: what it works with, and of `serve` every call, ready to be pasted."""

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
    print_facts(f"actors {version()} listens on {url}", facts)
    print_unworked(registry, queues)
    console = _console()
    console.print()
    width = max(len(call.summary) for call in CALLS)
    for call in CALLS:
        console.print(
            Text(f"  {call.summary:<{width}}  ", style="dim").append(curl(call, url, open=open), style="default")
        )
    console.print()
    console.print(Text("Ctrl-C stops it: running jobs may finish.", style="dim"))


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """A bold line, and a line for each fact."""
    console = _console()
    console.print(Text(title, style="bold"))
    for name, fact in facts.items():
        console.print(Text(f"  {name:<10}", style="dim").append(fact, style="default"))


def print_unworked(registry: Registry, queues: Mapping[str, Queue]) -> None:
    """A note for each type whose own queue has no workers in this process."""
    for name in registry:
        queue = registry[name].options.queue
        if queue not in queues:
            said = f"  note: nobody here works on queue {queue} of {name}: add --queue {queue}=N"
            _console().print(Text(said, style="yellow"))


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


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
