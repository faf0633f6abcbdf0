"""An instance id is the same for a successor, never the same for two, and never in the way. # F3"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from logsync.log import instance as module
from logsync.log.instance import Instance, take


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the locks of this test are. Also on systems that tell no boot id."""
    boot = tmp_path / "boot"
    boot.write_text("this boot\n")
    monkeypatch.setattr(module, "BOOT", boot)
    monkeypatch.setattr(module, "_told", set())
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    return tmp_path / f"logsync-{os.geteuid()}"


def taken(servers: str = "kafka:9092") -> Instance:
    found = take("logsync.test.db", servers, "shop")
    assert found is not None
    return found


@contextmanager
def child(*, keeps: bool = False) -> Iterator[tuple[int, str]]:
    """A process that took an id, or (``keeps``) that only inherits; it waits to be killed. Its pid and its id."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            made = None if keeps else take("logsync.test.db", "kafka:9092", "shop")
            os.write(writing, (made.id if made else "-").encode())
            signal.pause()
        finally:
            os._exit(1)
    try:
        yield pid, os.read(reading, 200).decode()
    finally:
        os.close(reading)
        os.close(writing)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_two_at_once_have_two_ids_and_the_lowest_that_is_free_is_taken() -> None:
    first, second, third = taken(), taken(), taken()
    assert [found.number for found in (first, second, third)] == [0, 1, 2]
    assert len({first.id, second.id, third.id}) == 3
    second.close()
    again = taken()
    assert (again.number, again.id) == (1, second.id)
    second.close()  # once more: the number is another's now
    assert taken().number == 3
    for found in (first, third, again):
        found.close()


def test_the_successor_of_a_process_that_was_killed_has_its_id() -> None:
    with child() as (_, name):
        beside = taken()
        assert beside.id != name
    successor = taken()
    assert successor.id == name
    beside.close()
    successor.close()


def test_a_forked_child_does_not_hold_the_lock_of_its_parent() -> None:
    mine = taken()
    with child(keeps=True):
        mine.close()
        again = taken()
        assert again.id == mine.id
        again.close()


def test_groups_of_one_name_on_two_clusters_do_not_take_numbers_from_each_other() -> None:
    here, there = taken(), taken("elsewhere:9092")
    assert (here.number, there.number) == (0, 0)
    assert here.id != there.id
    here.close()
    there.close()


def test_another_boot_and_another_folder_make_another_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = taken()
    first.close()
    (tmp_path / "boot").write_text("another boot\n")
    second = taken()
    second.close()
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "other"))
    third = taken()
    third.close()
    assert len({first.id, second.id, third.id}) == 3


def test_a_lock_file_that_was_deleted_while_it_was_held_gives_nobody_its_id(folder: Path) -> None:
    held = taken()
    for path in folder.iterdir():
        path.unlink()
    other = taken()
    assert (other.number, other.id != held.id) == (0, True)
    held.close()
    other.close()


def test_the_lock_of_a_file_that_is_deleted_meanwhile_does_not_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between open and flock a cleaner removes it: the next process would make another file, and lock that."""
    real = os.utime
    gone: list[Path] = []

    def cleaned(file: int) -> None:
        real(file)
        if not gone:
            gone.extend(folder.iterdir())
            gone[0].unlink()

    monkeypatch.setattr("os.utime", cleaned)
    found = taken()
    assert gone
    assert os.stat(gone[0]).st_ino == os.fstat(found._file or -1).st_ino
    found.close()


def test_the_folder_is_nobody_else_s(folder: Path) -> None:
    taken().close()
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trouble", ["open", "link", "file", "missing", "lock is a link", "no flock", "full"])
def test_without_a_place_for_its_lock_a_worker_has_no_id_and_says_so_once(
    trouble: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if trouble == "open":
        folder.mkdir()
        folder.chmod(0o770)
    elif trouble == "link":
        (tmp_path / "target").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "target")
    elif trouble == "file":
        folder.touch()
    elif trouble == "missing":
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nothing"))
    elif trouble == "lock is a link":
        taken().close()
        (lock,) = folder.iterdir()
        lock.unlink()
        lock.symlink_to(tmp_path / "boot")
    elif trouble == "no flock":

        def refused(*_: object) -> None:
            raise OSError(37, "No locks available")

        monkeypatch.setattr("fcntl.flock", refused)
    else:
        monkeypatch.setattr(module, "MOST", 0)
    with caplog.at_level(logging.INFO, logger="logsync.log"):
        assert take("logsync.test.db", "kafka:9092", "shop") is None
        assert take("logsync.test.db", "kafka:9092", "shop") is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert (tmp_path / "boot").read_text() == "this boot\n"


def test_a_folder_of_another_user_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(mode=0o700)
    other = os.geteuid() + 1
    folder.rename(folder.parent / f"logsync-{other}")  # made before us, under the name that is ours
    monkeypatch.setattr("os.geteuid", lambda: other)
    assert take("logsync.test.db", "kafka:9092", "shop") is None


def test_if_the_first_folder_cannot_be_used_the_one_for_temporary_files_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nothing"))
    found = taken()
    assert (tmp_path / "none" / f"logsync-{os.geteuid()}").is_dir()
    found.close()


def test_a_system_that_tells_no_boot_id_gives_none(tmp_path: Path) -> None:
    (tmp_path / "boot").unlink()
    assert take("logsync.test.db", "kafka:9092", "shop") is None
