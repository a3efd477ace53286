"""Tokens, roles and owners: a user reads the same as if nobody else's jobs existed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2
import orjson
import pytest
import trio

from actors import BadOption
from actors.server import ServerSettings
from actors.server.tokens import PREFIX, make_token, match_token, tokens_in

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def seen(answer: httpx2.Response, id: str) -> tuple[int, bytes, Mapping[str, str]]:
    """All that tells one answer from another, but for the id that was asked for and the date."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "content-length")}
    return answer.status_code, answer.content.replace(id.encode(), b"ID"), headers


async def test_another_owners_job_answers_byte_for_byte_like_an_unknown_one(serving: Any, store: str) -> None:
    async with serving(store, admin=True) as served:
        alice, bob = await served.new_token("alice"), await served.new_token("bob")
        made = await served.json("POST", "/jobs", 202, json={"type": "fail"}, token=alice)
        await served.until(made["jobId"], "dead")
        known, unknown = made["jobId"], "0" * len(made["jobId"])
        for method, path in (
            ("GET", "/jobs/ID"),
            ("HEAD", "/jobs/ID"),
            ("GET", "/jobs/ID/status"),
            ("DELETE", "/jobs/ID"),
            ("POST", "/jobs/ID/retry"),
            ("POST", "/jobs/ID/promote"),
            ("POST", "/dead-letters/ID/retry"),
            ("DELETE", "/dead-letters/ID"),
        ):
            others = await served.call(method, path.replace("ID", known), 404, token=bob)
            nobodys = await served.call(method, path.replace("ID", unknown), 404, token=bob)
            assert seen(others, known) == seen(nobodys, unknown), path
        assert (await served.json("GET", f"/jobs/{known}", token=alice))["owner"] == "alice"
        assert (await served.json("GET", f"/jobs/{known}"))["owner"] == "alice"  # an administrator


async def test_lists_stats_and_dead_letters_are_the_callers_own(serving: Any, store: str) -> None:
    async with serving(store, admin=True) as served:
        alice, bob = await served.new_token("alice"), await served.new_token("bob")
        before = {path: await served.json("GET", path, token=bob) for path in ("/jobs", "/jobs/stats", "/dead-letters")}
        for type, fields in (("fail", {}), ("echo", {"text": "x"}), ("hold", {})):
            await served.call("POST", "/jobs", 202, json={"type": type, **fields}, token=alice)
        await served.doors.started.wait()
        for job in (await served.json("GET", "/jobs"))["jobs"]:
            if job["type"] != "hold":
                await served.until(job["id"], "dead" if job["type"] == "fail" else "completed")
        await served.call("POST", "/jobs", 202, json={"type": "echo", "text": "later", "delay": 60}, token=alice)

        async def counted(path: str) -> Any:
            answer = await served.json("GET", path, token=bob)
            answer.get("worker", {}).pop("timestamp", None)
            return answer

        before["/jobs/stats"]["worker"].pop("timestamp")
        for path, answer in before.items():
            assert await counted(path) == answer, path
        for path in ("/jobs/completed", "/jobs/failed", "/jobs?owner=alice", "/jobs?type=echo", "/jobs?state=running"):
            assert (await served.json("GET", path, token=bob))["jobs"] == [], path
        assert (await served.json("GET", "/dead-letters?owner=alice", token=bob))["deadLetters"] == []
        assert (await served.json("POST", "/dead-letters/retry", token=bob))["retried"] == 0
        assert (await served.json("POST", "/dead-letters/retry", token=bob, json={"owner": "alice"}))["retried"] == 0

        own = (await served.json("GET", "/jobs/stats", token=alice))["queue"]
        assert (own["completed"], own["failed"], own["running"], own["scheduled"]) == (1, 1, 1, 1)
        assert (own["enqueued"], own["processed"], own["successRate"]) == (4, 2, "50.0")
        assert len((await served.json("GET", "/jobs", token=alice))["jobs"]) == 4
        assert len((await served.json("GET", "/jobs?owner=alice"))["jobs"]) == 4
        assert (await served.json("POST", "/dead-letters/retry", token=alice))["retried"] == 1


