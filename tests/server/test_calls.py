"""Every call of the API against a real server, over both stores."""

from __future__ import annotations

from typing import Any

import pytest
import trio

SIX = {"pending", "scheduled", "running", "completed", "failed", "cancelled"}


async def test_a_flat_job_is_accepted_runs_and_can_be_looked_at(serving: Any, store: str) -> None:
    async with serving(store) as served:
        answer = await served.call(
            "POST", "/jobs", 202, json={"type": "echo", "text": "ab", "priority": "low", "tags": ["x"]}
        )
        id = answer.json()["jobId"]
        assert answer.json() == {
            "success": True,
            "jobId": id,
            "type": "echo",
            "priority": "low",
            "status": "queued",
            "message": "Job queued for processing",
        }
        assert answer.headers["location"] == f"/jobs/{id}"
        job = await served.until(id, "completed")
        assert (job["text"], job["times"], job["data"]) == ("ab", 1, {"text": "ab", "times": 1})
        assert (job["status"], job["result"], job["progress"], job["tags"]) == ("completed", "ab", 100, ["x"])
        assert job["error"] is None and job["errors"] == [] and job["attempts"] == 0 and job["duration"] >= 0
        for name in ("createdAt", "runAt", "startedAt", "completedAt"):
            assert job[name].endswith("Z")
        status = await served.json("GET", f"/jobs/{id}/status")
        assert status == {
            "success": True,
            "job": {"id": id, "state": "completed", "progress": 100, "data": job["data"], "returnvalue": "ab"},
        }


async def test_nested_is_what_has_no_other_keys_than_type_data_and_options(serving: Any, store: str) -> None:
    async with serving(store) as served:
        body = {
            "type": "echo",
            "data": {"text": "n"},
            "options": {"priority": "critical", "maxAttempts": 7, "jobId": "mine-1"},
        }
        made = await served.json("POST", "/jobs", 202, json=body)
        assert (made["jobId"], made["priority"]) == ("mine-1", "critical")
        job = await served.until("mine-1", "completed")
        assert (job["maxAttempts"], job["text"]) == (7, "n")
        assert (await served.json("POST", "/jobs", 202, json=body))["jobId"] == "mine-1"  # a repeat is safe
        refused = await served.json("POST", "/jobs", 422, json={"type": "echo", "data": {"text": "n"}, "queue": "q"})
        assert {one["field"] for one in refused["errors"]} == {"text", "data"}  # flat: `data` is no field of echo
        await served.json("POST", "/jobs", 202, json={"type": "hold"})  # both at once: there is nothing to say


async def test_a_type_whose_fields_collide_is_nested_only_and_shown_under_data_only(serving: Any, store: str) -> None:
    async with serving(store) as served:
        refused = await served.json(
            "POST", "/jobs", 422, json={"type": "odd-fields", "priority": 3, "queue": "default"}
        )
        assert [one["field"] for one in refused["errors"]] == ["data", "id", "priority"]
        assert "nested form" in refused["detail"]
        data = {"priority": 3, "data": {"a": 1}, "id": "inner"}
        made = await served.json(
            "POST", "/jobs", 202, json={"type": "odd-fields", "data": data, "options": {"jobId": "outer"}}
        )
        job = await served.until(made["jobId"], "completed")
        assert (job["id"], job["priority"], job["data"], job["result"]) == ("outer", "normal", data, 3)
        assert (await served.json("GET", "/types/odd-fields"))["form"] == "nested"


