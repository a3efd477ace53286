"""`actors verify`: an audit for people and machines, beside a server that goes on working."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any


def test_a_store_in_use_is_verified_and_a_broken_one_is_found_out(start: Any, in_process: Any, tmp_path: Path) -> None:
    server = start("--email-failure-rate", "0")
    server.until(server.enqueue("cleanup", directory=str(tmp_path / "no such")), "completed", "dead")
    done = in_process("verify", "--json")
    audit = json.loads(done.out)
    assert (done.code, audit["ok"], audit["accepted"], audit["checked"]) == (0, True, 1, 1)
    assert sum(audit["states"].values()) == 1 and audit["problems"] == []
    said = in_process("verify")
    assert said.code == 0 and "everything adds up" in said.out
    with sqlite3.connect(tmp_path / "actors.db") as file:
        file.execute("UPDATE tally SET accepted = 3")
    file.close()
    done = in_process("verify")
    assert done.code == 1 and "3 jobs were accepted: expected 1" in " ".join(done.out.split())
    assert json.loads(in_process("verify", "--json").out)["found"] == 1


def test_what_is_no_store_is_said(in_process: Any) -> None:
    for store, code, word in (
        ("sqlite:///nope.db", 1, "is not there"),
        ("memory:", 2, "a store that lasts"),
        ("nope", 2, "--store is 'nope'"),
    ):
        done = in_process("verify", "--store", store)
        assert (done.code, word in " ".join(done.err.split())) == (code, True), done
