"""One value, one meaning: by every write, alone and in bulk, as a value and as a key."""

from __future__ import annotations

import enum
import ipaddress
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from logsync.core.write import Write
from logsync.errors import WriteRejected
from logsync.stores.postgres import Delete, Increment, Sql, Upsert

from .conftest import Bench

EAST, BERLIN = timezone(timedelta(hours=2)), ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 7, 1, 12, 0, 0, 5, tzinfo=EAST)
EARLY = datetime(2026, 7, 1, 0, 30, tzinfo=EAST)
NOON_TEXT, ONE = "2026-07-01T12:00:00.000005+02:00", uuid.UUID(int=1)


class Colour(enum.Enum):
    RED = "red"


class Text(enum.StrEnum):
    RED = "red"


class Line(BaseModel):
    sku: str
    price: Decimal
    at: datetime


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("timestamp", NOON),
        ("timestamp(0)", NOON.replace(microsecond=0)),
        ("timestamp", NOON.astimezone(BERLIN)),
        ("date", EARLY),
        ("time", EARLY),
        ("timetz", EARLY),
        ("timestamptz", EARLY),
        ("timestamp[]", [NOON, None]),
        ("timestamp[]", [[NOON], [EARLY]]),
        ("date[]", [EARLY]),
        ("timestamptz[]", [EARLY]),
        ("timestamp", NOON.replace(tzinfo=None)),
        ("timestamptz", NOON.replace(tzinfo=None)),
        ("timestamp", date(2026, 7, 1)),
        ("timetz", time(12, tzinfo=EAST)),
    ],
)
def test_an_instant_is_stored_alike_by_every_write(bench: Bench, kind: str, value: Any) -> None:
    """In a column without a zone it is that of UTC, at whatever offset it comes."""
    table = bench.table(f"id int, at {kind}, n int NOT NULL DEFAULT 0, UNIQUE (id), UNIQUE (id, at)")
    store = bench.store()
    bench.apply(store, [Sql(f"INSERT INTO {table} VALUES (1, %(at)s)", {"at": value})])
    bench.apply(store, [Upsert(table, {"id": 2}, {"at": value})])
    bench.apply(store, *[[Upsert(table, {"id": n}, {"at": value})] for n in range(3, 150)])
    bench.apply(
        store, [Upsert(table, {"id": 200, "at": value})], [Increment(table, {"id": 200, "at": value}, {"n": 2})]
    )
    assert bench.rows(f"SELECT count(*), count(DISTINCT at::text), max(n) FROM {table}") == [(150, 1, 2)]
    if isinstance(value, datetime) and value.tzinfo:
        other = {"id": 200, "at": value.astimezone(UTC)}
        bench.apply(store, [Increment(table, other, {"n": 1})], [Increment(table, other, {"n": 1})])
        assert bench.rows(f"SELECT n FROM {table} WHERE id = 200") == [(4,)]
        bench.apply(store, [Delete(table, other)])
    else:
        bench.apply(store, [Delete(table, {"id": 200, "at": value})])
    assert bench.rows(f"SELECT count(*) FROM {table}") == [(149,)]