async def test_a_batch_tells_of_each_in_its_place(serving: Any, store: str) -> None:
    async with serving(store) as served:
        body = [
            {"type": "echo", "text": "1"},
            {"type": "nope"},
            {"type": "echo", "data": {"text": 5}},
            "no job",
            {"type": "echo", "data": {"text": "2"}, "options": {"jobId": "two"}},
            {"type": "echo", "text": "other", "jobId": "two"},
        ]
        got = (await served.json("POST", "/jobs/batch", 202, json=body))["jobs"]
        assert [one["status"] for one in got] == ["enqueued", "failed", "failed", "failed", "enqueued", "failed"]
        assert set(got[0]) == {"jobId", "status"} and set(got[1]) == {"error", "status"}
        assert got[1]["error"] == "Unknown job type: nope"
        assert got[2]["error"].startswith("data.text: ")
        assert got[4]["jobId"] == "two"
        await served.until(got[0]["jobId"], "completed")
        assert (await served.json("POST", "/jobs/batch", 202, json=[])) == {"jobs": []}
        assert (await served.json("GET", "/jobs/stats"))["queue"]["enqueued"] == 2


async def test_the_same_idempotency_key_and_body_is_the_same_job(serving: Any, store: str) -> None:
    async with serving(store) as served:
        body = {"type": "echo", "text": "once"}
        key = {"Idempotency-Key": "k1"}
        first = await served.json("POST", "/jobs", 202, json=body, headers=key)
        assert await served.json("POST", "/jobs", 202, json=body, headers=key) == first
        refused = await served.json("POST", "/jobs", 409, json={"type": "echo", "text": "twice"}, headers=key)
        assert "taken" in refused["error"]
        other = await served.json("POST", "/jobs", 202, json=body, headers={"Idempotency-Key": "k2"})
        assert other["jobId"] != first["jobId"]
        batch = [body, {"type": "nope"}, body]
        one = await served.json("POST", "/jobs/batch", 202, json=batch, headers={"Idempotency-Key": "b"})
        assert one == await served.json("POST", "/jobs/batch", 202, json=batch, headers={"Idempotency-Key": "b"})
        assert one["jobs"][0] != one["jobs"][2]


async def test_a_unique_key_answers_with_the_job_that_is_there(serving: Any, store: str) -> None:
    async with serving(store) as served:
        body = {"type": "echo", "text": "a", "uniqueKey": "only", "delay": 60, "priority": "low"}
        first = await served.json("POST", "/jobs", 202, json=body)
        again = await served.json("POST", "/jobs", 202, json={**body, "text": "b", "priority": "high"})
        assert (again["jobId"], again["priority"]) == (first["jobId"], "low")


async def test_pages_and_filters(serving: Any, store: str) -> None:
    async with serving(store) as served:
        ids = [
            await served.enqueue("echo", text=str(n), delay=60, tags=["even" if n % 2 == 0 else "odd"])
            for n in range(5)
        ]
        ids.append(await served.enqueue("fail", delay=60))
        seen: list[str] = []
        after = None
        while True:
            page = await served.json("GET", "/jobs", params={"limit": 2, **({} if after is None else {"after": after})})
            seen += [job["id"] for job in page["jobs"]]
            assert len(page["jobs"]) <= 2
            if (after := page["after"]) is None:
                break
        assert seen == ids[::-1]
        assert len((await served.json("GET", "/jobs?tag=even"))["jobs"]) == 3
        assert len((await served.json("GET", "/jobs?type=fail"))["jobs"]) == 1
        assert len((await served.json("GET", "/jobs?state=scheduled,pending"))["jobs"]) == 6
        assert (await served.json("GET", "/jobs?state=dead"))["jobs"] == []
        assert (await served.json("GET", "/jobs?queue=other"))["jobs"] == []
        assert (await served.json("GET", "/jobs?owner=nobody"))["jobs"] == []


