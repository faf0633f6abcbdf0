"""What OpenSearch says, and what logsync makes of it."""

from __future__ import annotations

import ssl

import pytest
import urllib3
from opensearchpy import exceptions as client
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError

from logsync.errors import ConfigError, LogsyncError, PositionConflict, StoreOutcomeUnknown, StoreUnavailable
from logsync.stores.opensearch import bulk
from logsync.stores.opensearch.client import parse
from logsync.stores.opensearch.errors import Verdict, translate, verdict


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (201, None, Verdict.DONE),
        (409, "version_conflict_engine_exception", Verdict.CONFLICT),
        (400, "mapper_parsing_exception", Verdict.REFUSED),
        (400, "strict_dynamic_mapping_exception", Verdict.REFUSED),
        (400, "illegal_argument_exception", Verdict.REFUSED),
        (404, "index_not_found_exception", Verdict.GONE),
        (400, "index_closed_exception", Verdict.UNAVAILABLE),
        (403, "cluster_block_exception", Verdict.UNAVAILABLE),
        (429, "cluster_block_exception", Verdict.UNAVAILABLE),
        (429, "rejected_execution_exception", Verdict.UNAVAILABLE),
        (503, "unavailable_shards_exception", Verdict.UNAVAILABLE),
        (503, "no_shard_available_action_exception", Verdict.UNAVAILABLE),
        (502, None, Verdict.UNAVAILABLE),
        (504, None, Verdict.UNAVAILABLE),
        (500, "something_nobody_knows", Verdict.UNAVAILABLE),
        (403, "security_exception", Verdict.SETUP),
        (401, None, Verdict.SETUP),
        (413, None, Verdict.REFUSED),
    ],
)
def test_each_answer_has_one_meaning(status: int, kind: str | None, expected: Verdict) -> None:
    assert verdict(status, kind and {"type": kind}) is expected


def refused_by_tls(cause: ssl.SSLError) -> Exception:
    return MaxRetryError(None, "/", urllib3.exceptions.SSLError(cause))  # type: ignore[arg-type]


def plain_text() -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


REFUSED = NewConnectionError(None, "refused")  # type: ignore[arg-type]
SILENT = ReadTimeoutError(None, "/", "timed out")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "writing", "expected"),
    [
        (client.ConnectionError("N/A", "", REFUSED), True, StoreUnavailable),
        (client.ConnectionTimeout("TIMEOUT", "", SILENT), True, StoreOutcomeUnknown),
        (client.ConnectionTimeout("TIMEOUT", "", SILENT), False, StoreUnavailable),
        (client.ConnectionError("N/A", "", ProtocolError("cut off")), True, StoreOutcomeUnknown),
        (client.SSLError("N/A", "", refused_by_tls(ssl.SSLCertVerificationError(1, "failed"))), False, ConfigError),
        (client.SSLError("N/A", "", refused_by_tls(plain_text())), True, ConfigError),
        (client.SSLError("N/A", "", Exception("EOF occurred")), False, StoreUnavailable),
        (client.AuthenticationException(401, "Unauthorized", None), False, ConfigError),
        (client.AuthorizationException(403, "", {"error": {"type": "security_exception"}}), True, ConfigError),
        (
            client.AuthorizationException(403, "", {"error": {"type": "cluster_block_exception"}}),
            True,
            StoreUnavailable,
        ),
        (client.TransportError(503, "<html>", None), True, StoreUnavailable),
        (client.ConflictError(409, "", {"error": {"type": "x"}}), True, PositionConflict),
        (client.SerializationError("<html>"), True, StoreOutcomeUnknown),
    ],
)
def test_each_client_error_becomes_one_of_logsync(
    error: Exception, writing: bool, expected: type[LogsyncError]
) -> None:
    assert type(translate(error, writing=writing)) is expected


