"""Every class of writes says what it means, in its law and in its page of docs/."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

from logsync.core.write import Write
from logsync.stores.memory import Memory
from logsync.stores.opensearch import OpenSearch
from logsync.stores.postgres import Postgres
from logsync.stores.postgres.coalesce import RowsRefused
from logsync.stores.postgres.statements import Tables
from logsync.stores.redis import Redis
from logsync.testing.store_contract import Sample
from logsync.writes import docs, keys, rows
from logsync.writes.content import Content
from logsync.writes.keys import ExpireAt, HDel, HSet, Incr, SAdd, Set, SRem, ZAdd, ZIncr
from logsync.writes.rows import Delete, Increment, Sql, Upsert
from tests.contract.samples import FAR, of_docs, of_keys, of_rows

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {rows: "writes-postgres.md", keys: "writes-redis.md", docs: "writes-opensearch.md"}

STORES: dict[ModuleType, type[Postgres] | type[Redis] | type[OpenSearch]] = {
    rows: Postgres, keys: Redis, docs: OpenSearch,
}  # fmt: skip


def declared(module: ModuleType) -> list[type[Write]]:
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Write)]
    return [each for each in found if each.__module__ == module.__name__ and hasattr(each, "__dataclass_fields__")]


WRITES = [(module, kind) for module in PAGES for kind in declared(module)]


@pytest.mark.parametrize(("module", "kind"), WRITES, ids=lambda each: getattr(each, "__name__", ""))
def test_every_write_has_a_row_on_its_page(module: ModuleType, kind: type[Write]) -> None:
    page = (DOCS / PAGES[module]).read_text()
    found = re.search(rf"^\| `{kind.__name__}\([^`]*\)`", page, re.MULTILINE)
    assert found, f"docs/{PAGES[module]} has no table row that begins with `{kind.__name__}(...)`"


@pytest.mark.parametrize(("module", "kind"), WRITES, ids=lambda each: getattr(each, "__name__", ""))
def test_every_write_has_a_law_and_a_target_and_its_stores_take_it(module: ModuleType, kind: type[Write]) -> None:
    store, offered = STORES[module], import_module(STORES[module].__module__.removesuffix(".store"))
    missing = {
        "its law: say in its class what it does to what stands there": kind.law is Write.law,
        "its target: say in its class what its law is about": kind.target is Write.target,
        "memory takes it": kind not in Memory.accepts,
        f"{store.__name__} takes it (accepts)": kind not in store.accepts,
        f"{offered.__name__} offers it to sinks (__all__)": kind.__name__ not in offered.__all__,
    }
    assert [what for what, lacks in missing.items() if lacks] == []


def after(*writes: Write) -> Content:
    return Content().after(writes)


KEY = {"k": 1}


def test_rows_keep_what_is_not_named_and_counters_begin_at_nothing() -> None:
    upserts = after(Upsert("t", KEY, {"a": 1, "n": 5}), Upsert("t", KEY, {"b": 2}), Increment("t", KEY, {"n": 1}))
    assert upserts.tables == {"t": [{"k": 1, "a": 1, "b": 2, "n": 6}]}
    assert after(Upsert("t", KEY, {"n": None}), Increment("t", KEY, {"n": Decimal("1.5")})).row("t", k=1) == {
        "k": 1,
        "n": Decimal("1.5"),
    }
    assert after(Upsert("t", {"k": 1, "l": 1}), Upsert("t", {"k": 1, "l": 2}), Delete("t", KEY)).tables == {"t": []}


@pytest.mark.parametrize(
    "write",
    [
        Upsert("t", {}), Upsert("t", {"k": None}), Upsert("t", KEY, {"k": 2}), Increment("t", KEY, {"n": 0.5}),  # type: ignore[dict-item]
        Increment("t", KEY, {"n": True}), Delete("t", {}), Set("k", True), Set("k", None), Incr("k", 2**63),  # type: ignore[arg-type]
        SAdd("k", "text"), HSet("k", {1: "a"}), ZAdd("k", {"a": 2**53 + 1}), Set(1, "x"),  # type: ignore[arg-type, dict-item]
    ],
    ids=str,
)  # fmt: skip
def test_what_a_store_refuses_has_no_law(write: Write) -> None:
    content = after(Upsert("t", {"k": 5}, {"n": 1}))
    before = content.plain()
    with pytest.raises((TypeError, ValueError)):
        content.carry_out(write)
    assert content.plain() == before


def test_a_key_that_lost_its_last_member_is_gone_with_its_expiry() -> None:
    gone = after(HSet("h", {"a": 1}), ExpireAt("h", FAR), HDel("h", ("a",)))
    assert (gone.keys, gone.expiries, bool(gone)) == ({}, {}, False)
    again = after(SAdd("s", (1,)), ExpireAt("s", FAR), SRem("s", (1,)), SAdd("s", (2,)))
    assert (again.keys, again.expiries) == ({"s": {"2"}}, {})


def test_a_write_that_names_nothing_does_nothing() -> None:
    assert after(HSet("k", {}), SAdd("k", ()), ZIncr("k", {}), HDel("k", ())).keys == {}
    assert after(Set("k", b"1"), SAdd("k", ()), Incr("k")).keys == {"k": "2"}


def test_statements_are_noted_and_are_no_content() -> None:
    content = after(Sql("SELECT 1"), Sql("SELECT 2"))
    assert [write.statement for write in content.statements if isinstance(write, Sql)] == ["SELECT 1", "SELECT 2"]
    assert not content


@pytest.mark.parametrize("samples", [of_rows("t"), of_keys(), of_docs("i")], ids=["rows", "keys", "docs"])
def test_no_law_changes_in_place_what_it_finds(samples: Mapping[type[Write], Sample]) -> None:
    for first, second in product(samples.values(), repeat=2):
        content = after(first("a", 1))
        before = content.plain()
        content.after([second("a", 2)])
        assert content.plain() == before, (first("a", 1), second("a", 2))


def test_a_write_of_which_postgres_makes_no_statement_is_refused_and_not_passed_over() -> None:
    """Accepted and forgotten in the compiler, its effect would be missing while the position moves. # I7"""

    class Forgotten(Write):
        pass

    with pytest.raises(RowsRefused, match="Forgotten"):
        list(Tables(["t"]).steps([Forgotten()]))
