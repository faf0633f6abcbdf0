"""What OpenSearch says, and what logsync makes of it."""

from __future__ import annotations

import pytest
from opensearchpy import exceptions as client
from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

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


REFUSED = NewConnectionError(None, "refused")  # type: ignore[arg-type]
SILENT = ReadTimeoutError(None, "/", "timed out")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "writing", "expected"),
    [
        (client.ConnectionError("N/A", "", REFUSED), True, StoreUnavailable),
        (client.ConnectionTimeout("TIMEOUT", "", SILENT), True, StoreOutcomeUnknown),
        (client.ConnectionTimeout("TIMEOUT", "", SILENT), False, StoreUnavailable),
        (client.ConnectionError("N/A", "", ProtocolError("cut off")), True, StoreOutcomeUnknown),
        (client.SSLError("N/A", "", Exception("[SSL: CERTIFICATE_VERIFY_FAILED]")), False, ConfigError),
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
