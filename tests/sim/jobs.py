"""The jobs of a simulated world: each run does the next of the words in its payload, under the checker's eyes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

import actors
from tests.sim.process import Process

POLICIES: Final[dict[str, actors.Exponential | actors.Fixed]] = {
    "work": actors.Exponential(2.0, factor=3.0, cap=20.0, jitter="none"),
    "equal": actors.Exponential(3.0, factor=2.0, cap=10.0, jitter="equal"),
    "full": actors.Exponential(1.0, factor=4.0, cap=30.0, jitter="full"),
    "fixed": actors.Fixed(2.5),
}
"""The back-off of each job type."""

WORDS: Final = (
    "ok", "ok", "ok", "ok", "quick", "quick", "fail", "fail", "retry after", "snooze", "discard", "cancel", "save",
    "children", "now", "stubborn", "hang", "talk",
)  # fmt: skip
POISON: Final = (*WORDS, "kill", "kill", "kill")
KILLER: Final = ("kill", "kill", "kill", "kill")
RETRY_AFTER: Final = 11.0
SNOOZE: Final = 7.0
STUBBORN: Final = 2.5  # seconds that a body may ignore that it is stopped
HANG: Final = 500.0


class Jobs:
    """The registry, and its types by name: one for each policy; all do the same."""

    def __init__(self) -> None:
        self.registry = actors.Registry()
        self.types: dict[str, Any] = {}
        for name, policy in POLICIES.items():
            self.types[name] = self.registry.job(type=name, retry=policy)(self._body())

    def _body(self) -> Callable[..., Awaitable[int]]:
        async def body(ctx: actors.JobContext, n: int, words: list[str], takes: float) -> int:
            process = ctx.resource(Process)
            with process.truth.body(process, ctx):
                await self._act(ctx, words[ctx.fence - 1] if ctx.fence <= len(words) else "ok", takes)
            return n

        return body

    async def _act(self, ctx: actors.JobContext, word: str, takes: float) -> None:
        match word:
            case "quick":
                return
            case "save":
                await ctx.save([*(ctx.state or []), ctx.fence])
            case "talk":
                ctx.progress(1, 2)
                ctx.log("half")
            case "now":
                ctx.enqueue(self.types["work"](n=0, words=["quick"], takes=0.0), now=True)
            case "kill":
                await ctx.resource(Process).be_killed()
            case "stubborn":
                with trio.CancelScope(shield=True):
                    await trio.sleep(STUBBORN)
        await trio.sleep(HANG if word == "hang" else takes)
        match word:
            case "talk":
                ctx.progress(2, 2)
            case "fail":
                raise ValueError(word)
            case "retry after":
                raise actors.Retry(after=RETRY_AFTER)
            case "snooze":
                raise actors.Snooze(SNOOZE)
            case "discard":
                raise actors.Discard("enough")
            case "cancel":
                raise actors.Cancel("stop")
            case "children":
                for name in ("work", "equal"):
                    ctx.enqueue(self.types[name](n=1, words=["ok"], takes=takes), queue="other")