# What a value must be, given as what; the same rows come of it in every way that it can reach the table.
WRITTEN: list[tuple[str, Any, str]] = [
    (
        "jsonb",
        {"at": NOON, "d": date(2026, 1, 2), "t": time(1, 2)},
        f'{{"d": "2026-01-02", "t": "01:02:00", "at": "{NOON_TEXT}"}}',
    ),
    (
        "jsonb",
        {"u": ONE, "n": Decimal("1.50"), "e": Colour.RED, "s": Text.RED},
        f'{{"e": "red", "n": "1.50", "s": "red", "u": "{ONE}"}}',
    ),
    (
        "json",
        [Line(sku="a", price=Decimal(2), at=EARLY)],
        '[{"sku": "a", "price": "2", "at": "2026-07-01T00:30:00+02:00"}]',
    ),
    (
        "jsonb",
        Line(sku="a", price=Decimal(2), at=EARLY).model_dump(),
        '{"at": "2026-07-01T00:30:00+02:00", "sku": "a", "price": "2"}',
    ),
    (
        "jsonb",
        Line(sku="a", price=Decimal(2), at=EARLY),
        '{"at": "2026-07-01T00:30:00+02:00", "sku": "a", "price": "2"}',
    ),
    ("jsonb", Colour.RED, '"red"'),
    ("jsonb", (1, 2), "[1, 2]"),
    ("jsonb", True, "true"),
    (
        "jsonb[]",
        [{"a": 1}, {"b": [1, 2]}, None, [1, "x"], '"raw"'],
        '{"{\\"a\\": 1}","{\\"b\\": [1, 2]}",NULL,"[1, \\"x\\"]","\\"raw\\""}',
    ),
    ("json[]", [{"a": uuid.UUID(int=2)}], '{"{\\"a\\": \\"00000000-0000-0000-0000-000000000002\\"}"}'),
    ("int[]", [[1, 2], [3, None]], "{{1,2},{3,NULL}}"),
    ("text[]", [["a,b", 'c"d'], ["NULL", "\\"]], '{{"a,b","c\\"d"},{"NULL","\\\\"}}'),
    ("bytea[]", [b"\x00\\", b""], '{"\\\\x005c","\\\\x"}'),
    ("numeric(6,2)", Decimal("1.005"), "1.01"),
    ("numeric", 10**5000, str(Decimal(10**5000))),
    ("numeric", float("nan"), "NaN"),
    ("float4", 0.1, "0.1"),
    ("money", Decimal("1234.50"), "$1,234.50"),
    ("money", 12, "$12.00"),
    ("money[]", [Decimal("1.50"), 2], "{$1.50,$2.00}"),
    ("interval", timedelta(days=-1, seconds=5), "-1 days +00:00:05"),
    ("bit(4)", "1010", "1010"),
    ("varbit", "10100", "10100"),
    ("char(4)", "ab", "ab"),
    ("{mood}", "happy", "happy"),
    ("{mood}", Colour.RED, "red"),
    ("{mood}[]", [Text.RED, "happy"], "{red,happy}"),
    ("{pair}", '(1,"x, y")', '(1,"x, y")'),
    ("{pair}[]", ['(1,"x, y")', "(2,)"], '{"(1,\\"x, y\\")","(2,)"}'),
    ("{pairs}", '(1,"x, y")', '(1,"x, y")'),
    ("{stamps}", [NOON], '{"2026-07-01 10:00:00.000005"}'),
    ("{deep}", {"at": NOON}, '{"at": "2026-07-01T12:00:00.000005+02:00"}'),
    ("int4range", "[1,3)", "[1,3)"),
    ("int4multirange", "{[1,3),[5,7)}", "{[1,3),[5,7)}"),
    ("tstzrange", '["2026-01-01 00:00+00",)', '["2026-01-01 00:00:00+00",)'),
    ("box", "(1,1),(0,0)", "(1,1),(0,0)"),
    ("point", "(1,2)", "(1,2)"),
    ("inet", ipaddress.ip_interface("10.0.0.1/24"), "10.0.0.1/24"),
    ("cidr", ipaddress.ip_network("10.0.0.0/24"), "10.0.0.0/24"),
    ("inet[]", [ipaddress.ip_address("::1")], "{::1}"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03"),
    ("hstore", '"a"=>"1, 2", "b"=>NULL', '"a"=>"1, 2", "b"=>NULL'),
    ("citext", "Ab", "Ab"),
    ("tsvector", "'a':1 'b':2", "'a':1 'b':2"),
    ("text", Text.RED, "red"),
    ("pg_lsn", "0/16B3748", "0/16B3748"),
]

REFUSED: list[tuple[str, Any]] = [
    ("jsonb", {"s": {1, 2}}),
    ("jsonb", {"b": b"x"}),
    ("jsonb", {"t": timedelta(1)}),
    ("jsonb", {"f": float("nan")}),
    ("jsonb", {uuid.UUID(int=1): 1}),
    ("jsonb", {"x": "\0"}),
    ("jsonb[]", [{"s": {1}}]),
    ("jsonb[]", {"not": "a list"}),
    ("time", time(12, tzinfo=EAST)),
    ("timetz", time(12, tzinfo=BERLIN)),
    ("timestamp", datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))),
    ("int", Decimal("sNaN")),
    ("int", 10**5000),
    ("int[]", [[1, 2], [3]]),
    ("int[]", [object()]),
    ("{pair}", (1, "x")),
    ("{pair}", {"n": 1}),
    ("money", "$1.50"),
    ("text", range(3)),
    ("text", frozenset({1})),
    ("text", type("Odd", (), {})()),
]