async def test_cancel_retry_and_promote_follow_the_states(serving: Any, store: str) -> None:
    async with serving(store) as served:
        later = await served.enqueue("echo", text="x", delay=3600)
        assert (await served.json("POST", f"/jobs/{later}/promote"))["success"] is True
        await served.until(later, "completed")
        refused = await served.json("DELETE", f"/jobs/{later}", 409)
        assert refused["error"] == f"Job {later} is completed: it cannot be cancelled"
        await served.call("POST", f"/jobs/{later}/promote", 409)
        await served.call("POST", f"/jobs/{later}/retry", 409)

        waiting = await served.enqueue("echo", text="x", delay=3600)
        gone = await served.json("DELETE", f"/jobs/{waiting}")
        assert (gone["state"], gone["status"]) == ("cancelled", "cancelled")
        assert (await served.json("POST", f"/jobs/{waiting}/retry"))["state"] == "pending"
        await served.until(waiting, "completed")

        held = await served.enqueue("hold")
        await served.doors.started.wait()
        job = await served.json("GET", f"/jobs/{held}")
        assert (job["state"], job["status"]) == ("running", "running")
        assert (await served.json("DELETE", f"/jobs/{held}", 202))["state"] == "running"
        await served.until(held, "cancelled")


async def test_stats_add_up(serving: Any, store: str) -> None:
    async with serving(store) as served:
        empty = await served.json("GET", "/jobs/stats")
        assert empty["queue"]["successRate"] == "0.0"
        for n in range(3):
            await served.until(await served.enqueue("echo", text=str(n)), "completed")
        await served.until(await served.enqueue("fail"), "dead")
        await served.enqueue("echo", text="later", delay=60)
        stats = await served.json("GET", "/jobs/stats")
        queue = stats["queue"]
        assert queue["pending"] == {"total": 0, "critical": 0, "high": 0, "normal": 0, "low": 0}
        assert (queue["completed"], queue["failed"], queue["scheduled"], queue["running"]) == (3, 1, 1, 0)
        assert (queue["enqueued"], queue["processed"], queue["successRate"]) == (5, 4, "75.0")
        assert set(stats["queues"]["default"]) == SIX
        assert stats["worker"]["isRunning"] is True and stats["worker"]["activeJobs"] == 0
        assert len(stats["workers"]) == 2 and stats["worker"]["processedJobs"] >= 4


async def test_pending_jobs_are_counted_by_priority(serving: Any) -> None:
    async with serving("memory:") as served:
        await served.call("POST", "/queues/default/pause")
        for priority, number in (("critical", 1), ("high", 2), ("normal", 3), ("low", 4)):
            for _ in range(number):
                await served.enqueue("echo", text="x", priority=priority)
        pending = (await served.json("GET", "/jobs/stats"))["queue"]["pending"]
        assert pending == {"total": 10, "critical": 1, "high": 2, "normal": 3, "low": 4}


async def test_completed_and_failed_are_newest_first(serving: Any, store: str) -> None:
    async with serving(store) as served:
        done = []
        for n in range(3):
            done.append(await served.enqueue("echo", text=str(n)))
            await served.until(done[-1], "completed")
        dead = await served.enqueue("fail")
        await served.until(dead, "dead")
        assert [job["id"] for job in (await served.json("GET", "/jobs/completed?limit=2"))["jobs"]] == done[:0:-1]
        (failed,) = (await served.json("GET", "/jobs/failed"))["jobs"]
        assert (failed["id"], failed["status"], failed["error"]) == (dead, "failed", "ValueError: on purpose")
        assert [error["attempt"] for error in failed["errors"]] == [1, 2]
        assert "Traceback" in failed["errors"][0]["traceback"]


