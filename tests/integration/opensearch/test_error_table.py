"""The table of OpenSearch's errors against the real server: each is provoked, and leaves the store as one class.

A row says: the status and type of the answer, whether it is the answer to a request or to one item of a bulk, the
trouble, the class. Every row applies a plan of one addition, some with a second event that is the trouble itself.
Then: the class and the words are right, the worker waits, resumes, halts or judges the event as that class says, the
position has not moved, and when the trouble has passed the same addition is there exactly once: of a plan that failed,
documents may be ahead of the position (the store's grade), and replaying them changes nothing.

Elsewhere on the real server: timeouts and a server that is killed, which leave the outcome unknown (test_crashes), 404
for an index that is deleted (test_fences), 429 of one item, which the test puts into a real answer (test_crashes: the
server's own admission control looks at the processor of the moment, and that may be idle). Not provoked: a plain 500,
which is a fault of the server's own code; 502 and 504 of a proxy before it; 401 and 403 of the security plugin, which
the test servers do not have; 503 of an mget, because a single node takes its shards back against every rule of
allocation. Those have their line in tests/unit/test_opensearch_errors.py, over the client's own exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from logsync.core.plan import Plan
from logsync.errors import ConfigError, LogsyncError, PositionConflict, StoreUnavailable, WriteRejected
from logsync.stores.opensearch import IndexDoc
from tests.integration.judged import HALTS, JUDGED, WAITS, judged
from tests.integration.opensearch.conftest import A, B, Event, Shop, add, connected, interpose, plan, put

MEANING = {StoreUnavailable: WAITS, PositionConflict: WAITS, ConfigError: HALTS, WriteRejected: JUDGED}
WHOLE, ITEM = "/_mget", "/_bulk"
"""Where a trouble begins: before the plan's first request, or only before its documents are written."""


class Case:
    """A sink at position 0 over two empty indices, and a plan that adds 5 to one document."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.store = shop, shop.claimed()
        self.good: Event = [add("c", 5)]
        self.index = f"{shop.prefix}{A}--e1"

    def apply(self, *bad: Any, before: Callable[[], object] | None = None, at: str = WHOLE) -> LogsyncError:
        """``before``: what somebody does just before the store's next request to ``at``."""
        made: Plan = plan(0, self.good, *([list(bad)] if bad else []))
        if before:
            interpose(self.store, at, before=before)
        with pytest.raises(LogsyncError) as caught:
            self.store.apply(made)
        if before:
            del connected(self.store).client.request
        return caught.value

    def set_index(self, **settings: Any) -> None:
        self.shop.ask("PUT", f"{self.index}/_settings", {name.replace("__", "."): v for name, v in settings.items()})

    def set_cluster(self, **settings: Any) -> None:
        named = {name.replace("__", "."): value for name, value in settings.items()}
        self.shop.ask("PUT", "_cluster/settings", {"persistent": named})

    def wait(self) -> None:
        self.shop.ask("GET", f"_cluster/health/{self.index}?wait_for_status=yellow&timeout=60s")


Trouble = Callable[[Case], Iterator[LogsyncError]]


@dataclass(frozen=True)
class Row:
    words: str
    error: type[LogsyncError]
    trouble: Trouble

    def __str__(self) -> str:
        return f"{self.words} {self.trouble.__name__}"


TABLE: list[Row] = []


def row(words: str, error: type[LogsyncError]) -> Callable[[Trouble], Trouble]:
    """The function yields the error while the trouble lasts."""

    def add_row(trouble: Trouble) -> Trouble:
        TABLE.append(Row(words, error, trouble))
        return trouble

    return add_row


# 400, 413: what one document is at fault for, and what is too large for the server


