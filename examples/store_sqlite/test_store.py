"""The contract of a store, as claims that the kit brings along; and what only SQLite has."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from examples.store_sqlite import Delete, Increment, Sqlite, Upsert
from logsync import LogsyncError
from logsync.stores import ConfigError, Plan, Position, Store, StoreUnavailable, Write, WriteRejected
from logsync.testing.store_contract import Content, Limits, OwnProcess, Sample, StoreContract, first_book


class TestSqlite(StoreContract):
    puts, adds, deletes = Upsert, Increment, Delete
    creates = ("logsync_book", "logsync_position", "logsync_parked", "_items")
    must_prove = True

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.disk, self.away = tmp_path / "disk", tmp_path / "away"
        self.disk.mkdir()
        self.processes: list[OwnProcess] = []
        self.lock: sqlite3.Connection | None = None

    def make_store(self, sink: str) -> Store:
        table = f"{sink}_items"
        schema = f"CREATE TABLE IF NOT EXISTS {table} (k TEXT PRIMARY KEY, n INTEGER) STRICT;"
        made = OwnProcess(Sqlite(self.disk / "shop.db", schema=schema, tables=[table]))
        self.processes.append(made)
        return made.as_store()

    def writes(self, sink: str) -> Mapping[type[Write], Sample]:
        table = f"{sink}_items"
        return {
            Upsert: lambda key, n: Upsert(table, {"k": key}, {"n": n}),
            Increment: lambda key, n: Increment(table, {"k": key}, {"n": n}),
            Delete: lambda key, _: Delete(table, {"k": key}),
        }

    def content(self, sink: str) -> Content:
        table = f"{sink}_items"
        with closing(sqlite3.connect(self.disk / "shop.db")) as connection:
            rows = connection.execute(f"SELECT k, n FROM {table}").fetchall()
        return Content.of(tables={table: [{"k": k, "n": n} for k, n in rows]})

    def refused(self, sink: str) -> Write:
        return Upsert(f"{sink}_items", {"k": "x"}, {"n": "no number"})

    def kill(self) -> None:
        """The process is killed, and the disk is not there for the next one."""
        for process in self.processes:
            process.kill()
        self.disk.rename(self.away)

    def pause(self) -> None:
        """Somebody holds the lock and does not let go."""
        self.lock = sqlite3.connect(self.disk / "shop.db", isolation_level=None, check_same_thread=False)
        self.lock.execute("BEGIN IMMEDIATE")

    def restart(self) -> None:
        if self.lock is not None:
            self.lock.close()
            self.lock = None
        if self.away.exists():
            self.away.rename(self.disk)


# What only SQLite has


@pytest.mark.parametrize(
    "write",
    [
        Upsert("items", {"k": "a"}, {"x": float("nan")}),
        Upsert("items", {"k": "a"}, {"n": 2**63}),
        Upsert("items", {"k": "a"}, {"n": 1.5}),
        Upsert("items", {"k": "a"}, {"x": {"a": "dict"}}),
        Upsert("items", {"k": "a"}, {"nothing": 1}),
        Upsert("items", {"k": None}, {"n": 1}),
        Upsert("items", {"k": "a"}, {"k": "b"}),
        Upsert("items", {"n": 1}, {"x": 1.0}),
        Increment("items", {"k": "a"}, {"n": 1.5}),  # type: ignore[dict-item]
        Increment("items", {"k": "most"}, {"n": 1}),
        Delete("items", {}),
    ],
    ids=str,
)
def test_what_sqlite_would_bend_is_refused_at_its_event(tmp_path: Path, write: Write) -> None:
    schema = "CREATE TABLE IF NOT EXISTS items (k TEXT PRIMARY KEY, n INTEGER, x REAL) STRICT;"
    store = begun(Sqlite(tmp_path / "shop.db", schema=schema, tables=["items"]))
    store.apply(Plan(Position(0, 0), Position(0, 1), [Upsert("items", {"k": "most"}, {"n": 2**63 - 1})], [0]))
    with pytest.raises(WriteRejected) as caught:
        store.apply(Plan(Position(0, 1), Position(0, 8), [write], [7]))
    assert caught.value.offset == 7
    assert store.positions()[0].next_offset == 1
    store.close()


def test_a_table_that_is_not_there_is_a_mistake_of_the_set_up(tmp_path: Path) -> None:
    store = begun(Sqlite(tmp_path / "shop.db"))
    with pytest.raises(ConfigError, match="no such table"):
        store.apply(Plan(Position(0, 0), Position(0, 1), [Delete("items", {"k": 1})], [0]))
    store.close()


def test_a_folder_that_is_not_there_is_waited_for_and_a_look_creates_nothing(tmp_path: Path) -> None:
    away = Sqlite(tmp_path / "away" / "shop.db")
    with pytest.raises(StoreUnavailable):
        away.open("sink", Limits())
    assert away.inspect("sink", Limits()).findings[0].outage
    Sqlite(tmp_path / "shop.db").inspect("sink", Limits())
    assert list(tmp_path.iterdir()) == []


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """Only a power cut would show it: no kill of a process takes back what the kernel has."""
    store = begun(Sqlite(tmp_path / "shop.db"))
    assert store._connection is not None
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "shop.db").write_text("these are a few lines of text and not a database of SQLite\n" * 100)
    with pytest.raises(LogsyncError, match=r"shop\.db.*not a database"):
        Sqlite(tmp_path / "shop.db").open("sink", Limits())


def begun(store: Sqlite) -> Sqlite:
    store.open("sink", Limits())
    store.write_book(first_book("sink"), positions=[Position(0, 0)])
    return store
