"""The one table from what OpenSearch and its client say to what logsync knows.

An answer is judged by its error type, then by its HTTP status; the same table serves whole requests and the
single items of a bulk or mget answer.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from logsync.errors import ConfigError, LogsyncError, PositionConflict, StoreOutcomeUnknown, StoreUnavailable


class TooLarge(ConfigError):
    """HTTP 413: the request as a whole. A bulk is cut in two until the one document that is too large is alone."""


class Verdict(Enum):
    DONE = "done"
    CONFLICT = "conflict"
    """Something newer is there. For a document that is success: it already holds these events."""
    REFUSED = "refused"
    """This document is at fault, and no other."""
    GONE = "gone"
    UNAVAILABLE = "unavailable"
    SETUP = "setup"


_BY_TYPE = {
    "version_conflict_engine_exception": Verdict.CONFLICT,
    "index_not_found_exception": Verdict.GONE,
    "alias_not_found_exception": Verdict.GONE,
    "aliases_not_found_exception": Verdict.GONE,
    # Closed or blocked, by an operator or by a full disk: it says nothing about the document, and it passes.
    "index_closed_exception": Verdict.UNAVAILABLE,
    "cluster_block_exception": Verdict.UNAVAILABLE,
    "no_shard_available_action_exception": Verdict.UNAVAILABLE,
    "unavailable_shards_exception": Verdict.UNAVAILABLE,
    "shard_not_found_exception": Verdict.UNAVAILABLE,
    "security_exception": Verdict.SETUP,
}
_BY_STATUS = {
    400: Verdict.REFUSED,
    401: Verdict.SETUP,
    403: Verdict.SETUP,
    404: Verdict.GONE,
    409: Verdict.CONFLICT,
    413: Verdict.REFUSED,  # of one document alone
    429: Verdict.UNAVAILABLE,
}


def verdict(status: int, error: Any) -> Verdict:
    """What an answer with this error object, or with none, means. Unknown ones are UNAVAILABLE: waiting loudly loses
    nothing."""
    kind = error.get("type") if isinstance(error, dict) else None
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    return Verdict.DONE if 200 <= status < 300 else _BY_STATUS.get(status, Verdict.UNAVAILABLE)


def reason(error: Any) -> str:
    """One line from an error object of OpenSearch, with its innermost cause."""
    if not isinstance(error, dict):
        return str(error)[:300]
    text = f"{error.get('type')}: {error.get('reason')}"
    cause = error.get("caused_by")
    while isinstance(cause, dict) and isinstance(cause.get("caused_by"), dict):
        cause = cause["caused_by"]
    return f"{text} ({cause.get('reason')})" if isinstance(cause, dict) else text


def raised(what: Verdict, text: str) -> LogsyncError:
    """The error for a request, or an item that is not a user's document, that was not DONE."""
    if what in (Verdict.CONFLICT, Verdict.GONE):
        return PositionConflict(f"OpenSearch: {text}")
    if what is Verdict.UNAVAILABLE:
        return StoreUnavailable(f"OpenSearch: {text}")
    return ConfigError(f"OpenSearch refuses: {text}", fix="check LOGSYNC_OPENSEARCH, the role's rights and the mapping")


def translate(error: Exception, *, writing: bool) -> LogsyncError:
    """The error of opensearch-py in logsync's tree.

    ``writing``: the request may have changed something, so a broken connection leaves the outcome unknown.
    The text of the client's connection errors names host and port, never user or password.
    """
    import urllib3.exceptions as transport
    from opensearchpy import exceptions as client

    if isinstance(error, client.ConnectionError):
        cause = error.info if isinstance(error.info, Exception) else error
        text = f"OpenSearch does not answer: {type(cause).__name__}: {cause}"
        if any(word in str(cause) for word in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER")):
            return ConfigError(
                text, fix="LOGSYNC_OPENSEARCH: http or https? SSL_CERT_FILE names the authorities to trust"
            )
        never_sent = isinstance(cause, transport.NewConnectionError | transport.ConnectTimeoutError)
        return StoreOutcomeUnknown(text) if writing and not never_sent else StoreUnavailable(text)
    if isinstance(error, client.TransportError) and isinstance(error.status_code, int):
        if error.status_code == 413:  # often a proxy's page: nothing in it to read
            return TooLarge("OpenSearch, or a proxy before it, refuses a request as too large (HTTP 413)")
        info = error.info.get("error", error.error) if isinstance(error.info, dict) else error.error
        return raised(verdict(error.status_code, info), f"HTTP {error.status_code}: {reason(info)}")
    # An answer that is no JSON: a proxy's page, or cut off midway.
    text = f"OpenSearch answers, but not as OpenSearch: {type(error).__name__}"
    return StoreOutcomeUnknown(text) if writing else StoreUnavailable(text)