@row("mapper_parsing_exception", WriteRejected)  # 400, item
def a_value_is_not_of_the_fields_type(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(put("x", "many"))


@row("strict_dynamic_mapping_exception", WriteRejected)  # 400, item
def a_field_is_not_mapped(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(IndexDoc(A, "x", {"nope": 1}))


@row("HTTP 413", WriteRejected)  # request: cut in two until the document is alone
def a_document_is_larger_than_a_request_may_be(case: Case) -> Iterator[LogsyncError]:
    yield case.apply(IndexDoc(A, "x", {"t": "x" * (101 * 2**20)}))


# 404, 409: somebody else was here


@row("index_not_found_exception", PositionConflict)  # 404, item
def the_alias_of_the_epoch_is_gone(case: Case) -> Iterator[LogsyncError]:
    """As for a worker from before a rebuild."""
    alias = {"index": case.index, "alias": f"{case.shop.prefix}{A}--w1"}
    aliases = case.shop.ask("GET", f"{case.index}/_alias")[case.index]["aliases"]
    writers = [name for name in aliases if name != f"{case.shop.prefix}{A}"]
    change = [{"remove": {**alias, "alias": name}} for name in writers]
    back = [{"add": {**alias, "alias": name, **aliases[name]}} for name in writers]
    assert change
    try:
        yield case.apply(before=lambda: case.shop.ask("POST", "_aliases", {"actions": change}), at=ITEM)
    finally:
        case.shop.ask("POST", "_aliases", {"actions": back})


@row("version_conflict_engine_exception", PositionConflict)  # 409, item
def the_position_was_written_meanwhile(case: Case) -> Iterator[LogsyncError]:
    """The documents' own 409 is success: this is that of the position, which is compared and set."""
    path = f"{case.index}/_doc/logsync-position"

    def touch() -> None:
        case.shop.ask("PUT", path, case.shop.ask("GET", path)["_source"])

    yield case.apply(before=touch, at=ITEM)


# 429: not now


@row("HTTP 429: circuit_breaking_exception", StoreUnavailable)  # request
def memory_is_full(case: Case) -> Iterator[LogsyncError]:
    try:
        case.set_cluster(network__breaker__inflight_requests__limit="1kb")
        yield case.apply(put("x", 1, B), IndexDoc(A, "y", {"t": "x" * 2000}))
    finally:
        case.set_cluster(network__breaker__inflight_requests__limit=None)


@row("cluster_block_exception", StoreUnavailable)  # 429, item: the flood stage
def the_disk_is_full(case: Case) -> Iterator[LogsyncError]:
    try:
        case.set_index(index__blocks__read_only_allow_delete=True)
        yield case.apply()
    finally:
        case.set_index(index__blocks__read_only_allow_delete=None)


# 403, 400, 503: an operator's doing, or shards that are nowhere


@row("cluster_block_exception", StoreUnavailable)  # 403, item
def an_operator_forbids_writes(case: Case) -> Iterator[LogsyncError]:
    try:
        case.set_index(index__blocks__write=True)
        yield case.apply()
    finally:
        case.set_index(index__blocks__write=None)


def _closed(case: Case, at: str) -> Iterator[LogsyncError]:
    try:
        yield case.apply(before=lambda: case.shop.ask("POST", f"{case.index}/_close"), at=at)
    finally:
        case.shop.ask("POST", f"{case.index}/_open")
        case.wait()


@row("index_closed_exception", StoreUnavailable)  # 400, item of mget
def the_index_is_closed(case: Case) -> Iterator[LogsyncError]:
    yield from _closed(case, WHOLE)


@row("index_closed_exception", StoreUnavailable)  # 400, item of bulk
def the_index_is_closed_meanwhile(case: Case) -> Iterator[LogsyncError]:
    yield from _closed(case, ITEM)


@row("unavailable_shards_exception", StoreUnavailable)  # 503, item, when the server has waited for its own timeout
def too_few_shards_are_there_to_write_to(case: Case) -> Iterator[LogsyncError]:
    case.store.close()
    case.store = case.shop.client(store_timeout=4.0)
    try:
        case.set_index(index__number_of_replicas=1, index__write__wait_for_active_shards=2)
        yield case.apply()
    finally:
        case.set_index(index__write__wait_for_active_shards=None)
        case.set_index(index__number_of_replicas=0)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_each_error_leaves_the_store_as_one_class_and_the_plan_can_be_applied_afterwards(shop: Shop, row: Row) -> None:
    case = Case(shop)
    with contextmanager(row.trouble)(case) as error:
        assert type(error) is row.error
        assert judged(error) == MEANING[row.error]
        assert row.words in str(error)
        if isinstance(error, WriteRejected):
            assert error.offset == 1
    assert case.store.positions()[0].next_offset == 0
    case.store.apply(plan(0, case.good))
    assert case.store.positions()[0].next_offset == 1
    assert shop.content(A)["c"] == {"n": 5}


def test_409_of_a_document_is_success_and_leaves_nothing_to_the_worker(shop: Shop) -> None:
    """The documents were written, the position was not: the same plan once more meets only newer documents."""
    store = shop.claimed()
    made = plan(0, [put("x", 1), add("c", 5)])
    interpose(store, "/_bulk", nth=2, before=_fail)
    with pytest.raises(StoreUnavailable, match="cut"):
        store.apply(made)
    shop.client().apply(made)
    assert shop.content(A) == {"x": {"n": 1}, "c": {"n": 5}}


def _fail() -> None:
    raise StoreUnavailable("cut")
