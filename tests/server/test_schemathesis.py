"""schemathesis reads the server's own OpenAPI document and tries every call with what fits it and with what does not.

`--hostile=long` tries many more. The system serves no queue, so that nothing that it enqueues is ever run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import pytest
import requests
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

EXAMPLES = {"short": 15, "long": 300}  # of each call, in each mode
LONGEST = 3_600.0  # seconds
BEYOND_A_SCHEMA = {
    # fields whose rules no schema can say: what is near to now, cron, a time zone, a page's cursor, and what job types
    # check for themselves
    *("runAt", "schedule", "start", "end", "tz", "after", "name"),
    *("maxAttempts", "workers", "limit", "times", "at.x", "at.y", "priority"),  # 5.0 is an integer, for JSON Schema
    *("to", "cc", "subject", "url", "headers", "directory", "maxAgeDays"),
}


@contextmanager
def in_a_thread(serving: Any, **options: Any) -> Iterator[str]:
    """A real server in a thread of its own, as schemathesis blocks the one it is in; its URL."""
    told: SimpleQueue[Any] = SimpleQueue()

    async def main() -> None:
        stop = trio.Event()
        async with serving("memory:", queues={}, within=LONGEST, **options) as served:
            told.put((served.url, trio.lowlevel.current_trio_token(), stop))
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    url, token, stop = told.get(timeout=20)
    try:
        yield url
    finally:
        token.run_sync_soon(stop.set)
        thread.join()


class Caller:
    """Makes calls, and looks at the counts after each."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.counts = self.count()

    def count(self) -> Any:
        queue = self.session.get(f"{self.url}/jobs/stats").json()["queue"]
        ended = {name: queue[name] for name in ("enqueued", "running", "completed", "failed", "cancelled")}
        return {**ended, "waiting": queue["pending"]["total"] + queue["scheduled"]}  # what falls due moves by itself

    def try_it(self, case: Case) -> None:
        before, excluded = self.counts, list[Any]()
        answer = case.call(base_url=self.url, session=self.session)
        self.counts = self.count()
        if answer.status_code >= 400:
            said = answer.json()
            if (
                said["type"] == "urn:actors:not-json"
                or {one["field"].removeprefix("data.").removeprefix("options.") for one in said.get("errors", [])}
                & BEYOND_A_SCHEMA
            ):
                excluded.append(positive_data_acceptance)
            assert answer.status_code < 500, said
            assert said["status"] == answer.status_code and "Traceback" not in answer.text
            assert self.counts == before, "a refusal changed a count"
        if case.operation.path == "/jobs/batch":
            excluded.append(negative_data_rejection)  # of a batch, each bad item is refused in its place
        case.validate_response(answer, excluded_checks=excluded)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_call_keeps_to_its_document(serving: Any, mode: GenerationMode, pytestconfig: pytest.Config) -> None:
    examples = EXAMPLES[pytestconfig.getoption("hostile")]
    with in_a_thread(serving) as url:
        caller = Caller(url)
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        failed: list[str] = []
        for found in schema.get_all_operations():
            operation = found.ok()
            if (
                mode is GenerationMode.NEGATIVE
                and "requestBody" not in operation.definition.raw
                and not operation.query
            ):
                continue  # any text is a path: there is nothing that does not fit

            @settings(
                max_examples=examples,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.explicit, Phase.generate, Phase.target],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(mode))
            def trial(case: Case) -> None:
                caller.try_it(case)

            try:
                trial()
            except BaseException as error:
                failed.append(f"{operation.label}: {error!r} {getattr(error, 'exceptions', '')}")
        caller.session.close()
    assert not failed, "\n\n".join(failed)
