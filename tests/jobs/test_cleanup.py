"""`cleanup` on real files: what is old goes, and nothing else, wherever links lead and whatever changes
meanwhile."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors import BadPayload, Discard
from actors.jobs import Cleanup, Settings, registry
from actors.jobs.files import Tally, locate, sweep

DAY = 86_400 * 10**9  # nanoseconds
Make = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def make(perform: Any) -> Make:
    """`make(path, days)` writes a file of 10 bytes that was last changed so many days ago."""

    def made(path: Path, days: float) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0123456789")
        when = perform.now * 1000 - round(days * DAY)
        os.utime(path, ns=(when, when))
        return path

    return made


def outcome(**given: int) -> dict[str, int]:
    return {"deleted": 0, "bytes": 0, "kept": 0, "skipped": 0, "failed": 0, **given}


async def test_old_files_go_and_young_ones_stay(perform: Any, root: Path, make: Make) -> None:
    old = [
        make(root / "a", 31),
        make(root / "sub" / "deep" / "b", 400),
        make(root / "sub" / ".hidden", 30.001),
    ]
    young = [make(root / "c", 29.999), make(root / "sub" / "d", 0), make(root / "sub" / "e", -5)]
    result = await perform(registry(Settings(cleanup_roots=[root])), Cleanup(directory=str(root)))
    assert result == outcome(deleted=3, bytes=30, kept=3)
    assert not any(path.exists() for path in old) and all(path.exists() for path in young)
    assert (root / "sub" / "deep").is_dir()


async def test_the_age_is_a_setting_of_the_job(perform: Any, root: Path, make: Make) -> None:
    jobs = registry(Settings(cleanup_roots=[root]))
    make(root / "a", 3), make(root / "b", 1)
    assert (await perform(jobs, Cleanup(directory=str(root), maxAgeDays=2)))["deleted"] == 1
    assert (await perform(jobs, Cleanup(directory=str(root), maxAgeDays=0.5)))["deleted"] == 1
    make(root / "exact", 1)
    assert (await perform(jobs, Cleanup(directory=str(root), maxAgeDays=1)))["deleted"] == 0  # as old, not older


async def test_a_directory_below_a_root_is_cleaned_and_nothing_beside_it(perform: Any, root: Path, make: Make) -> None:
    inside, beside = make(root / "a" / "x", 99), make(root / "b" / "x", 99)
    lookalike = make(root.parent / "root2" / "x", 99)
    jobs = registry(Settings(cleanup_roots=[root]))
    assert (await perform(jobs, Cleanup(directory=f"{root}//a/./")))["deleted"] == 1
    assert not inside.exists() and beside.exists()
    with pytest.raises(Discard, match="not below a configured cleanup root"):
        await perform(jobs, Cleanup(directory=str(lookalike.parent)))
    assert lookalike.exists()


async def test_a_missing_directory_is_no_error(perform: Any, root: Path) -> None:
    jobs = registry(Settings(cleanup_roots=[root, root / "missing"]))
    assert await perform(jobs, Cleanup(directory=str(root / "none" / "such"))) == outcome()
    assert await perform(jobs, Cleanup(directory=str(root / "missing"))) == outcome()
    assert perform.ctx.lines == ["the directory does not exist: nothing to delete"]


async def test_without_roots_nothing_is_deleted(perform: Any, root: Path, make: Make) -> None:
    old = make(root / "a", 99)
    with pytest.raises(Discard, match="no cleanup roots are configured"):
        await perform(registry(), Cleanup(directory=str(root)))
    assert old.exists()


async def test_a_relative_directory_begins_at_the_working_directory(
    perform: Any, root: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(root / "a" / "x", 99)
    monkeypatch.chdir(root.parent)
    jobs = registry(Settings(cleanup_roots=["root"]))
    assert (await perform(jobs, Cleanup(directory="root/a")))["deleted"] == 1
    with pytest.raises(Discard):
        await perform(jobs, Cleanup(directory="."))


@pytest.mark.parametrize(
    ("directory", "days", "fields"),
    [
        ("", 30, ["directory"]),
        ("a\0b", 30, ["directory"]),
        ("/x/../etc", 30, ["directory"]),
        ("..", 30, ["directory"]),
        ("/" * 5000, 30, ["directory"]),
        ("/x", -1, ["maxAgeDays"]),
        ("/x", float("nan"), ["maxAgeDays"]),
        ("/x", float("inf"), ["maxAgeDays"]),
        ("/x", 1e18, ["maxAgeDays"]),
        ("/x", True, ["maxAgeDays"]),
        ("", -1, ["directory", "maxAgeDays"]),
    ],
)
def test_a_bad_payload_is_refused_with_every_wrong_field(directory: str, days: float, fields: list[str]) -> None:
    with pytest.raises(BadPayload) as caught:
        Cleanup(directory=directory, maxAgeDays=days)
    assert [field for field, _ in caught.value.problems] == fields
    with pytest.raises(BadPayload) as caught:
        registry().from_json("cleanup", {"directory": directory, "maxAgeDays": days})
    assert [field for field, _ in caught.value.problems] == fields


def test_the_age_is_thirty_days_where_none_is_given() -> None:
    job = registry().from_json("cleanup", {"directory": "/x"})
    assert job == Cleanup(directory="/x", maxAgeDays=30)


# Links, and what is no file


async def test_nothing_is_deleted_through_a_symlink(perform: Any, root: Path, make: Make) -> None:
    outside = make(root.parent / "outside" / "precious", 99)
    (root / "to-file").symlink_to(outside)
    (root / "to-dir").symlink_to(outside.parent)
    (root / "dangling").symlink_to(root.parent / "nothing")
    for link in root.iterdir():
        os.utime(link, ns=(0, 0), follow_symlinks=False)
    jobs = registry(Settings(cleanup_roots=[root]))
    assert await perform(jobs, Cleanup(directory=str(root))) == outcome(skipped=3)
    assert outside.exists() and len(list(root.iterdir())) == 3

    for directory in ("to-dir", "to-dir/sub", "to-file"):
        with pytest.raises(Discard, match="is a file or a symlink: expected a directory"):
            await perform(jobs, Cleanup(directory=str(root / directory)))
    assert outside.exists()


async def test_only_regular_files_are_deleted(perform: Any, root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "s"))
        for path in root.iterdir():
            os.utime(path, ns=(0, 0))
        jobs = registry(Settings(cleanup_roots=[root]))
        assert await perform(jobs, Cleanup(directory=str(root))) == outcome(skipped=2)
        assert len(list(root.iterdir())) == 2


async def test_a_root_may_itself_be_reached_through_a_symlink(perform: Any, root: Path, make: Make) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    jobs = registry(Settings(cleanup_roots=[link]))
    for directory in (link, root):
        make(root / "sub" / "x", 99)
        assert (await perform(jobs, Cleanup(directory=str(directory / "sub"))))["deleted"] == 1


def test_a_directory_that_becomes_a_symlink_meanwhile_leads_nowhere(root: Path, make: Make) -> None:
    """The race, made sure: `sub` was listed as a directory, and is a link by the time it is opened."""
    outside = make(root.parent / "outside" / "precious", 99)
    make(root / "sub" / "x", 99)
    calls = 0

    def replace(tally: Tally) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # after the listing, before the step down
            (root / "sub").rename(root.parent / "moved")
            (root / "sub").symlink_to(outside.parent)

    tally = sweep(str(root), (), 2**62, replace)
    assert calls == 2 and tally is not None
    assert (tally.deleted, tally.skipped) == (0, 1)
    assert outside.exists()


def test_a_directory_that_is_moved_meanwhile_does_not_lead_out(root: Path, make: Make) -> None:
    outside = make(root.parent / "precious", 99)
    make(root / "sub" / "deep" / "x", 99)

    def replace(tally: Tally) -> None:
        if (root / "sub").exists() and tally.deleted == 0 and len(os.listdir(root / "sub")) == 1:
            (root / "sub").rename(root.parent / "moved")

    sweep(str(root), (), 2**62, replace)
    assert outside.exists()


def test_what_somebody_else_deletes_meanwhile_is_no_error(root: Path, make: Make) -> None:
    for n in range(5):
        make(root / f"{n}", 99)
    make(root / "sub" / "x", 99)

    def race(tally: Tally) -> None:
        for path in root.iterdir():
            if path.is_file():
                path.unlink()
        if (root / "sub").exists():
            (root / "sub" / "x").unlink()
            (root / "sub").rmdir()

    tally = sweep(str(root), (), 2**62, race)
    assert tally is not None and (tally.deleted, tally.failed) == (0, 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may delete everything")
async def test_what_can_not_be_deleted_is_counted_as_an_ordinary_user(perform: Any, root: Path, make: Make) -> None:
    make(root / "locked" / "x", 99)
    (root / "locked").chmod(0o500)
    result = await perform(registry(Settings(cleanup_roots=[root])), Cleanup(directory=str(root)))
    (root / "locked").chmod(0o700)
    assert result == outcome(failed=1)


async def test_what_can_not_be_deleted_is_counted_and_told(
    perform: Any, root: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(root / "a", 99), make(root / "b", 99)
    real = os.unlink

    def unlink(name: str, *, dir_fd: int) -> None:
        if name == "a":
            raise PermissionError(1, "Operation not permitted")  # an immutable file
        real(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    result = await perform(registry(Settings(cleanup_roots=[root])), Cleanup(directory=str(root)))
    monkeypatch.undo()
    assert result == outcome(deleted=1, bytes=10, failed=1)
    assert perform.ctx.lines == ["1 could not be deleted, the first one 'a': Operation not permitted"]


def test_a_tree_without_end_is_left_at_a_depth_and_no_descriptor_stays_open(root: Path, make: Make) -> None:
    deep = root
    for _ in range(150):
        deep = deep / "d"
    make(deep / "x", 99)
    before = len(os.listdir("/proc/self/fd"))
    tally = sweep(str(root), (), 2**62, lambda tally: None)
    assert tally is not None and (tally.deleted, tally.skipped) == (0, 1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_other_file_systems_are_left_alone() -> None:
    """`/dev/shm` is one below `/dev`; only a file from before 1970 is old enough to be deleted here."""
    if os.stat("/dev").st_dev == os.stat("/dev/shm").st_dev:
        pytest.skip("/dev/shm is no file system of its own")
    path = Path(f"/dev/shm/actors-cleanup-test-{os.getpid()}")
    path.write_bytes(b"x")
    try:
        os.utime(path, ns=(-1, -1))
        there, below = sweep("/dev/shm", (), -1, lambda tally: None), sweep("/dev", (), 0, lambda tally: None)
        assert there is not None and there.kept > 0
        assert below is not None and below.deleted == 0
        assert path.exists()
        there = sweep("/dev/shm", (), 0, lambda tally: None)
        assert there is not None and there.deleted == 1
    finally:
        path.unlink(missing_ok=True)


# In a system


async def test_cancelling_stops_before_the_next_file(perform: Any, root: Path, make: Make) -> None:
    for n in range(2000):
        make(root / f"{n}", 99)
    jobs = registry(Settings(cleanup_roots=[root]))
    with trio.CancelScope() as scope:
        scope.cancel()
        await perform(jobs, Cleanup(directory=str(root)))
    assert scope.cancelled_caught
    assert len(list(root.iterdir())) == 2000


async def test_cancelling_in_the_middle_keeps_the_rest(root: Path, make: Make) -> None:
    for n in range(10):
        make(root / f"{n}", 99)
    with trio.CancelScope() as scope:

        def pause(tally: Tally) -> None:
            if tally.deleted == 4:
                trio.from_thread.run_sync(scope.cancel)
            trio.from_thread.check_cancelled()

        await trio.to_thread.run_sync(sweep, str(root), (), 2**62, pause)
    assert scope.cancelled_caught
    assert len(list(root.iterdir())) == 6


async def test_progress_is_told_now_and_then(
    perform: Any, root: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.jobs.cleanup._TOLD_EVERY", -1.0)
    make(root / "a", 99), make(root / "b", 1), make(root / "c", 99)
    await perform(registry(Settings(cleanup_roots=[root])), Cleanup(directory=str(root)))
    assert [done for done, _ in perform.ctx.told] == [0, 1, 2]


# Where a directory lies


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "a b", "ä"]), max_size=6).map("/".join))
def test_a_located_directory_is_its_root_and_parts_below_it(text: str) -> None:
    found = locate("/r/s/" + text, ["/r/s", "/r/s/a", "/other"])
    path = os.path.normpath("/r/s/" + text)
    if found is None:
        assert path != "/r/s" and not path.startswith("/r/s/")
        return
    root, parts = found
    assert os.path.join(root, *parts) == path
    assert not {"", ".", ".."} & set(parts)
    assert root == ("/r/s/a" if path == "/r/s/a" or path.startswith("/r/s/a/") else "/r/s")