async def test_pages_of_a_user_are_full_of_the_users_jobs(serving: Any, store: str) -> None:
    async with serving(store, admin=True) as served:
        tokens = [await served.new_token("alice"), await served.new_token("bob")]
        ids: list[list[str]] = [[], []]
        for n in range(10):
            body = {"type": "echo", "text": str(n), "delay": 60}
            ids[n % 2].append((await served.json("POST", "/jobs", 202, json=body, token=tokens[n % 2]))["jobId"])
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await served.json("GET", "/jobs?limit=2" + (f"&after={after}" if after else ""), token=tokens[0])
            assert len(page["jobs"]) == 2 or page["after"] is None
            found += [job["id"] for job in page["jobs"]]
            after = page["after"]
        assert found == ids[0][::-1]


async def test_keys_of_one_owner_are_not_those_of_another(serving: Any, store: str) -> None:
    async with serving(store, admin=True) as served:
        made = set()
        for owner in ("alice", "bob"):
            token = await served.new_token(owner)
            body = {"type": "echo", "text": "x", "uniqueKey": "k", "delay": 60}
            for headers in ({"Idempotency-Key": "i"}, {}):
                made.add((await served.json("POST", "/jobs", 202, json=body, headers=headers, token=token))["jobId"])
        assert len(made) == 2


async def test_queues_and_the_schedules_of_others_are_for_administrators(serving: Any, store: str) -> None:
    async with serving(store, admin=True) as served:
        alice, bob = await served.new_token("alice"), await served.new_token("bob")
        for method, path in (
            ("GET", "/queues"),
            ("POST", "/queues/default/pause"),
            ("POST", "/queues/default/resume"),
            ("PATCH", "/queues/default"),
        ):
            await served.call(method, path, 403, json={"workers": 0}, token=alice)
        job = {"schedule": "@daily", "type": "echo", "data": {"text": "x"}}
        await served.call("POST", "/scheduler", 201, json={"name": "mine", **job}, token=alice)
        await served.call(
            "POST", "/scheduler", 201, json={"name": "mine", **job}, token=bob
        )  # no name is taken by another
        await served.call("POST", "/scheduler", 409, json={"name": "mine", **job}, token=bob)
        await served.call("POST", "/scheduler", 201, json={"name": "ours", **job})
        assert [task["name"] for task in (await served.json("GET", "/scheduler", token=alice))["tasks"]] == ["mine"]
        assert {task["name"] for task in (await served.json("GET", "/scheduler"))["tasks"]} == {
            "alice:mine",
            "bob:mine",
            "ours",
        }
        for method, path in (
            ("POST", "/scheduler/ours/run"),
            ("DELETE", "/scheduler/ours"),
            ("GET", "/scheduler/bob:mine"),
        ):
            answer = await served.json(method, path, 404, token=alice)
            assert answer["error"] == "Task not found: " + path.split("/")[2]
        await served.call("PATCH", "/scheduler/ours", 404, json={"paused": True}, token=alice)
        await served.call("POST", "/scheduler/mine/run", token=alice)
        (made,) = (await served.json("GET", "/jobs", token=alice))["jobs"]
        assert made["owner"] == "alice"
        assert (await served.json("GET", "/jobs", token=bob))["jobs"] == []
        await served.call("PATCH", "/scheduler/mine", json={"paused": True}, token=alice)
        await served.call("DELETE", "/scheduler/mine", token=alice)
        assert (await served.json("GET", "/scheduler", token=bob))["taskCount"] == 1


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic YTpi",
        "Token x",
        "bearer nonsense",
        "Bearer act_00000000_" + "A" * 43,
        "Bearer " + "x" * 9_000,
        "Bearer \xff",
    ],
)
async def test_a_call_without_a_good_token_is_a_401(serving: Any, header: str | None) -> None:
    async with serving("memory:") as served:
        text = await served.new_token("alice")
        headers = {} if header is None else {"authorization": header.encode("latin-1")}
        with trio.fail_after(5):
            while (answer := await served.http.get("/jobs", headers=headers)).status_code == 200:
                await trio.sleep(0.05)  # tokens are read again within a second
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Bearer")
        served.check("GET", "/jobs", answer)
        if header:
            assert header[7:40] not in answer.text or len(header) < 12
        for path in ("/jobs/stats", "/types", "/scheduler", "/openapi.json", "/"):
            assert (await served.http.get(path, headers=headers)).status_code == 401
        for path in ("/healthz", "/readyz", "/docs", "/docs/docs.js"):
            assert (await served.http.get(path, headers=headers)).status_code == 200
        assert (await served.http.get("/nope", headers=headers)).status_code == 404
        await served.call("GET", "/jobs", token=text)
        two = [("authorization", f"Bearer {text}"), ("authorization", f"Bearer {text}")]
        assert (await served.http.get("/jobs", headers=two)).status_code == 401


