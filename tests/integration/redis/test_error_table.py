"""The table of Redis' errors against the real server: each is provoked, and leaves the store as one class.

A row says: the first word of the answer, the trouble, the class. Every row applies a plan of one INCRBY, some with a
second event that is the trouble itself. Then: the class and the word are right, the worker waits, halts or judges the
event as that class says, nothing of the plan is there, and when the trouble has passed the same increment is applied
exactly once.

Elsewhere on the real server: an outcome that is unknown (paused or killed in the middle of a script), memory that runs
out inside a plan, a script that dies half-way, each right that may be missing (test_faults), every write that a guard
refuses (test_apply), CLUSTERDOWN (test_cluster). Not provoked: MOVED, ASK and TRYAGAIN need a second node, and the last
two a slot on its way there; UNKILLABLE needs a script that has written and does not end, and that only a kill -9 of
the server would end. Those have their line in tests/unit/test_redis_errors.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import redis

from devstack.redis import SETTINGS
from logsync.core.position import Position
from logsync.core.write import Write
from logsync.errors import ConfigError, LogsyncError, StoreUnavailable, WriteRejected
from logsync.settings import Settings
from logsync.stores.redis import HSet, Incr, Redis
from tests.integration.judged import HALTS, JUDGED, WAITS, judged
from tests.integration.redis.conftest import BOOK, SINK, Server, plan
from tests.waiting import PATIENCE

MEANING = {StoreUnavailable: WAITS, ConfigError: HALTS, WriteRejected: JUDGED}
START = Position(0, 0)


class Case:
    """A sink at position 0 without content, and a plan that counts 5."""

    def __init__(self, server: Server) -> None:
        self.server, self.plain, self.store = server, server.plain, server.begun()

    def apply(self, *bad: Write) -> LogsyncError:
        made = plan(START, [Incr("n", 5)], *([list(bad)] if bad else []))
        return failing(lambda: self.store.apply(made))

    def user(self, *rights: str) -> None:
        """Make or change a user with all rights but these, and let the store be that user."""
        self.plain.acl_setuser("me", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
        self.store = self.server.store(user="me")
        self.plain.acl_setuser("me", enabled=True, keys=["*"], commands=list(rights))

    @contextmanager
    def config(self, **settings: object) -> Iterator[None]:
        before = {name: self.plain.config_get(name)[name] for name in settings}
        try:
            for name, value in settings.items():
                self.plain.config_set(name, value)
            yield
        finally:
            for name, value in before.items():
                self.plain.config_set(name, value)

    @contextmanager
    def replica(self) -> Iterator[None]:
        """Of a server that is nowhere."""
        self.plain.replicaof("127.0.0.1", "1")
        try:
            yield
        finally:
            self.plain.replicaof("NO", "ONE")


def failing(call: Callable[[], object]) -> LogsyncError:
    with pytest.raises(LogsyncError) as caught:
        call()
    return caught.value


def until(claim: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.005)


Trouble = Callable[[Case], Iterator[LogsyncError]]


@dataclass(frozen=True)
class Row:
    word: str
    error: type[LogsyncError]
    trouble: Trouble

    def __str__(self) -> str:
        return f"{self.word} {self.trouble.__name__}"


TABLE: list[Row] = []


def row(word: str, error: type[LogsyncError]) -> Callable[[Trouble], Trouble]:
    """The function yields the error while the trouble lasts."""

    def add(trouble: Trouble) -> Trouble:
        TABLE.append(Row(word, error, trouble))
        return trouble

    return add


# The server as a whole


@row("LOADING", StoreUnavailable)
def the_server_reads_its_file(case: Case) -> Iterator[LogsyncError]:
    pipe = case.plain.pipeline(transaction=False)
    for n in range(10_000):  # Redis looks up from its file every 1,024 commands
        pipe.set(f"other:{n}", n)
    pipe.execute()
    stack = case.server.stack
    stack.stop("redis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "key-load-delay", "1000")  # microseconds for each command
        starting = threading.Thread(target=stack.start, args=("redis",))
        starting.start()
        try:
            until(lambda: "LOADING" in str(failing(case.store.positions)))
            yield case.apply()
        finally:
            until(lambda: case.plain.config_set("key-load-delay", 0))
            starting.join()


@row("READONLY", StoreUnavailable)
def the_server_became_a_replica(case: Case) -> Iterator[LogsyncError]:
    with case.replica():
        yield case.apply()


@row("MASTERDOWN", StoreUnavailable)
def a_replica_has_lost_its_primary(case: Case) -> Iterator[LogsyncError]:
    with case.config(**{"replica-serve-stale-data": "no"}), case.replica():
        yield case.apply()


@row("NOREPLICAS", StoreUnavailable)
def too_few_replicas_are_connected(case: Case) -> Iterator[LogsyncError]:
    with case.config(**{"min-replicas-to-write": 1}):
        yield case.apply()


@row("MISCONF", StoreUnavailable)
def a_snapshot_failed(case: Case) -> Iterator[LogsyncError]:
    """As on a full disk: the process that saves is killed in the middle, which a key's delay leaves time for."""
    case.plain.set("other", 1)
    with case.config(**{"save": "3600 1", "rdb-key-save-delay": 10_000_000}):
        case.plain.bgsave()
        process = case.server.stack.servers["redis"].process
        assert process
        until(process.children)
        process.children()[0].kill()
        until(lambda: case.plain.info("persistence")["rdb_last_bgsave_status"] == "err")
        yield case.apply()


@row("OOM", StoreUnavailable)
def memory_is_full(case: Case) -> Iterator[LogsyncError]:
    with case.config(maxmemory=1_000_000):
        yield case.apply()