@pytest.fixture
def kinds(bench: Bench) -> dict[str, str]:
    """Types of the test's own, and the extensions; by the word that stands for them above."""
    names = {word: f"{bench.name}_{word}" for word in ("mood", "pair", "pairs", "stamps", "deep")}
    bench.db.execute("CREATE EXTENSION IF NOT EXISTS hstore; CREATE EXTENSION IF NOT EXISTS citext")
    bench.db.execute(
        "CREATE TYPE {mood} AS ENUM ('happy', 'red'); CREATE TYPE {pair} AS (n int, t text)".format(**names)
    )
    bench.db.execute("CREATE DOMAIN {pairs} AS {pair}; CREATE DOMAIN {stamps} AS timestamp[]".format(**names))
    bench.db.execute("CREATE DOMAIN {deep}_1 AS jsonb; CREATE DOMAIN {deep} AS {deep}_1".format(**names))
    return names


@pytest.mark.parametrize(("kind", "value", "stored"), WRITTEN, ids=[f"{row[0]} {n}" for n, row in enumerate(WRITTEN)])
def test_a_value_is_written_alike_alone_and_in_bulk(
    bench: Bench, kinds: dict[str, str], kind: str, value: Any, stored: str
) -> None:
    table = bench.table(f"id int PRIMARY KEY, v {kind.format(**kinds)}, n int DEFAULT 0, w text")
    store = bench.store()
    bench.apply(store, [Upsert(table, {"id": 0}, {"v": value})])
    bench.apply(store, *[[Upsert(table, {"id": n}, {"w": str(n), "v": value})] for n in range(1, 140)])
    bench.apply(store, [Upsert(table, {"id": 500}, {"v": value}), Upsert(table, {"id": 501}, {"v": None})])
    assert bench.rows(f"SELECT DISTINCT v::text FROM {table} WHERE id < 501") == [(stored,)]
    assert bench.rows(f"SELECT count(*) FROM {table} WHERE w = id::text OR id IN (0, 500, 501)") == [(142,)]