PREVIEW = "failed to parse field [{}] of type [long] in document with id '1'. Preview of field's value: 's3cr3t'"
REFUSALS = [
    (PREVIEW.format("n"), "For input string: s3cr3t", "field 'n' of type long does not take this value"),
    (PREVIEW.format("o.n"), "Failed to parse value [s3cr3t] as only [true] ...", "field 'o.n' of type long"),
    ("failed to parse", "unknown join name [s3cr3t] for field [j]", "a value or the mapping does not fit"),
    ("failed to parse", "Cannot write to a field alias [al].", "field 'al' is an alias"),
    ("mapping set to strict, dynamic introduction of [new] within [_doc] is not allowed", None, "no field 'new'"),
    ("object mapping for [o] tried to parse field [o] as object, but found a concrete value", None, "'o' is an object"),
    ('Document contains at least one immense term in field="k" (... [115, 51, 99])', None, "field 'k' has a term"),
    ("Limit of total fields [60] has been exceeded", None, "Limit of total fields [60]"),
    ("The number of nested documents has exceeded the allowed limit of [2]. This", None, "allowed limit of [2]"),
    ("failed to parse", "field name cannot be an empty string", "field name cannot be an empty string"),
    ("mapper [x] cannot be changed from type [long] to [text]", None, "field 'x' of type long cannot become text"),
    (PREVIEW.format("x" * 5000), None, "does not fit"),
    ("anything with s3cr3t in it", "and s3cr3t again", "a value or the mapping does not fit"),
]


@pytest.mark.parametrize(("said", "cause", "words"), REFUSALS, ids=range(len(REFUSALS)))
def test_a_refusal_is_told_without_anything_of_the_document(said: str, cause: str | None, words: str) -> None:
    error = {"type": "mapper_parsing_exception", "reason": said}
    if cause is not None:
        error["caused_by"] = {"type": "illegal_argument_exception", "reason": cause}  # type: ignore[assignment]
    item = {"status": 400, "error": error}
    (refused,) = bulk.items({"items": [{"index": item}]}, 1)
    assert refused.verdict is Verdict.REFUSED
    assert words in refused.reason
    assert "mapper_parsing_exception" in refused.reason
    assert "s3cr3t" not in refused.reason
    assert "115, 51" not in refused.reason
    assert len(refused.reason) < 300


def test_what_a_shard_or_a_page_says_is_one_bounded_line_without_the_request() -> None:
    said = '[x][0] primary shard is not active Timeout: [1m], request: [index {[x][1], source[{"a":"s3cr3t"}]}]'
    (item,) = bulk.items(
        {"items": [{"index": {"status": 503, "error": {"type": "unavailable_shards_exception", "reason": said}}}]}, 1
    )
    assert item.reason == "unavailable_shards_exception: [x][0] primary shard is not active Timeout: [1m]"
    odd = {"error": {"type": "x", "reason": "a\n\x1b[31m" + "y" * 9000}}
    text = str(translate(client.TransportError(500, "x", odd), writing=False))
    assert len(text) < 600
    assert text.isprintable()


def test_the_book_is_refused_without_its_content() -> None:
    error = {"type": "mapper_parsing_exception", "reason": PREVIEW.format("book"), "caused_by": {"reason": "s3cr3t"}}
    text = str(translate(client.RequestError(400, "mapper_parsing_exception", {"error": error}), writing=True))
    assert "s3cr3t" not in text
    assert "book" in text


def test_a_url_names_hosts_and_a_prefix() -> None:
    assert parse("http://a:9200") == (["http://a:9200"], "")
    hosts = ["https://u:p@a:9200", "https://u:p@b:9200/path"]
    assert parse("https://u:p@a:9200,https://u:p@b:9200/path?prefix=staging-") == (hosts, "staging-")


@pytest.mark.parametrize(
    "url", ["a:9200", "ftp://u:secret@a", "http://u:secret@a?prefx=x", "http://u:secret@a:port", "http://u:secret@a?prefix=_x"]
)  # fmt: skip
def test_a_bad_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert "secret" not in str(caught.value)


def test_an_answer_with_items_missing_is_no_success() -> None:
    answer = {"items": [{"index": {"status": 201}}]}
    assert [item.verdict for item in bulk.items(answer, 1)] == [Verdict.DONE]
    assert {item.verdict for item in bulk.items(answer, 2)} == {Verdict.UNAVAILABLE}


def test_chunks_keep_order_and_stay_below_the_limit() -> None:
    parts = [b"a" * 40, b"b" * 40, b"c" * 300, b"d" * 99]
    assert list(bulk.chunks(parts, 100)) == [[parts[0], parts[1]], [parts[2]], [parts[3]]]
