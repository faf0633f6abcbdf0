"""A sample of every write class, by family, for the stores of this repository."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from logsync.core.write import Write
from logsync.testing.store_contract import Sample
from logsync.writes import docs, keys, rows

FAR = datetime(2090, 1, 1, tzinfo=UTC)


def of_rows(table: str) -> dict[type[Write], Sample]:
    return {
        rows.Upsert: lambda key, n: rows.Upsert(table, {"k": key}, {"n": n}),
        rows.Increment: lambda key, n: rows.Increment(table, {"k": key}, {"n": n}),
        rows.Delete: lambda key, _: rows.Delete(table, {"k": key}),
    }


def of_keys() -> dict[type[Write], Sample]:
    def kind(n: int) -> str:
        return ("text", "hash", "set", "scores")[n % 4]

    return {
        keys.Set: lambda key, n: keys.Set(f"text:{key}", n, FAR + timedelta(days=n) if n % 3 == 0 else None),
        keys.Incr: lambda key, n: keys.Incr(f"text:{key}", n),
        keys.HSet: lambda key, n: keys.HSet(f"hash:{key}", {f"f{n % 3}": n, "last": n}),
        keys.HIncr: lambda key, n: keys.HIncr(f"hash:{key}", {f"f{n % 3}": n}),
        keys.HDel: lambda key, n: keys.HDel(f"hash:{key}", (f"f{n % 3}", "last")),
        keys.SAdd: lambda key, n: keys.SAdd(f"set:{key}", (n % 5, "x", b"\xff")),
        keys.SRem: lambda key, n: keys.SRem(f"set:{key}", (n % 5, "x")),
        keys.ZAdd: lambda key, n: keys.ZAdd(f"scores:{key}", {f"m{n % 3}": n}),
        keys.ZIncr: lambda key, n: keys.ZIncr(f"scores:{key}", {f"m{n % 3}": n, "all": 1}),
        keys.ZRem: lambda key, n: keys.ZRem(f"scores:{key}", (f"m{n % 3}", "all")),
        keys.Del: lambda key, n: keys.Del(f"{kind(n)}:{key}"),
        keys.ExpireAt: lambda key, n: keys.ExpireAt(f"{kind(n)}:{key}", FAR + timedelta(days=n)),
    }


def of_docs(index: str) -> dict[type[Write], Sample]:
    return {
        docs.IndexDoc: lambda key, n: docs.IndexDoc(index, key, {"n": n}),
        docs.UpdateDoc: lambda key, n: docs.UpdateDoc(
            index, key, set={"last": n} if n % 2 else {}, add={"n": n, "times": 1}
        ),
        docs.DeleteDoc: lambda key, _: docs.DeleteDoc(index, key),
    }
