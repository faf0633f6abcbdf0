"""What an index may be, judged from what OpenSearch says of it."""

from __future__ import annotations

from typing import Any

import pytest

from logsync.stores.opensearch.conditions import OWN_FIELDS, faults
from logsync.stores.opensearch.layout import Layout

SENT = Layout("p-", "s", {"a": {"mappings": {"properties": {"n": {"type": "long"}, "o.k": {"type": "keyword"}}}}})


def index(
    *, settings: dict[str, Any] | None = None, fields: dict[str, Any] | None = None, **root: Any
) -> dict[str, Any]:
    """An index as it is when nothing but its declaration has made it, and with what is given."""
    made = SENT.mappings("a", 1)
    properties = {
        "n": {"type": "long"},
        "o": {"properties": {"k": {"type": "keyword"}}},
        **OWN_FIELDS,
        **(fields or {}),
    }
    return {"settings": {"index": settings or {}}, "mappings": {**made, "properties": properties, **root}}


def found(described: dict[str, Any], *, fresh: bool = True) -> list[str]:
    return [fault.what for fault in faults(described, SENT.body("a", 1), fresh=fresh)]


def test_an_index_as_it_was_declared_has_no_fault() -> None:
    assert found(index()) == []
    assert found(index(), fresh=False) == []


ALWAYS: list[tuple[str, dict[str, Any]]] = [
    ("durability", {"settings": {"translog": {"durability": "ASYNC"}}}),
    ("default_pipeline", {"settings": {"default_pipeline": "p"}}),
    ("final_pipeline", {"settings": {"final_pipeline": "p"}}),
    ("append_only", {"settings": {"append_only": {"enabled": "true"}}}),
    ("derived_source", {"settings": {"derived_source": {"enabled": True}}}),
    ("max_result_window", {"settings": {"max_result_window": "4999"}}),
    ("max_docvalue_fields_search", {"settings": {"max_docvalue_fields_search": "0"}}),
    ("_source", {"_source": {"excludes": ["n"]}}),
    ("_source", {"_source": {"enabled": "false"}}),
    ("_source", {"_source": {"recovery_source_enabled": False}}),
    ("_routing", {"_routing": {"required": "true"}}),
    ("logsync_hidden", {"fields": {"logsync_hidden": {"type": "keyword", "ignore_above": 9}}}),
    ("logsync_hidden", {"fields": {"logsync_hidden": {"type": "keyword", "index": False}}}),
    ("logsync_position", {"fields": {"logsync_position": {"type": "object", "enabled": True}}}),
]
ONLY_NEW: list[tuple[str, dict[str, Any]]] = [
    ("index.blocks.write", {"settings": {"blocks": {"write": "true"}}}),
    ("refresh_interval", {"settings": {"refresh_interval": "-1"}}),
    ("ignore_malformed", {"settings": {"mapping": {"ignore_malformed": "true"}}}),
    ("analyzer.default", {"settings": {"analysis": {"analyzer": {"default": {"type": "simple"}}}}}),
    ("wait_for_active_shards", {"settings": {"write": {"wait_for_active_shards": "2"}}}),
    ("dynamic", {"dynamic": "strict"}),
    ("date_detection", {"date_detection": False}),
    ("dynamic_templates", {"dynamic_templates": [{"z": {"mapping": {"type": "date"}}}]}),
    ("_meta", {"_meta": {"logsync": {"sink": "other"}}}),
    ("'x'", {"fields": {"x": {"type": "keyword"}}}),
    ("'n' has copy_to", {"fields": {"n": {"type": "long", "copy_to": ["x"]}}}),
    ("'o.z'", {"fields": {"o": {"properties": {"k": {"type": "keyword"}, "z": {"type": "long"}}}}}),
    ("'o.k' has ignore_above", {"fields": {"o": {"properties": {"k": {"type": "keyword", "ignore_above": 1}}}}}),
    ("'o' has dynamic", {"fields": {"o": {"dynamic": "strict", "properties": {"k": {"type": "keyword"}}}}}),
]


@pytest.mark.parametrize(("words", "spoiled"), ALWAYS, ids=range(len(ALWAYS)))
def test_what_breaks_the_promise_is_a_fault_at_any_time(words: str, spoiled: dict[str, Any]) -> None:
    for fresh in (True, False):
        (what,) = found(index(**spoiled), fresh=fresh)
        assert words in what


@pytest.mark.parametrize(("words", "spoiled"), ONLY_NEW, ids=range(len(ONLY_NEW)))
def test_what_documents_and_operators_may_do_is_a_fault_of_a_new_index_only(
    words: str, spoiled: dict[str, Any]
) -> None:
    (what,) = found(index(**spoiled))
    assert words in what
    assert found(index(**spoiled), fresh=False) == []


def test_what_the_sink_s_author_declares_is_no_fault() -> None:
    settings = {
        "refresh_interval": "-1",
        "mapping.ignore_malformed": True,
        "analysis": {"analyzer": {"default": {"type": "simple"}}},
        "write.wait_for_active_shards": "all",
    }
    mappings = {"dynamic": "strict", "date_detection": False, "properties": {"n": {"type": "long", "copy_to": "m"}}}
    layout = Layout("", "s", {"a": {"settings": settings, "mappings": mappings}})
    body = layout.body("a", 1)
    nested = {
        "refresh_interval": "-1",
        "mapping": {"ignore_malformed": "true"},
        "analysis": {"analyzer": {"default": {"type": "simple"}}},
        "write": {"wait_for_active_shards": "all"},
    }
    assert faults({"settings": {"index": nested}, "mappings": body["mappings"]}, body, fresh=True) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"number_of_replicas": "2", "refresh_interval": "30s", "hidden": "true", "blocks": {"write": "false"}},
        {"mapping": {"total_fields": {"limit": "3"}}, "default_pipeline": "_none", "max_result_window": "5000"},
        {"analysis": {"analyzer": {"company": {"type": "simple"}}}, "sort": {"field": "n"}, "codec": "default"},
    ],
)
def test_what_changes_no_document_is_no_fault(settings: dict[str, Any]) -> None:
    assert found(index(settings=settings)) == []


def test_a_fault_of_an_open_index_names_the_value_that_mends_it() -> None:
    settings = {"translog": {"durability": "async"}, "final_pipeline": "p", "max_result_window": "1"}
    mends = {fault.setting: fault.value for fault in faults(index(settings=settings), {}, fresh=False)}
    assert mends == {
        "index.translog.durability": "request",
        "index.final_pipeline": "_none",
        "index.max_result_window": "10000",
    }


def test_a_type_that_nobody_here_knows_may_describe_itself_as_it_likes() -> None:
    layout = Layout("", "s", {"a": {"mappings": {"properties": {"v": {"type": "knn_vector", "dimension": 3}}}}})
    body = layout.body("a", 1)
    sent = body["mappings"]
    described = {"type": "knn_vector", "dimension": 3, "space_type": "l2"}
    made = {"mappings": {**sent, "properties": {**sent["properties"], "v": described}}}
    assert faults(made, body, fresh=True) == []
    described["copy_to"] = ["x"]
    assert [fault.what for fault in faults(made, body, fresh=True)] == ["the field 'v' has copy_to ['x']"]


def test_a_value_of_a_template_is_told_in_bounded_words() -> None:
    (what,) = found(index(dynamic_templates=[{"x" * 5000: {}}]))
    assert len(what) < 200