async def test_dead_letters_are_listed_searched_retried_and_deleted(serving: Any, store: str) -> None:
    async with serving(store) as served:
        ids = [await served.enqueue("fail", why=f"reason {n}") for n in range(3)]
        for id in ids:
            await served.until(id, "dead")
        letters = (await served.json("GET", "/dead-letters"))["deadLetters"]
        assert {letter["job"]["id"] for letter in letters} == set(ids)
        assert all(letter["failedAt"] and letter["error"].startswith("ValueError: reason") for letter in letters)
        assert len((await served.json("GET", "/dead-letters?text=reason 1"))["deadLetters"]) == 1
        assert len((await served.json("GET", "/dead-letters?limit=2"))["deadLetters"]) == 2
        assert (await served.json("GET", "/dead-letters?type=echo"))["deadLetters"] == []

        assert (await served.json("POST", f"/dead-letters/{ids[0]}/retry"))["jobId"] == ids[0]
        await served.until(ids[0], "dead")
        assert len((await served.json("GET", f"/jobs/{ids[0]}"))["errors"]) == 4  # the history stays
        assert (await served.json("DELETE", f"/dead-letters/{ids[1]}")) == {"success": True, "jobId": ids[1]}
        await served.call("GET", f"/jobs/{ids[1]}", 404)
        await served.call("DELETE", f"/dead-letters/{ids[1]}", 404)
        assert (await served.json("POST", "/dead-letters/retry", json={"type": "echo"})) == {
            "success": True,
            "retried": 0,
        }
        assert (await served.json("POST", "/dead-letters/retry"))["retried"] == 2
        fine = await served.enqueue("echo", text="x")
        await served.until(fine, "completed")
        await served.call("POST", f"/dead-letters/{fine}/retry", 409)
        await served.call("DELETE", f"/dead-letters/{fine}", 409)


async def test_a_job_is_put_on_a_schedule_run_changed_paused_and_removed(serving: Any, store: str) -> None:
    async with serving(store) as served:
        body = {"name": "night", "schedule": "30 2 * * *", "tz": "Europe/Berlin", "type": "echo", "data": {"text": "z"}}
        answer = await served.call(
            "POST", "/scheduler", 201, json={**body, "options": {"tags": ["cron"]}, "catchUp": "none"}
        )
        assert answer.headers["location"] == "/scheduler/night"
        assert answer.json()["runCount"] == 0
        assert (await served.json("POST", "/scheduler", 409, json=body))["error"].startswith("A task named night")
        assert await served.json("POST", "/scheduler/night/run") == {"success": True, "task": "night"}
        (job,) = (await served.json("GET", "/jobs?tag=cron"))["jobs"]
        await served.until(job["id"], "completed")
        listed = await served.json("GET", "/scheduler")
        assert (listed["isRunning"], listed["taskCount"]) == (True, 1)
        (task,) = listed["tasks"]
        assert (task["name"], task["schedule"], task["runCount"], task["errorCount"]) == ("night", "30 2 * * *", 1, 0)
        assert task["lastRun"] and task["nextRun"] and "lastError" not in task
        changed = await served.json("PATCH", "/scheduler/night", json={"schedule": {"every": 3600}, "paused": True})
        assert (changed["schedule"], changed["paused"], changed["nextRun"]) == ("every 3600 s", True, None)
        assert "paused" not in await served.json("PATCH", "/scheduler/night", json={"paused": False})
        assert (await served.json("GET", "/scheduler/night"))["schedule"] == "every 3600 s"
        assert await served.json("DELETE", "/scheduler/night") == {"success": True, "task": "night"}
        gone = await served.json("POST", "/scheduler/night/run", 404)
        assert gone["error"] == "Task not found: night"


async def test_a_task_that_runs_is_not_run_a_second_time(serving: Any, store: str) -> None:
    async with serving(store) as served:
        await served.call("POST", "/scheduler", 201, json={"name": "h", "schedule": "@daily", "type": "hold"})
        await served.call("POST", "/scheduler/h/run")
        await served.doors.started.wait()
        refused = await served.json("POST", "/scheduler/h/run", 409)
        assert "h" in refused["error"]
        assert (await served.json("GET", "/scheduler/h"))["isRunning"] is True


async def test_a_callable_on_a_schedule_runs_by_hand(serving: Any) -> None:
    async with serving("memory:") as served:
        ran = trio.Event()

        async def health_log() -> None:
            ran.set()

        await served.system.schedule("health_log", "* * *", health_log)
        assert (await served.json("GET", "/scheduler"))["tasks"][0]["schedule"] == "* * *"
        await served.call("POST", "/scheduler/health_log/run")
        await ran.wait()