def _busy(plain: redis.Redis) -> bool:
    try:
        plain.get("x")
    except redis.ResponseError:
        return True
    return False


@row("BUSY", StoreUnavailable)
def another_clients_script_does_not_end(case: Case) -> Iterator[LogsyncError]:
    def run_for_ever() -> None:
        with pytest.raises(redis.ResponseError, match="killed"):
            case.server.plain.eval("while true do end", 0)

    with case.config(**{"busy-reply-threshold": 10}):
        loop = threading.Thread(target=run_for_ever)
        loop.start()
        try:
            until(lambda: _busy(case.plain))
            yield case.apply()
        finally:
            case.plain.script_kill()
            loop.join()


@row("max number of clients", StoreUnavailable)
def every_connection_is_taken(case: Case) -> Iterator[LogsyncError]:
    case.plain.ping()
    case.store.close()
    with case.config(maxclients=1):
        yield case.apply()


@row("refused", StoreUnavailable)
def nobody_listens(case: Case) -> Iterator[LogsyncError]:
    case.server.stack.stop("redis")
    try:
        yield case.apply()
    finally:
        case.server.stack.start("redis")


# What a person has to change


@row("NOAUTH", ConfigError)
def a_password_is_asked_for_and_none_given(case: Case) -> Iterator[LogsyncError]:
    with case.config(requirepass="secret"):
        yield failing(case.server.store)


@row("WRONGPASS", ConfigError)
def the_password_is_wrong(case: Case) -> Iterator[LogsyncError]:
    case.plain.acl_setuser("me", enabled=True, passwords=["+other"], keys=["*"], commands=["+@all"])
    yield failing(lambda: case.server.store(user="me"))


@row("WRONGPASS", ConfigError)
def the_user_is_deleted_while_the_worker_runs(case: Case) -> Iterator[LogsyncError]:
    case.user()
    case.plain.acl_deluser("me")  # which ends the user's connections, a moment later
    until(lambda: not [one for one in case.plain.client_list() if one["user"] == "me"])
    yield case.apply()
    case.user()


@row("NOPERM", ConfigError)
def the_right_to_run_scripts_is_missing(case: Case) -> Iterator[LogsyncError]:
    case.user("-evalsha")
    yield case.apply()
    case.user()


@row("NOPERM", ConfigError)
def the_right_to_a_key_is_missing(case: Case) -> Iterator[LogsyncError]:
    case.user()
    case.plain.acl_setuser("me", enabled=True, reset_keys=True, keys=["logsync:*"])
    yield case.apply()
    case.user()


@row("ACL", ConfigError)
def a_right_is_missing_inside_the_script(case: Case) -> Iterator[LogsyncError]:
    case.user("-hmget")
    yield case.apply()
    case.user()


@row("WRONGTYPE", ConfigError)
def the_bookkeeping_was_overwritten(case: Case) -> Iterator[LogsyncError]:
    key = f"logsync:{SINK}:positions"
    kept = case.plain.dump(key)
    case.plain.set(key, "text")
    yield case.apply()
    case.plain.restore(key, 0, kept, replace=True)


# What one event is at fault for


@row("expected a hash, found a string", WriteRejected)
def a_key_holds_another_type(case: Case) -> Iterator[LogsyncError]:
    """WRONGTYPE of a handler's key: found before the first write, so it is told in our words."""
    case.plain.set("shop:k", "text")
    yield case.apply(HSet("k", {"x": 1}))
    case.plain.delete("shop:k")


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_each_error_leaves_the_store_as_one_class_and_the_plan_can_be_applied_afterwards(
    server: Server, row: Row
) -> None:
    case = Case(server)
    with contextmanager(row.trouble)(case) as error:
        assert type(error) is row.error
        assert judged(error) == MEANING[row.error]
        assert row.word in str(error)
        assert "secret" not in str(error)
        if isinstance(error, WriteRejected):
            assert error.offset == 1
    assert server.plain.exists("shop:n") == 0
    assert case.store.positions() == {0: START}
    case.store.apply(plan(START, [Incr("n", 5)]))
    assert server.content() == {b"n": b"5"}
    assert case.store.positions()[0].next_offset == 1


def test_noscript_never_leaves_the_store(server: Server) -> None:
    """NOSCRIPT: the server lost the script and ran nothing, so its text follows at once; applied exactly once."""
    case = Case(server)
    case.plain.script_flush("SYNC")
    case.store.apply(plan(START, [Incr("n", 5)]))
    assert server.content() == {b"n": b"5"}
    case.user("-eval")  # the text may be refused, too
    case.plain.script_flush("SYNC")
    error = failing(lambda: case.store.apply(plan(Position(0, 1), [Incr("n", 5)])))
    assert (type(error), judged(error)) == (ConfigError, HALTS)
    assert "NOPERM" in str(error)
    assert server.content() == {b"n": b"5"}


def test_crossslot_halts_before_anything_is_written(node: int) -> None:
    """A cluster refuses keys of two slots; ``open`` would have seen it by the prefix, so this store does not look."""
    store = Redis(f"redis://127.0.0.1:{node}", prefix="shop:")
    store._connection = store._connect(SINK, Settings(_env_file=None))
    error = failing(lambda: store.write_book(BOOK, positions=[START]))
    assert (type(error), judged(error)) == (ConfigError, HALTS)
    assert "CROSSSLOT" in str(error)
    assert "hash tag" in error.fix
    assert store.read_book() is None
    assert redis.Redis(port=node).keys() == [f"logsync:{SINK}:evicted".encode()]  # what is noted before a first book
