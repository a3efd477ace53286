"""`actors token`: made, listed, used against a running server, and revoked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

TOKEN = re.compile(r"act_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")


def test_a_running_server_knows_a_new_token_and_forgets_a_revoked_one(start: Any, in_process: Any) -> None:
    server = start()
    assert server.request("GET", "/jobs")[0] == 200
    text = in_process("token", "create", "--owner", "alice").out.strip()  # stdout holds the secret alone
    admin = in_process("token", "create", "--owner", "root", "--role", "admin").out.strip()
    assert TOKEN.fullmatch(text) and TOKEN.fullmatch(admin) and text != admin
    bearer = {"Authorization": f"Bearer {text}"}
    until(lambda: server.request("GET", "/jobs")[0] == 401)
    assert server.request("GET", "/jobs", headers=bearer)[0] == 200
    assert server.request("GET", "/queues", headers=bearer)[0] == 403
    assert server.request("GET", "/queues", headers={"Authorization": f"Bearer {admin}"})[0] == 200

    out = in_process("token", "list", "--json").out
    listed = json.loads(out)
    assert [(one["owner"], one["role"]) for one in listed] == [("alice", "user"), ("root", "admin")]
    assert text not in out and all(re.fullmatch(r"[0-9a-f]{8}", one["id"]) for one in listed)
    assert "alice" in in_process("token", "list").out

    assert in_process("token", "revoke", listed[0]["id"]).code == 0
    until(lambda: server.request("GET", "/jobs", headers=bearer)[0] == 401)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_can_not_be_is_said(in_process: Any) -> None:
    for arguments, code, word in (
        (("list",), 1, "store sqlite:///actors.db is not there"),
        (("revoke", "00000000"), 1, "store sqlite:///actors.db is not there"),
        (("create", "--owner", ""), 2, "--owner is ''"),
        (("create", "--owner", "a/b"), 2, "printable characters without /"),
        (("create",), 2, "--owner"),
        (("create", "--owner", "a", "--role", "god"), 2, "--role"),
        (("create", "--owner", "a", "--store", "memory:"), 2, "a store that lasts"),
        (("create", "--owner", "a", "--store", "nope"), 2, "--store is 'nope'"),
        (("create", "--owner", "a", "--store", "sqlite:////nope/x.db"), 1, "actors: "),
    ):
        done = in_process("token", *arguments)
        said = " ".join(done.err.replace("│", " ").split())
        assert (done.code, word in said, "Traceback" in said) == (code, True, False), (arguments, done)