async def test_types_tell_their_schema_and_defaults(serving: Any) -> None:
    async with serving("memory:") as served:
        assert "webhook" in (await served.json("GET", "/types"))["types"]
        echo = await served.json("GET", "/types/echo")
        assert echo["schema"]["properties"] == {"text": {"type": "string"}, "times": {"type": "integer", "default": 1}}
        assert echo["schema"]["required"] == ["text"] and echo["schema"]["additionalProperties"] is False
        assert (echo["form"], echo["defaults"]["maxAttempts"]) == ("flat", 3)
        webhook = await served.json("GET", "/types/webhook")
        assert webhook["schema"]["properties"]["url"] == {"type": "string"}
        assert (webhook["defaults"]["maxAttempts"], webhook["defaults"]["priority"]) == (5, "high")
        assert (await served.json("GET", "/types/geo/place:1"))["schema"]["$defs"]["Point"]["required"] == ["x"]
        assert "echo" in (await served.json("GET", "/types/nope", 404))["registeredTypes"]


async def test_queues_are_paused_resumed_and_resized(serving: Any, store: str) -> None:
    async with serving(store, queues={"default": 2, "a/b": 1}) as served:
        names = [queue["name"] for queue in (await served.json("GET", "/queues"))["queues"]]
        assert names == ["a/b", "default"]
        paused = await served.json("POST", "/queues/a/b/pause")
        assert paused == {"success": True, "queue": "a/b", "paused": True}
        id = await served.enqueue("echo", text="x", queue="a/b")
        assert (await served.json("GET", f"/jobs/{id}"))["state"] == "pending"
        await served.call("POST", "/queues/a/b/resume")
        await served.until(id, "completed")
        assert (await served.json("PATCH", "/queues/default", json={"workers": 5}))["workers"] == 5
        for method, path in (
            ("POST", "/queues/nope/pause"),
            ("POST", "/queues/nope/resume"),
            ("PATCH", "/queues/nope"),
        ):
            assert (await served.json(method, path, 404, json={"workers": 1}))["error"] == "Queue not found: nope"
        await served.enqueue("echo", text="x", queue="elsewhere")
        assert (await served.json("PATCH", "/queues/elsewhere", 409, json={"workers": 1}))["type"].endswith(
            "not-served"
        )


async def test_health_index_and_pages_answer(serving: Any, store: str) -> None:
    async with serving(store) as served:
        assert await served.json("GET", "/healthz") == {"status": "ok"}
        assert await served.json("GET", "/readyz") == {"status": "ready"}
        index = await served.json("GET", "/")
        assert {"method": "POST", "path": "/jobs", "summary": "Enqueue a job"} in index["calls"]
        for path, kind in (
            ("/docs", "text/html"),
            ("/docs/docs.js", "text/javascript"),
            ("/docs/docs.css", "text/css"),
        ):
            page = await served.http.get(path)
            assert page.status_code == 200 and page.headers["content-type"].startswith(kind)
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert "http://" not in page.text and "https://" not in page.text  # works without the internet
        head = await served.http.head("/jobs/stats")
        assert head.status_code == 200 and head.content == b""


@pytest.mark.parametrize("path", ["/jobs", "/jobs/stats", "/types", "/scheduler", "/queues", "/dead-letters"])
async def test_answers_are_not_kept_and_not_sniffed(serving: Any, path: str) -> None:
    async with serving("memory:") as served:
        answer = await served.call("GET", path)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


@pytest.mark.parametrize("name", ["Łódź 5%", "日本", "a?b#c", "🎉", "nightly"])
async def test_a_schedule_of_any_name_is_found_where_the_answer_says(serving: Any, name: str) -> None:
    """A name beyond Latin-1 was created, and answered with a 500."""
    async with serving("memory:") as served:
        body = {"name": name, "schedule": "@daily", "type": "echo", "data": {"text": "x"}}
        made = await served.call("POST", "/scheduler", 201, json=body)
        assert (await served.json("GET", made.headers["location"]))["name"] == name
        await served.call("DELETE", made.headers["location"])
