"""The OpenSearch store before any server is asked: declarations, and writes that are wrong in themselves."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from logsync.errors import ConfigError, WriteRejected
from logsync.stores.opensearch import DeleteDoc, IndexDoc, OpenSearch, UpdateDoc, fold
from logsync.stores.opensearch.fold import ABSENT, Era, StoredDoc
from logsync.stores.opensearch.layout import Layout

KEY = ("x", "1")


@pytest.mark.parametrize(
    "write",
    [
        IndexDoc("unknown", "1", {}),
        IndexDoc("x", "", {}),
        IndexDoc("x", 7, {}),  # type: ignore[arg-type]
        IndexDoc("x", "é" * 257, {}),
        IndexDoc("x", "\ud800", {}),
        IndexDoc("x", "logsync-position", {}),
        IndexDoc("x", "logsync-parked-0-7", {}),
        IndexDoc("x", "1", {"logsync_hidden": "deleted"}),
        IndexDoc("x", "1", [1]),  # type: ignore[arg-type]
        UpdateDoc("x", "1", set={"logsync_position": 1}),
        UpdateDoc("x", "1", add={"n": 0.5}),  # type: ignore[dict-item]
        UpdateDoc("x", "1", add={"n": True}),
        UpdateDoc("x", "1", set=None),  # type: ignore[arg-type]
        DeleteDoc("x", "é" * 257),
    ],
)
def test_a_write_that_is_wrong_in_itself_is_refused_with_all_writes_of_its_event(write: Any) -> None:
    good = IndexDoc("x", "2", {})
    chains, rejected = fold.gather([3, 4, 4, 5], [good, good, write, good], {"x"})
    assert rejected is not None
    assert rejected.offset == 4
    assert chains == {("x", "2"): [(3, good)]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes", object(), "\ud800", {"deep": [{1}]}])
def test_a_value_that_is_not_json_is_refused_at_its_own_event(value: object) -> None:
    chain = [(5, UpdateDoc("x", "1", set={"a": 1})), (6, UpdateDoc("x", "1", set={"a": value}))]
    later = (7, UpdateDoc("x", "1", set={"b": 1}))
    with pytest.raises(WriteRejected) as caught:
        fold.render(KEY, [*chain, later], ABSENT, Era(1))
    assert caught.value.offset == 6


def test_a_document_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(WriteRejected):
        fold.render(KEY, [(0, IndexDoc("x", "1", loop))], ABSENT, Era(1))


@pytest.mark.parametrize("value", ["1", 1.0, True, None, [1]])
def test_adding_to_what_is_no_integer_is_refused(value: object) -> None:
    with pytest.raises(WriteRejected) as caught:
        fold.fold([(9, UpdateDoc("x", "1", add={"n": 1}))], StoredDoc(fold.version(1, 3), {"n": value}), 1)
    assert caught.value.offset == 9


def test_dates_decimals_and_ids_are_written_as_text() -> None:
    doc = {
        "at": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        "price": Decimal("1.10"),
        "id": uuid.UUID(int=1),
        "big": 2**70,
        "text": "é\u2028",
    }
    assert json.loads(fold.encode(doc)) == {
        "at": "2026-01-02T00:00:00+00:00",
        "price": "1.10",
        "id": "00000000-0000-0000-0000-000000000001",
        "big": 2**70,
        "text": "é\u2028",
    }


def test_a_handlers_document_is_not_changed_by_later_writes() -> None:
    doc = {"n": 1}
    fold.fold([(0, IndexDoc("x", "1", doc)), (1, UpdateDoc("x", "1", add={"n": 1}))], ABSENT, 1)
    assert doc == {"n": 1}


@pytest.mark.parametrize("epoch", [0, fold.MAX_EPOCH + 1])
def test_an_epoch_that_a_version_cannot_hold_is_refused(epoch: int) -> None:
    with pytest.raises(ConfigError):
        fold.version(epoch, 0)


@pytest.mark.parametrize(
    "declared",
    [
        {"Upper": {}},
        {"a--b": {}},
        {"_a": {}},
        {"logsync": {}},
        {"a": {"aliases": {}}},
        {"a": {"settings": {"index": {"translog": {"durability": "async"}}}}},
        {"a": {"settings": {"translog.durability": "async"}}},
        {"a": {"mappings": {"_source": {"enabled": False}}}},
        {"a": {"mappings": {"_source": {"excludes": ["b"]}}}},
        {"a": {"mappings": {"_routing": {"required": True}}}},
        {"a": {"mappings": {"properties": {"logsync_hidden": {"type": "text"}}}}},
        {"a": {"mappings": {"x": object()}}},
        {"a": {"mappings": []}},
        {"a": {"settings": [1]}},
        {"a": {"mappings": {"properties": ["n"]}}},
        {"a": {"settings": {"default_pipeline": "embed"}}},
        {"a": {"settings": {"index": {"final_pipeline": "stamp"}}}},
        {"a": {"settings": {"index.append_only.enabled": True}}},
        {"a": {"settings": {"derived_source": {"enabled": "true"}}}},
        {"a": {"settings": {"max_result_window": 10}}},
        {"a": Path("no-such-file.json")},
    ],
)
def test_a_declaration_that_breaks_a_guarantee_is_refused(declared: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Layout("", "s", declared)


def test_an_index_can_be_declared_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"settings": {"number_of_shards": 2}, "mappings": {"dynamic": "strict"}}')
    body = Layout("p-", "s", {"a": path}).body("a", 4)
    assert body["settings"] == {"index.number_of_shards": 2, "index.translog.durability": "request"}
    assert set(body["mappings"]["properties"]) == {"logsync_hidden", "logsync_position"}
    assert body["aliases"] == {"p-a--e4-write": {"is_write_index": True}}


def test_a_store_without_indices_is_refused() -> None:
    with pytest.raises(ConfigError):
        OpenSearch(indices={})


def test_importing_the_store_imports_no_client() -> None:
    code = "import sys, logsync.stores.opensearch; sys.exit('opensearchpy' in sys.modules or 'urllib3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}, check=False).returncode == 0


def test_without_the_client_open_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from logsync.settings import Settings

    monkeypatch.setitem(sys.modules, "opensearchpy", None)
    with pytest.raises(ConfigError, match=r"logsync\[opensearch\]"):
        OpenSearch(indices={"a": {}}).open("s", Settings(_env_file=None))


def test_a_plain_document_is_encoded_as_the_standard_encoder_does_it() -> None:
    texts = ["", "é😀", "\x00\x1f\x7f\u2028", '"\\/\b\f\n\r\t', "</script>"]
    numbers = [0, -1, 2**63, -(2**64), 10**40, True, False, None]
    for value in [*texts, *numbers]:
        doc = {"key": value, f"k{value}": 1}
        assert fold.encode(doc) == json.dumps(doc, ensure_ascii=False, separators=(",", ":")).encode()
    mixed = {
        "number": 1.5,
        "list": [1],
        "deep": {"a": None},
        "day": datetime.date(2026, 1, 2),
        "money": Decimal("1.10"),
    }
    assert fold.encode(mixed) == b'{"number":1.5,"list":[1],"deep":{"a":null},"day":"2026-01-02","money":"1.10"}'