async def test_a_revoked_token_ends_within_a_second(serving: Any) -> None:
    async with serving("memory:", admin=True) as served:
        text = await served.new_token("alice")
        await trio.sleep(1.0)
        await served.call("GET", "/jobs", token=text)
        for token in tokens_in(await served.system.settings()):
            if token.owner == "alice":
                await served.system.set_setting(PREFIX + token.digest, None)
        await trio.sleep(1.0)
        await served.call("GET", "/jobs", 401, token=text)


async def test_without_tokens_an_open_address_serves_nobody(serving: Any) -> None:
    async with serving("memory:", settings=ServerSettings(loopback_only=False)) as served:
        await served.call("GET", "/jobs", 401)  # as when the last token was revoked
        await served.call("GET", "/healthz")


def test_a_token_is_kept_as_its_hash_only() -> None:
    text, token = make_token("alice", "user", NOW)
    key, value = token.setting
    assert text not in key + value and text.split("_", 2)[2] not in key + value
    assert set(orjson.loads(value)) == {"id", "owner", "role", "createdAt"}
    assert tokens_in({key: value, "paused/x": "true"}) == [token]
    assert match_token(text, {token.id: token}) == token
    assert make_token("alice", "user", NOW)[0] != text
    assert len(text.split("_", 2)[2]) == 43  # 256 bits


def test_only_the_whole_token_opens() -> None:
    text, token = make_token("alice", "admin", NOW)
    known = {token.id: token}
    for wrong in (
        text[:-1],
        text + "A",
        text.upper(),
        "",
        " " + text,
        text.replace(token.id, "00000000"),
        f"act_{token.id}_" + "A" * 43,
    ):
        assert match_token(wrong, known) is None, wrong


def test_what_is_no_token_opens_no_door() -> None:
    _, token = make_token("alice", "user", NOW)
    key, value = token.setting
    for broken in ("", "{", "[]", "null", '{"id":1}', value.replace('"user"', '"god"')):
        assert tokens_in({key: broken}) == []


@pytest.mark.parametrize(
    ("owner", "role"), [("", "user"), ("a" * 65, "user"), ("a/b", "user"), ("a\nb", "user"), ("a", "god")]
)
def test_bad_owners_and_roles_are_refused(owner: str, role: str) -> None:
    with pytest.raises(BadOption):
        make_token(owner, role, NOW)


async def test_no_token_is_logged_or_read_from_a_url(serving: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with serving("memory:", admin=True) as served:
        text = await served.new_token("alice")
        unknown, _ = make_token("nobody", "user", NOW)
        await served.call("POST", "/jobs", 202, token=text, json={"type": "echo", "text": "x"})
        await served.call("GET", "/jobs", 401, token=unknown)
        await served.call("GET", f"/jobs?token={text}", 401, headers={"authorization": ""})
        await served.call("GET", f"/jobs?token={text}", 422, token=text)
        ours = [str(vars(record)) for record in caplog.records if record.name.startswith("actors")]  # not the client's
        assert any("/jobs" in line for line in ours)
        for given in (text, unknown):
            assert all(given.split("_", 2)[2] not in line for line in ours)
