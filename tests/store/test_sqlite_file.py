"""What file `SQLiteStore` opens, what it refuses, and what it leaves behind."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from actors.core.errors import StoreBusy, StoreError, StoreFull
from actors.core.job import NO_DETAILS, JobSpec, Standing
from actors.core.lifecycle import advance
from actors.store.port import Batch, Claim, Insert, Note, Outcome, Write
from actors.store.sqlite import SQLiteStore, faults, schema, writer

TYPES = frozenset({"noop"})


def job(id: str, *, run_at: int = 1) -> Insert:
    spec = JobSpec(id, "noop", "{}", "q", 1, 0, 3, None, 1, None, NO_DETAILS)
    return Insert(spec=spec, standing=Standing(0, "pending", 0, 0, 0, 0, run_at, None, None, None))


def claims(limit: int = 10) -> Batch:
    return Batch(now=2, claims=[Claim(queue="q", limit=limit)], types=TYPES)


@pytest.fixture(params=[False, True], ids=["threads", "inline"])
def inline(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def refusal(path: Path, inline: bool) -> str:
    store = SQLiteStore(path, inline=inline)
    with pytest.raises(StoreError) as caught:
        await store.open("h", 0)
    return str(caught.value)


async def test_a_missing_directory_is_named(tmp_path: Path, inline: bool) -> None:
    assert f"the directory {tmp_path / 'no'} of x.db does not exist" in await refusal(tmp_path / "no" / "x.db", inline)


async def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path, inline: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("my notes " * 1000)
    assert "is not a SQLite database" in await refusal(path, inline)
    assert path.read_text() == "my notes " * 1000


async def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path, inline: bool) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    before = path.read_bytes()
    assert "is the database of another program" in await refusal(path, inline)
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(tmp_path: Path, inline: bool) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path)
    await store.open("h", 0)
    await store.close("h")
    with sqlite3.connect(path) as later:
        later.execute("PRAGMA user_version = 99")
    later.close()
    assert f"schema version 99: expected at most {len(schema.MIGRATIONS)}" in await refusal(path, inline)


async def test_a_sqlite_that_is_too_old_is_named(tmp_path: Path, inline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "OLDEST", (99, 0, 0))
    message = await refusal(tmp_path / "x.db", inline)
    assert sqlite3.sqlite_version in message
    assert "99.0.0" in message


async def test_an_older_schema_is_migrated_with_its_jobs(
    tmp_path: Path, inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(tmp_path / "jobs.db", inline=inline)
    await store.open("h", 0)
    await store.commit("h", 1, Batch(now=1, inserts=[job("a")]))
    await store.close("h")
    later = (*schema.MIGRATIONS, ("CREATE TABLE news (x ANY) STRICT",))
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    await store.open("h", 0)
    assert (await store.get(["a"])).keys() == {"a"}
    await store.close("h")
    with sqlite3.connect(tmp_path / "jobs.db") as looked:
        assert looked.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        assert looked.execute("SELECT count(*) FROM news").fetchone() == (0,)
    looked.close()


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "jobs.db"
    store = SQLiteStore(path, inline=True)
    await store.open("h", 0)
    await store.close("h")
    known = schema.MIGRATIONS
    monkeypatch.setattr(schema, "MIGRATIONS", (*known, ("CREATE TABLE news (x ANY) STRICT", "no SQL")))
    await refusal(path, True)
    monkeypatch.setattr(schema, "MIGRATIONS", known)
    await store.open("h", 0)
    await store.close("h")


async def test_a_locked_database_is_busy_and_then_works(
    tmp_path: Path, inline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BUSY_SECONDS", 0.05)
    store = SQLiteStore(tmp_path / "jobs.db", inline=inline)
    await store.open("h", 0)
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy) as caught:
        await store.commit("h", 1, Batch(now=1, inserts=[job("a")]))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert await store.get(["a"]) == {}
    other.execute("ROLLBACK")
    other.close()
    await store.commit("h", 1, Batch(now=1, inserts=[job("a")]))
    assert (await store.get(["a"])).keys() == {"a"}
    await store.close("h")


async def test_a_commit_waits_for_a_short_lock(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    await store.open("h", 0)
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    done: list[Outcome] = []

    async def insert() -> None:
        done.append(await store.commit("h", 1, Batch(now=1, inserts=[job("a")])))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(insert)
        await trio.testing.wait_all_tasks_blocked()
        assert done == []  # and the loop has not been held up: this line runs
        other.execute("ROLLBACK")
    other.close()
    assert len(done) == 1
    await store.close("h")


async def test_a_full_disk_is_said_and_survived(tmp_path: Path, inline: bool) -> None:
    store = SQLiteStore(tmp_path / "jobs.db", inline=inline)
    await store.open("h", 0)
    connection = store._writer.connection  # type: ignore[union-attr]
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    big = [job(f"j{n}") for n in range(2_000)]
    with pytest.raises(StoreFull):
        await store.commit("h", 1, Batch(now=1, inserts=big))
    assert (await store.counts()).accepted == 0
    connection.execute("PRAGMA max_page_count = 1000000")
    assert (await store.commit("h", 1, Batch(now=1, inserts=big))).refused == {}
    assert (await store.counts()).accepted == 2_000
    await store.close("h")


async def test_reports_are_kept_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        store = SQLiteStore(disk / "jobs.db")
        await store.open("h", 0)
        taken = (await store.commit("h", 1, Batch(now=1, inserts=[job(f"a{n}") for n in range(300)]))).refused
        assert taken == {}
        running = (await store.commit("h", 2, claims(300))).claimed
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        tick = 3
        with pytest.raises(StoreFull):
            for tick in range(3, 10_000):
                await store.commit("h", tick, Batch(now=1, inserts=[job(f"b{tick}-{n}") for n in range(50)]))
        done = [Write(job=one, after=advance(one, "complete", 3), step="complete", result="1") for one in running]
        for write in done:
            tick += 1
            assert not (await store.commit("h", tick, Batch(now=3, writes=[write]))).lost
        (disk / "filler").unlink()
        assert (await store.commit("h", tick + 1, Batch(now=1, inserts=[job("c")]))).refused == {}
        await store.sweep(0)
        assert (disk / "jobs.db-reserve").stat().st_size > 0
        assert (await store.counts()).ended == {("q", 1, "completed"): 300}
        await store.close("h")


async def test_what_is_kept_for_reports_is_taken_by_nothing_else(tmp_path: Path) -> None:
    """Not by claims, and not by moving a long log into a database that has to grow."""
    with small_disk(tmp_path) as disk:
        store = SQLiteStore(disk / "jobs.db")
        await store.open("h", 0)
        reading = sqlite3.connect(disk / "jobs.db", isolation_level=None)
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM job").fetchall()  # the log can't be moved while this one looks
        await store.commit("h", 1, Batch(now=1, inserts=[job(f"a{n}") for n in range(5_000)]))
        running = (await store.commit("h", 2, claims(10))).claimed
        reading.close()
        with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(bytes(4096))
        done = [Write(job=one, after=advance(one, "complete", 3), step="complete", result="1") for one in running]
        for tick, write in enumerate(done, start=3):
            assert not (await store.commit("h", tick, Batch(now=3, writes=[write]))).lost
        assert (disk / "jobs.db-reserve").stat().st_size == 0
        with pytest.raises(StoreFull, match="kept for reports"):
            await store.commit("h", 13, claims(1))
        child = attrs.evolve(job("child"), group=1)  # as a job's own: it goes with its report
        assert not (await store.commit("h", 13, Batch(now=3, inserts=[child]))).refused
        (disk / "filler").unlink()
        assert len((await store.commit("h", 14, claims(1))).claimed) == 1
        assert (disk / "jobs.db-reserve").stat().st_size > 0
        await store.commit("h", 15, Batch(now=4, inserts=[job("b")]))
        assert (await store.counts()).accepted == 5_002
        await store.close("h")


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of 8 MiB. Mounting one is for root."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_the_system_s_full_disk_is_one_too() -> None:
    assert isinstance(faults.store_error(OSError(28, "No space left on device"), "x"), StoreFull)


async def test_a_claim_that_finds_nothing_writes_nothing(tmp_path: Path, inline: bool) -> None:
    store = SQLiteStore(tmp_path / "jobs.db", inline=inline)
    await store.open("h", 0)
    await store.commit("h", 1, Batch(now=1, inserts=[job("a")]))
    await store.commit("h", 2, claims())
    wal = tmp_path / "jobs.db-wal"
    before = wal.stat().st_size, wal.read_bytes()
    for tick in range(3, 50):
        outcome = await store.commit("h", tick, claims())
        assert outcome == Outcome()
    assert (wal.stat().st_size, wal.read_bytes()) == before
    await store.close("h")


async def test_a_claim_whose_answer_was_lost_is_repeated_not_made_again(tmp_path: Path, inline: bool) -> None:
    path = tmp_path / "jobs.db"
    first, second = SQLiteStore(path, inline=inline), SQLiteStore(path, inline=inline)
    await first.open("h", 0)
    await first.commit("h", 1, Batch(now=1, inserts=[job("a")]))
    outcome = await first.commit("h", 2, claims())
    # another object knows only what the file knows, as after an error of the commit itself
    await second.open("h", 0)
    assert await second.commit("h", 2, claims()) == outcome
    assert [record.id for record in outcome.claimed] == ["a"]
    await second.close("h")
    await first.close("h")


async def test_cancellation_does_not_tear_a_commit(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "jobs.db")
    await store.open("h", 0)
    answered = 0
    for tick in range(1, 30):
        with trio.CancelScope() as scope:
            scope.cancel()
            outcome = await store.commit("h", tick, Batch(now=1, inserts=[job(f"{tick}-{n}") for n in range(tick)]))
            answered += tick - len(outcome.refused)
    assert answered == sum(range(1, 30)) == (await store.counts()).accepted
    await store.close("h")


async def test_a_closed_store_says_so(tmp_path: Path, inline: bool) -> None:
    store = SQLiteStore(tmp_path / "jobs.db", inline=inline)
    with pytest.raises(StoreError, match="not open"):
        await store.commit("h", 1, Batch(now=1))
    with pytest.raises(StoreError, match="not open"):
        await store.get(["a"])
    await store.open("h", 0)
    with pytest.raises(StoreError, match="not open"):
        await store.commit("other", 1, Batch(now=1))
    await store.close("h")
    await store.close("h")


async def test_closing_ends_a_wait_for_news(tmp_path: Path, inline: bool) -> None:
    store = SQLiteStore(tmp_path / "jobs.db", inline=inline)
    await store.open("h", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.wakeup, "h")
        await trio.testing.wait_all_tasks_blocked()
        await store.close("h")


async def test_fifty_openings_leak_nothing(tmp_path: Path, inline: bool) -> None:
    store = SQLiteStore(tmp_path / "jobs.db", inline=inline)

    async def once(tick: int) -> None:
        await store.open("h", 0)
        await store.open("i", 0)
        await store.commit("h", tick, Batch(now=1, inserts=[job(f"j{tick}")]))
        await store.counts()
        await store.close("h")
        await store.close("i")

    await once(0)
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for tick in range(1, 51):
        await once(tick)
    assert threading.active_count() <= threads  # a thread kept by an earlier test may end meanwhile
    assert len(os.listdir("/proc/self/fd")) <= files
    left = sorted(path.name for path in tmp_path.rglob("*"))
    assert left == ["jobs.db"] if inline else left == ["jobs.db", "jobs.db-holders", "jobs.db-reserve"]


async def test_what_is_refused_leaks_nothing(tmp_path: Path, inline: bool) -> None:
    path = tmp_path / "x.db"
    path.write_text("no database" * 1000)
    await refusal(path, inline)
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        await refusal(path, inline)
    assert threading.active_count() <= threads  # a thread kept by an earlier test may end meanwhile
    assert len(os.listdir("/proc/self/fd")) <= files


async def test_notes_and_results_survive_a_restart(tmp_path: Path, inline: bool) -> None:
    store = SQLiteStore(tmp_path / "jobs.db", inline=inline)
    await store.open("h", 0)
    (taken,) = (
        await store.commit("h", 1, Batch(now=1, inserts=[job("a")], claims=claims().claims, types=TYPES))
    ).claimed
    await store.commit("h", 2, Batch(now=2, notes=[Note(id="a", run=1, saved="[1]")]))
    done = Write(job=taken, after=advance(taken, "complete", 3), step="complete", result="42")
    await store.commit("h", 3, Batch(now=3, writes=[done]))
    await store.close("h")
    await store.open("h", 0)
    record = (await store.get(["a"]))["a"]
    assert (record.state, record.result, record.saved_json) == ("completed", 42, "[1]")
    await store.close("h")
