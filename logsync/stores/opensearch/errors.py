"""The one table from what OpenSearch and its client say to what logsync knows.

An answer is judged by its error type, then by its HTTP status; the same table serves whole requests and the
single items of a bulk or mget answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from logsync.errors import ConfigError, LogsyncError, PositionConflict, StoreOutcomeUnknown, StoreUnavailable
from logsync.stores.tls import complaint


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
    """One line from an error object of OpenSearch, with its innermost cause: for what carries no document.

    What quotes a request is cut off all the same: a shard that is not there tells which document it did not write.
    """
    if not isinstance(error, dict):
        return _line(str(error))
    text = f"{error.get('type')}: {error.get('reason')}"
    *_, innermost = _causes(error)
    return _line(text if innermost is error else f"{text} ({innermost.get('reason')})")


def refusal(error: Any) -> str:
    """Why a document was refused, in words that hold nothing of its content.

    OpenSearch quotes values where it names a cause, and a message of logsync goes into logs and status pages. So only
    sentences that are known to hold names and limits are passed on; of all others the kinds of the errors. The event
    itself is what `logsync show` is for.
    """
    if not isinstance(error, dict):
        return "no reason given"
    chain = [cause for cause in _causes(error) if isinstance(cause.get("type"), str)]
    kinds = dict.fromkeys(_line(cause["type"], 80) for cause in chain)
    told = (say(found) for cause in chain for pattern, say in _SENTENCES if (found := pattern.match(_reason(cause))))
    return f"{next(told, 'a value or the mapping does not fit')} ({', '.join(kinds)})"


def _causes(error: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The error and what has caused it, outermost first."""
    cause: object = error
    while isinstance(cause, dict):
        yield cause
        cause = cause.get("caused_by")


def _reason(cause: Mapping[str, Any]) -> str:
    return str(cause.get("reason"))


def _line(text: str, most: int = 400) -> str:
    """``text`` as one line of at most so many printable characters, without what quotes a request."""
    text = _QUOTES.split(text, maxsplit=1)[0]
    line = "".join(letter if letter.isprintable() else " " for letter in text[: most + 1])
    return line if len(line) <= most else f"{line[: most - 3]}..."


_QUOTES = re.compile(r",? ?(?:request: \[|source\[|Preview of field's value)")
_SENTENCES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern, re.DOTALL), say)
    for pattern, say in (
        (
            r"failed to parse field \[(.{1,500}?)\] of type \[(\w+)\]",
            lambda found: f"field {_name(found[1])} of type {found[2]} does not take this value",
        ),
        (
            r"object mapping for \[(.{1,500}?)\] tried to parse field \[.*\] as object",
            lambda found: f"field {_name(found[1])} is an object, and the value is none",
        ),
        (
            r"mapping set to strict, dynamic introduction of \[(.{1,500}?)\] within \[(.{1,500}?)\] is not allowed",
            lambda found: f"the mapping is strict, and {_name(found[2])} has no field {_name(found[1])}",
        ),
        (
            r'Document contains at least one immense term in field="(.{1,500}?)"',
            lambda found: f"field {_name(found[1])} has a term of more than 32,766 bytes",
        ),
        (r"Cannot write to a field alias \[(.{1,500}?)\]", lambda found: f"field {_name(found[1])} is an alias"),
        (
            r"mapper \[(.{1,500}?)\] cannot be changed from type \[(\w+)\] to \[(\w+)\]",
            lambda found: f"field {_name(found[1])} of type {found[2]} cannot become {found[3]}",
        ),
        (r"Field \[(_\w+)\] is a metadata field", lambda found: f"field {found[1]} is one of OpenSearch's own"),
        (
            r"((?:Limit of [\w ]+|The [\w ]+ has exceeded the allowed limit of) \[\d+\])",
            lambda found: f"beyond a limit: {found[1]}",
        ),
        (
            r"(field name cannot [\w ]+|object field starting or ending with a \[\.\])",
            lambda found: found[1],
        ),
    )
)


def _name(field: str) -> str:
    return repr(field if len(field) <= 80 else f"{field[:77]}...")


def raised(what: Verdict, text: str) -> LogsyncError:
    """The error for a request, or an item that is not a user's document, that was not DONE."""
    if what in (Verdict.CONFLICT, Verdict.GONE):
        return PositionConflict(f"OpenSearch: {text}")
    if what is Verdict.UNAVAILABLE:
        return StoreUnavailable(f"OpenSearch: {text}")
    return ConfigError(f"OpenSearch refuses: {text}", fix="check LOGSYNC_OPENSEARCH, the role's rights and the mapping")


def mismatch(wrong: str) -> ConfigError:
    """One side speaks TLS otherwise than the other expects: it does not pass."""
    fix = "correct LOGSYNC_OPENSEARCH: http:// or https://? SSL_CERT_FILE names the authorities to trust"
    return ConfigError(f"OpenSearch: {_line(wrong)}", fix=fix)


def translate(error: Exception, *, writing: bool) -> LogsyncError:
    """The error of opensearch-py in logsync's tree.

    ``writing``: the request may have changed something, so a broken connection leaves the outcome unknown.
    The text of the client's connection errors names host and port, never user or password.
    """
    import urllib3.exceptions as transport
    from opensearchpy import exceptions as client

    if isinstance(error, client.ConnectionError):
        cause = error.info if isinstance(error.info, Exception) else error
        text = _line(f"OpenSearch does not answer: {type(cause).__name__}: {cause}")
        if wrong := complaint(error):
            return mismatch(wrong)
        never_sent = isinstance(cause, transport.NewConnectionError | transport.ConnectTimeoutError)
        return StoreOutcomeUnknown(text) if writing and not never_sent else StoreUnavailable(text)
    if isinstance(error, client.TransportError) and isinstance(error.status_code, int):
        if error.status_code == 413:  # often a proxy's page: nothing in it to read
            return TooLarge("OpenSearch, or a proxy before it, refuses a request as too large (HTTP 413)")
        info = error.info.get("error", error.error) if isinstance(error.info, dict) else error.error
        what = verdict(error.status_code, info)
        of_a_document = (
            writing and what is Verdict.REFUSED and "pars" in str(error.error)
        )  # the book, and what it holds
        return raised(what, f"HTTP {error.status_code}: {refusal(info) if of_a_document else reason(info)}")
    # An answer that is no JSON: a proxy's page, or cut off midway.
    text = f"OpenSearch answers, but not as OpenSearch: {type(error).__name__}"
    return StoreOutcomeUnknown(text) if writing else StoreUnavailable(text)