@pytest.mark.parametrize(("kind", "value"), REFUSED, ids=[f"{row[0]} {n}" for n, row in enumerate(REFUSED)])
def test_a_value_that_cannot_be_written_is_refused_at_its_event(
    bench: Bench, kinds: dict[str, str], kind: str, value: Any
) -> None:
    table = bench.table(f"id int PRIMARY KEY, v {kind.format(**kinds)}")
    store = bench.store()
    for around in (0, 3):
        good: list[list[Write]] = [[Upsert(table, {"id": n})] for n in range(around)]
        with pytest.raises(WriteRejected) as caught:
            bench.apply(store, *good, [Upsert(table, {"id": 9}, {"v": value})], *good)
        assert caught.value.offset == around
    assert bench.rows() == []


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("text[]", [["a", "b"], ["a"], ["a", "b"]]),
        ("jsonb", [{"a": 1, "b": [2]}, {"b": [2], "a": 1}, [1], "2", True]),
        ("numeric", [Decimal("NaN"), Decimal("NaN"), Decimal(1)]),
        ("numeric", [Decimal("1.0"), Decimal("1"), Decimal("1E0"), Decimal("-0"), Decimal("0.0")]),
        ("numeric", [1, True and 1, Decimal("1.00"), 1.0, "1"]),
        ("float8", [-0.0, 0.0, float("nan"), float("nan"), float("inf"), 1]),
        ("int8", [1, "1", Decimal(1)]),
        ("text", [True, 1, 1.0, Decimal("1.0"), "1", Text.RED, "red", Colour.RED]),
        ("bool", [True, "yes", False, "t"]),
        ("int4range", ["[1,3)", "[1,2]", "empty"]),
        ("inet", [ipaddress.ip_address("10.0.0.1"), "10.0.0.1/32", "::1", ipaddress.ip_address("::1")]),
        ("timestamptz", [NOON, NOON.astimezone(UTC), NOON.astimezone(BERLIN), NOON.replace(tzinfo=None)]),
        ("timestamp", [NOON, NOON.astimezone(UTC), NOON.replace(tzinfo=None), datetime(2026, 7, 1, 10, 0, 0, 5)]),  # noqa: DTZ001
        ("date", [EARLY, date(2026, 6, 30), "2026-06-30", date(2026, 7, 1)]),
        ("bytea", [b"a", "\\x61", b"b"]),
        ("uuid", [uuid.UUID(int=1), str(uuid.UUID(int=1)), "{" + str(uuid.UUID(int=1)) + "}"]),
        ("interval", [timedelta(days=1), timedelta(hours=24), "24 hours"]),
        ("{pair}", ["(1,x)", '(1,"x")', "(2,x)"]),
        ("{mood}", ["happy", "red", Colour.RED]),
        ("citext", ["a", "A", "b"]),
        ("char(3)", ["a", "a ", "b"]),
        ("money", [1, Decimal("1.00"), 2]),
        ("xid8", [1, "1"]),
    ],
)
def test_keys_are_equal_where_the_server_says_so_and_each_cut_gives_the_same_rows(
    bench: Bench, kinds: dict[str, str], kind: str, keys: list[Any]
) -> None:
    """Also where Python could neither hash nor order them, or thinks otherwise: 1 == True == Decimal("1.0")."""
    found = []
    for size in (1, 1000):
        table = bench.table(
            f"k {kind.format(**kinds)}, s int DEFAULT 1, n int DEFAULT 0, t text, UNIQUE (k), UNIQUE (k, s)",
            f"{bench.name}_{size}",
        )
        store = bench.store(tables=[table])
        events: list[list[Write]] = []
        for i, key in enumerate([*keys, *reversed(keys)]):
            events += [
                [Increment(table, {"k": key}, {"n": 1})],
                [Upsert(table, {"k": key, "s": 1}, {"t": f"at {i}"})],
                *([[Delete(table, {"k": key})]] if i in (1, 2) else []),
            ]
        for first in range(0, len(events), size):
            bench.apply(store, *events[first : first + size])
        found.append(bench.rows(f"SELECT k::text, n, t FROM {table} ORDER BY t"))
    assert found[0] == found[1]
    assert found[0]


@pytest.mark.parametrize(
    "key", [["a"], {"a"}, (1, 2), range(2), object(), Decimal("sNaN"), type("Odd", (), {"__hash__": None})()]
)
@pytest.mark.parametrize("write", ["upsert", "increment", "delete"])
def test_a_key_that_can_be_none_is_this_event_s_fault(bench: Bench, key: Any, write: str) -> None:
    table = bench.table("id int PRIMARY KEY, n int DEFAULT 0")
    store = bench.store()
    bad = {
        "upsert": Upsert(table, {"id": key}),
        "increment": Increment(table, {"id": key}, {"n": 1}),
        "delete": Delete(table, {"id": key}),
    }[write]
    for around in (0, 2):
        good: list[list[Write]] = [[Upsert(table, {"id": n})] for n in range(around)]
        with pytest.raises(WriteRejected) as caught:
            bench.apply(store, *good, [bad], *good)
        assert caught.value.offset == around
