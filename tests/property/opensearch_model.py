"""What OpenSearch does with the requests of the store, in memory, and the trouble that may come with each of them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from logsync.errors import StoreOutcomeUnknown, StoreUnavailable
from logsync.settings import Settings
from logsync.stores.opensearch import OpenSearch
from logsync.stores.opensearch.connection import Connection
from logsync.stores.opensearch.errors import Verdict, raised, verdict
from logsync.stores.opensearch.fold import HIDDEN
from logsync.stores.opensearch.layout import Layout

A, B = "a", "b"


class Died(Exception):
    """Stands for kill -9."""


class Kept(NamedTuple):
    version: int
    seq_no: int
    source: dict[str, Any]


Index = dict[str, Kept]


class Server:
    """Indices with external versions, sequence numbers, realtime gets, and searches that see the last refresh."""

    def __init__(self) -> None:
        self.indices: dict[str, Index] = {}
        self.searchable: dict[str, Index] = {}
        self.book: Kept | None = None
        self.mended = False
        self.seq_no = 0

    def answer(self, method: str, path: str, body: Any) -> dict[str, Any]:
        where, _, action = path[1:].rpartition("/")
        if path == "/_mget":
            return {"docs": [self._get(wanted) for wanted in json.loads(body)["docs"]]}
        if path == "/_bulk":
            lines = body.splitlines()
            items = [self._write(json.loads(a), json.loads(b)) for a, b in zip(lines[::2], lines[1::2], strict=True)]
            return {"errors": any("error" in item for entry in items for item in entry.values()), "items": items}
        if action == "_refresh":
            for name in where.split(","):
                self.searchable[name] = dict(self.indices.get(name, {}))
            return {}
        if action == "_search":
            return self._search(where.split(","), body)
        assert path.startswith("/logsync/"), path
        if method == "GET":
            kept = self.book
            return {"found": True, "_source": kept.source, **self._numbers(kept)} if kept else {"found": False}
        raise AssertionError(path)

    def put_book(self, source: dict[str, Any], params: Mapping[str, str]) -> dict[str, Any]:
        found = str(self.book.seq_no) if self.book else None
        if params.get("if_seq_no") != found:
            raise raised(Verdict.CONFLICT, "the book")
        self.book = Kept(1, self._next(), json.loads(json.dumps(source)))
        return {}

    def content(self, name: str) -> dict[str, Any]:
        return {
            key: kept.source
            for key, kept in self.indices.get(f"{name}--e1-write", {}).items()
            if HIDDEN not in kept.source
        }

    def _next(self) -> int:
        self.seq_no += 1
        return self.seq_no

    def _numbers(self, kept: Kept) -> dict[str, Any]:
        return {"_version": kept.version, "_seq_no": kept.seq_no, "_primary_term": 1}

    def _get(self, wanted: dict[str, Any]) -> dict[str, Any]:
        kept = self.indices.get(wanted["_index"], {}).get(wanted["_id"])
        if kept is None:
            return {"found": False}
        return {"found": True, "_source": copy.deepcopy(kept.source), **self._numbers(kept)}

    def _write(self, action: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
        ((kind, head),) = action.items()
        index = self.indices.setdefault(head["_index"], {})
        found = index.get(head["_id"])
        version = head.get("version", found.version + 1 if found else 1)
        if "bad" in source and not self.mended:
            return {kind: {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "bad"}}}
        stale = (
            (kind == "create" and found is not None)
            or ("version" in head and found is not None and found.version >= version)
            or ("if_seq_no" in head and (found is None or found.seq_no != head["if_seq_no"]))
        )
        if stale:
            return {kind: {"status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "newer"}}}
        index[head["_id"]] = Kept(version, self._next(), source)
        return {kind: {"status": 200, "_seq_no": self.seq_no, "_primary_term": 1}}

    def _search(self, names: list[str], body: dict[str, Any]) -> dict[str, Any]:
        hits = []
        for name in names:
            for key, kept in self.searchable.get(name, {}).items():
                hidden = kept.source.get(HIDDEN, [])
                values = sorted([hidden] if isinstance(hidden, str) else hidden)
                if all(_matches(values, part) for part in body["query"]["bool"]["filter"]):
                    hits.append({"_index": name, "_id": key, "fields": {HIDDEN: values}, "sort": values[:1]})
        hits.sort(key=lambda hit: hit["sort"])
        hits = [hit for hit in hits if hit["sort"] > body.get("search_after", [""])]
        return {"timed_out": False, "hits": {"hits": hits[: body["size"]]}}


def _matches(values: list[str], query: dict[str, Any]) -> bool:
    if "term" in query:
        return query["term"][HIDDEN] in values
    window = query["range"][HIDDEN]
    return any(window["gte"] <= value < window["lt"] for value in values)


class Weather:
    """What happens around the requests: decided by ``chance``, until it is ``calm``."""

    def __init__(self, server: Server, chance: random.Random, rate: float) -> None:
        self.server, self.chance, self.rate = server, chance, rate
        self.calm = False
        self.late: list[bytes] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self._depth = 0

    def arrive(self) -> None:
        """One of the requests that were given up reaches the server after all."""
        if self.late:
            self.server.answer("POST", "/_bulk", self.late.pop(self.chance.randrange(len(self.late))))

    def request(self, method: str, path: str, body: Any) -> dict[str, Any]:
        if self.calm or self.chance.random() > self.rate:
            return self.server.answer(method, path, body)
        what = self.chance.choice(
            ["arrive", "meanwhile", "meanwhile", "die", "down", "died after", "half", "late", "late and die"]
        )
        if what == "arrive":
            self.arrive()
        elif what == "meanwhile" and self._depth < 2:
            self._depth += 1
            try:
                self.meanwhile()
            finally:
                self._depth -= 1
        elif what == "die":
            raise Died
        elif what == "down":
            raise StoreUnavailable("down")
        elif what == "died after":
            self.server.answer(method, path, body)
            raise Died
        elif what == "half" and path == "/_bulk":
            lines = body.splitlines(keepends=True)
            pairs = [b"".join(lines[at : at + 2]) for at in range(0, len(lines), 2)]
            some = [pair for pair in pairs if self.chance.random() < 0.5]
            self.server.answer(method, path, b"".join(some))
            raise Died
        elif what.startswith("late") and path == "/_bulk":
            self.late.append(body)
            if what == "late":
                raise StoreOutcomeUnknown("late")
            raise Died
        return self.server.answer(method, path, body)


class _Client:
    remaining = 60.0

    def __init__(self, weather: Weather) -> None:
        self._weather = weather

    @contextmanager
    def bound(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        pass

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        if method == "PUT":
            return self._weather.server.put_book(body, options["params"])
        return json.loads(json.dumps(self._weather.request(method, path, body)))  # type: ignore[no-any-return]


class _NoIndices:
    searching: ClassVar[dict[str, str]] = {}

    def check(self, epoch: int, *, fresh: object = ()) -> None:
        pass

    def ensure(self, epoch: int) -> None:
        pass

    def owned(self) -> dict[str, Any]:
        return {}

    def count(self, names: list[str], query: object) -> int:
        return 0


class Simulated(OpenSearch):
    """The store over a Server in memory."""

    def __init__(self, weather: Weather) -> None:
        super().__init__(indices={A: {}, B: {}})
        self._weather = weather

    def open(self, sink: str, settings: Settings) -> None:
        here = Connection(_Client(self._weather), Layout("", sink, self._declared))  # type: ignore[arg-type]
        here.indices = here.books._indices = _NoIndices()  # type: ignore[assignment]
        self._connection = here


assert verdict(409, None) is Verdict.CONFLICT  # the model's answers go through the store's own table
