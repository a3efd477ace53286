"""The registry of the ready-made job types: names, defaults and descriptions are here, bodies elsewhere."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from actors import JobContext, Registry
from actors.jobs.cleanup import Cleanup
from actors.jobs.send_email import SendEmail
from actors.jobs.settings import Settings
from actors.jobs.tools import Tools, at_hand
from actors.jobs.webhook import Url, Webhook, check_url

EMAIL_TIMEOUT: Final = 300.0
"""Seconds for a whole attempt: `email_timeout` bounds each step, and a server that answers byte by byte makes
many of them."""


def registry(settings: Settings = Settings(), *, rng: random.Random | None = None) -> Registry:
    """A new registry with `send_email`, `webhook` and `cleanup` by these settings; include it in your own, or
    serve it as it is.

    `rng` drives the simulated mail transport; give one with a seed to replay it.
    """
    made = Registry()
    tools = Tools(settings, rng or random.Random())

    @made.middleware
    async def with_tools(ctx: JobContext, run: Callable[[], Awaitable[Any]]) -> Any:
        with at_hand(tools):
            return await run()

    def checked(given: Any) -> Url:
        if not isinstance(given, str):
            raise TypeError(f"expected a string, not {type(given).__name__}")
        check_url(given, settings.webhook_allow)
        return Url(given)

    made.hook(Url, structure=checked, unstructure=str)
    made.job(
        type="send_email",
        max_attempts=3,
        timeout=EMAIL_TIMEOUT,
        description="Send a plain-text mail by SMTP, or simulate it where no server is set.",
    )(SendEmail)
    made.job(
        type="webhook",
        max_attempts=5,
        priority="high",
        description="POST a payload as JSON to a public address; anything but 2xx is a failure.",
    )(Webhook)
    made.job(
        type="cleanup",
        max_attempts=1,
        priority="low",
        description="Delete files older than maxAgeDays below the configured roots.",
    )(Cleanup)
    return made
