"""What index templates, or people, make of an index: refused by name, with the words that mend it. # O6"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from logsync.core.book import Book
from logsync.core.position import Position
from logsync.errors import ConfigError, LogsyncError
from logsync.stores.opensearch import DeleteDoc
from tests.integration.opensearch.conftest import LOG, LONG, A, B, Shop, add, connected, interpose, plan, put


@contextmanager
def template(
    shop: Shop, body: dict[str, Any], *, legacy: bool = False, matching: str = "{prefix}*--e*"
) -> Iterator[str]:
    name = f"{shop.sink}-template"
    head = {"index_patterns": [matching.format(prefix=shop.prefix)]}
    path = f"_template/{name}" if legacy else f"_index_template/{name}"
    rest = {"order": 9, **body} if legacy else {"priority": 900_000, "template": body}
    shop.ask("PUT", path, {**head, **rest})
    try:
        yield name
    finally:
        shop.ask("DELETE", path)


SPOILED: dict[str, dict[str, Any]] = {
    "excludes": {"mappings": {"_source": {"excludes": ["n"]}}},
    "includes": {"mappings": {"_source": {"includes": ["t", "logsync_*"]}}},
    "enabled": {"mappings": {"_source": {"enabled": False}}},
    "_routing": {"mappings": {"_routing": {"required": True}}},
    "dynamic_templates": {"mappings": {"dynamic_templates": [{"z": {"match": "*", "mapping": {"type": "date"}}}]}},
    "date_detection": {"mappings": {"date_detection": False}},
    "numeric_detection": {"mappings": {"numeric_detection": True}},
    "a field 'x'": {"mappings": {"properties": {"x": {"type": "keyword", "copy_to": "n"}}}},
    "a field 'alias'": {"mappings": {"properties": {"alias": {"type": "alias", "path": "z"}, "z": {"type": "long"}}}},
    "default_pipeline": {"settings": {"index.default_pipeline": "stamp"}},
    "final_pipeline": {"settings": {"index": {"final_pipeline": "stamp"}}},
    "append_only": {"settings": {"index.append_only.enabled": True}},
    "blocks.write": {"settings": {"index.blocks.write": True}},
    "blocks.read_only": {"settings": {"index.blocks.read_only": True}},
    "blocks.read ": {"settings": {"index.blocks.read": True}},
    "cannot even be looked at": {"settings": {"index.blocks.metadata": True}},
    "ignore_malformed": {"settings": {"index.mapping.ignore_malformed": True}},
    "coerce": {"settings": {"index.mapping.coerce": False}},
    "analysis.analyzer.default": {"settings": {"index.analysis.analyzer.default.type": "keyword"}},
    "max_result_window": {"settings": {"index.max_result_window": 10}},
    "max_docvalue_fields_search": {"settings": {"index.max_docvalue_fields_search": 0}},
    "refresh_interval": {"settings": {"index.refresh_interval": "-1"}},
    "wait_for_active_shards": {"settings": {"index.write.wait_for_active_shards": "2", "index.number_of_replicas": 1}},
    "erived source": {"settings": {"index.derived_source.enabled": True}},
    "total fields": {"settings": {"index.mapping.total_fields.limit": 2}},
}
# Older templates are merged into the fields that are declared, word by word; newer ones give way to them.
OF_LEGACY: dict[str, dict[str, Any]] = {
    "logsync_hidden": {"logsync_hidden": {"type": "keyword", "index": False, "doc_values": False}},
    "logsync_hidden is": {"logsync_hidden": {"type": "keyword", "ignore_above": 2}},
    "logsync_position": {"logsync_position": {"type": "object", "dynamic": "strict"}},
    "'n' has index": {"n": {"type": "long", "index": False}},
    "'t' has ignore_above": {"t": {"type": "keyword", "ignore_above": 1}},
    "'t' has copy_to": {"t": {"type": "keyword", "copy_to": "n"}},
    "a field 't.raw'": {"t": {"type": "keyword", "fields": {"raw": {"type": "text"}}}},
}
CASES = [(words, body, False) for words, body in SPOILED.items()]
CASES += [(words, {"mappings": {"properties": fields}}, True) for words, fields in OF_LEGACY.items()]
CASES += [(words, SPOILED[words], True) for words in ("excludes", "_routing", "final_pipeline", "blocks.read_only")]


@pytest.mark.parametrize(("words", "body", "legacy"), CASES, ids=[f"{w}-{legacy}" for w, _, legacy in CASES])
def test_an_index_that_a_template_made_otherwise_is_refused_by_name_and_taken_back(
    shop: Shop, words: str, body: dict[str, Any], legacy: bool
) -> None:
    with template(shop, body, legacy=legacy) as name:
        with pytest.raises(ConfigError, match=words) as caught:
            shop.client()
        assert name in caught.value.fix
        assert not [index for index in shop.names() if "--e" in index]


def test_a_sink_starts_once_the_template_is_gone(shop: Shop) -> None:
    with template(shop, SPOILED["excludes"]), pytest.raises(ConfigError):
        shop.client()
    store = shop.claimed()
    store.apply(plan(0, [put("x", 1), put("y", 2)], [add("x"), DeleteDoc(A, "y")]))
    assert shop.content(A) == {"x": {"n": 2}}


def test_a_template_that_is_told_by_component_templates_counts_as_well(shop: Shop) -> None:
    component, name = f"{shop.sink}-part", f"{shop.sink}-whole"
    shop.ask("PUT", f"_component_template/{component}", {"template": {"mappings": {"_source": {"excludes": ["n"]}}}})
    body = {"index_patterns": [f"{shop.prefix}*"], "priority": 900_000, "composed_of": [component]}
    shop.ask("PUT", f"_index_template/{name}", body)
    try:
        with pytest.raises(ConfigError, match="_source"):
            shop.claimed()
    finally:
        shop.ask("DELETE", f"_index_template/{name}")
        shop.ask("DELETE", f"_component_template/{component}")


HARMLESS: list[dict[str, Any]] = [
    {"settings": {"index.number_of_replicas": 0, "index.refresh_interval": "7s", "index.hidden": True}},
    {"settings": {"index.mapping.total_fields.limit": 5000, "index.analysis.analyzer.own": {"tokenizer": "standard"}}},
    {"settings": {"index.sort.field": "n", "index.codec": "best_compression"}, "aliases": {"{alias}": {}}},
    {"mappings": {"_source": {"enabled": True}, "_routing": {"required": False}}},
]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("body", HARMLESS, ids=range(len(HARMLESS)))
def test_a_template_that_breaks_nothing_is_taken(shop: Shop, body: dict[str, Any], legacy: bool) -> None:
    body = {**body, **({"aliases": {f"{shop.prefix}other": {}}} if "aliases" in body else {})}
    with template(shop, body, legacy=legacy):
        store = shop.claimed()
        store.apply(plan(0, [put("x", 1), put("y", 2)], [add("x"), DeleteDoc(A, "y")]))
        store = shop.client()
        assert shop.content(A) == {"x": {"n": 2}}
        assert store.positions()[0].next_offset == 2


def test_every_type_of_field_that_opensearch_describes_in_its_own_words_is_taken(shop: Shop) -> None:
    kinds = ["completion", "search_as_you_type", "wildcard", "version", "text", "date", "ip", "nested", "flat_object"]
    fields: dict[str, Any] = {kind: {"type": kind} for kind in kinds}
    fields["scaled"] = {"type": "scaled_float", "scaling_factor": 100}
    fields["dotted.name"] = {"type": "long"}
    fields["dotted"] = {
        "properties": {"other": {"type": "keyword", "ignore_above": "9", "fields": {"t": {"type": "text"}}}}
    }
    fields["loose"] = {"type": "object", "dynamic": True}
    declared = {"mappings": {"dynamic": False, "date_detection": "false", "properties": fields, "_meta": {"mine": 1}}}
    shop.indices = {A: declared, B: LONG}
    shop.claimed().apply(plan(0, [put("x", 1)]))
    assert shop.client().positions()[0].next_offset == 1


def test_what_the_sink_declares_itself_is_taken_whatever_a_template_says_besides(shop: Shop) -> None:
    declared = {
        "settings": {"index.mapping.ignore_malformed": True, "refresh_interval": "-1"},
        "mappings": {"dynamic": "strict", "properties": {"n": {"type": "long"}}},
    }
    shop.indices = {A: declared, B: declared}
    body = {"settings": {"index.mapping.ignore_malformed": False}, "mappings": {"dynamic": True}}
    with template(shop, body):
        shop.claimed().apply(plan(0, [put("x", "no number")]))
    assert shop.content(A) == {"x": {"n": "no number"}}


def test_the_index_of_books_is_held_to_it_too(shop: Shop) -> None:
    unread = {"mappings": {"_source": {"enabled": False}}}
    with template(shop, unread, matching="{prefix}logsync-books"), pytest.raises(ConfigError, match="logsync-books"):
        shop.client()
    shop.claimed()


def test_an_index_that_was_made_before_logsync_came_is_looked_at_before_anything_is_written(shop: Shop) -> None:
    store = shop.client()
    layout = connected(store).layout
    index = layout.index(A, 1)
    shop.ask("DELETE", index)
    body = layout.body(A, 1)
    body["mappings"]["_source"] = {"excludes": ["t"]}
    shop.ask("PUT", index, body)
    with pytest.raises(ConfigError, match="_source"):
        shop.claimed()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("index.translog.durability", "async"),
        ("index.default_pipeline", "stamp"),
        ("index.final_pipeline", "stamp"),
        ("index.max_result_window", 10),
        ("index.max_docvalue_fields_search", 0),
    ],
)
def test_a_setting_that_is_changed_later_is_refused_at_the_next_look_and_its_command_mends_it(
    shop: Shop, setting: str, value: object
) -> None:
    running = shop.claimed()
    index = f"{shop.prefix}{A}--e1"
    shop.ask("PUT", f"{index}/_settings", {setting: value})
    with pytest.raises(ConfigError, match=setting.replace(".", r"\.")) as caught:
        shop.client()
    running._looked = float("-inf")  # its next look is due
    with pytest.raises(ConfigError, match=setting.replace(".", r"\.")):
        running.apply(plan(0, [put("x", 1)]))
    inspection = shop.looked_at()
    assert [finding for finding in inspection.findings if setting in finding.found and index in finding.found]
    command = caught.value.fix.partition("`")[2].partition("`")[0]
    shop.run(command)
    shop.client().apply(plan(0, [put("x", 1)]))
    assert shop.content(A) == {"x": {"n": 1}}


def test_a_mapping_that_is_changed_later_so_that_readers_would_see_what_is_hidden_is_refused(shop: Shop) -> None:
    shop.claimed()
    changed = {"properties": {"logsync_hidden": {"type": "keyword", "ignore_above": 3}}}
    shop.ask("PUT", f"{shop.prefix}{A}--e1/_mapping", changed)
    with pytest.raises(ConfigError, match="logsync_hidden"):
        shop.client()


def test_fields_that_documents_added_are_no_fault_at_any_later_start(shop: Shop) -> None:
    shop.indices = {A: {}, B: LONG}
    shop.claimed().apply(plan(0, [put("x", 1)]))
    store = shop.client()
    book = store.read_book()
    assert isinstance(book, Book)
    at = store.positions()[0]
    store.write_book(book.next(), positions=[at])  # as `position set` does
    assert shop.client().positions()[0].next_offset == 1


def test_a_search_pipeline_hides_nothing_from_logsync_itself(shop: Shop) -> None:
    store = shop.claimed()
    store.apply(plan(0, [put("x", 1)]))
    shop.ask("PUT", f"{shop.prefix}{A}--e1/_settings", {"index.search.default_pipeline": "no-such-pipeline"})
    store = shop.client()
    assert store.holds_data()
    assert store.sequences(0) == {}


def test_an_alias_that_lost_its_filter_gets_it_back(shop: Shop) -> None:
    shop.claimed().apply(plan(0, [put("x", 1), put("y", 1)], [DeleteDoc(A, "x")]))
    index, alias = f"{shop.prefix}{A}--e1", f"{shop.prefix}{A}"
    shop.ask("POST", "_aliases", {"actions": [{"add": {"index": index, "alias": alias, "is_write_index": True}}]})
    assert set(shop.content(A)) == {"x", "y", "logsync-position"}
    shop.client()
    assert shop.content(A) == {"y": {"n": 1}}
    before = shop.ask("GET", f"{index}/_alias")
    shop.client()
    assert shop.ask("GET", f"{index}/_alias") == before


def test_a_rebuild_under_a_template_that_came_later_is_refused_and_the_old_content_stays(shop: Shop) -> None:
    shop.claimed().apply(plan(0, [put("x", 1)]))
    with template(shop, {"mappings": {"_source": {"excludes": ["n"]}}}):
        with pytest.raises(ConfigError, match="_source"):
            shop.rebuild()
        assert shop.content(A) == {"x": {"n": 1}}  # readers still see the old index
    store = shop.client()
    book = store.read_book()
    assert book is not None
    assert book.state == "wiping"
    again = book.next(epoch=book.epoch + 1)
    store.write_book(again, positions=[])
    store.wipe(again)
    store.write_book(again.next(state="ready"), positions=[Position(0, 0, again.epoch)])
    assert shop.content(A) == {}


def test_an_index_that_becomes_wrong_between_claim_and_check_is_not_written_to(shop: Shop) -> None:
    """Two workers make the same index; the one that was slower looks before it writes, too."""
    store = shop.client()
    index = connected(store).layout.index(A, 1)

    def spoil() -> None:
        shop.ask("PUT", f"{index}/_settings", {"index.final_pipeline": "stamp"})

    interpose(store, f"/{index},{connected(store).layout.index(B, 1)}", before=spoil)
    interpose(store, f"/{connected(store).layout.index(B, 1)},{index}", before=spoil)
    with pytest.raises(LogsyncError, match="final_pipeline"):
        store.write_book(Book(sink=shop.sink, environment="test", log=LOG), positions=[Position(0, 0)])
    assert store.read_book() is None


def test_a_refusal_holds_nothing_of_the_document(shop: Shop) -> None:
    kinds = {"n": "long", "t": "keyword", "d": "date", "o": "object", "ip": "ip", "b": "boolean", "r": "integer_range"}
    shop.indices = {A: {"mappings": {"properties": {name: {"type": kind} for name, kind in kinds.items()}}}, B: LONG}
    store = shop.claimed()
    secret = "s3cr3t"
    fields: list[tuple[str, Any]] = [
        ("n", secret), ("n", {secret: secret}), ("n", [1, secret]), ("d", secret), ("ip", secret), ("b", secret),
        ("o", secret), ("t", secret * 9000), ("t", {"a": secret}), ("r", secret), ("r", {"gte": secret}),
    ]  # fmt: skip
    for name, value in fields:
        bad = replace(put("x", 1), doc={name: value})
        with pytest.raises(LogsyncError) as caught:
            store.apply(plan(0, [bad]))
        assert secret not in str(caught.value)
        assert str([ord(letter) for letter in secret])[1:-1] not in str(caught.value)
        assert f"field '{name}'" in str(caught.value), caught.value
        assert len(str(caught.value)) < 400
