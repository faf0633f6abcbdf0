"""HTTP to OpenSearch: every request bounded in time, sent once, its errors in logsync's tree."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from logsync.core.addresses import read
from logsync.core.secrets import keep, of_address
from logsync.errors import ConfigError, StoreUnavailable
from logsync.stores import tls
from logsync.stores.clients import importing
from logsync.stores.opensearch.errors import mismatch, translate

_PROBE = 2.0
"""Seconds to find out what stands at the other end of a first contact that broke."""
_PREFIX = re.compile(r"^[a-z0-9][a-z0-9._-]{0,79}$")


def parse(url: str) -> tuple[list[str], str]:
    """The hosts of ``url`` (several with commas) and the prefix of every index name, ``?prefix=staging-``.

    Raises ConfigError, which never shows the URL: it may hold a password.
    """
    expected = "an OpenSearch URL"
    fix = "LOGSYNC_OPENSEARCH=https://user:password@host:9200, several with commas, then optionally ?prefix=name-"
    keep(of_address(url))
    hosts, prefix = [], ""
    for part in url.split(","):
        address = read(part.strip(), schemes=("http", "https"), expected=expected, fix=fix)
        options = parse_qs(address.query, keep_blank_values=True)
        prefix = options.pop("prefix", [prefix])[-1]
        if address.places.partition(":")[0] == "" or options:
            raise ConfigError(f"expected {expected} with a host, and no option but prefix", fix=fix)
        if prefix and not _PREFIX.match(prefix):
            raise ConfigError(
                f"expected {expected} whose prefix is of a-z, 0-9, '.', '_', '-', and has 80 at most", fix=fix
            )
        hosts.append(part.strip().partition("?")[0])
    return hosts, prefix


class OpenSearchClient:
    """opensearch-py without its retries: it would resend single requests and break the order of the plan."""

    def __init__(self, hosts: list[str], timeout: float) -> None:
        with importing("opensearchpy", extra="opensearch"):
            import opensearchpy
        self._hosts, self._timeout = hosts, timeout
        self._deadline = 0.0
        self._answered = False
        try:
            self._client = opensearchpy.OpenSearch(hosts, max_retries=0, retry_on_timeout=False, timeout=timeout)
        except Exception as error:  # certificates, odd URLs: whatever it is, it is the set-up
            raise ConfigError(f"the OpenSearch client cannot be made: {type(error).__name__}") from error

    def close(self) -> None:
        with suppress(Exception):  # nothing that closing could lose
            self._client.close()

    @contextmanager
    def bound(self) -> Iterator[None]:
        """All requests inside share one bound, the store's timeout in seconds."""
        self._deadline = time.monotonic() + self._timeout
        yield

    @property
    def remaining(self) -> float:
        return self._deadline - time.monotonic()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        ignore: Collection[int] = (),
        writing: bool = False,
    ) -> dict[str, Any]:
        """Send once and return the answer. ``ignore`` are HTTP errors whose body is returned like an answer.

        Raises StoreUnavailable, StoreOutcomeUnknown (only when ``writing``), ConfigError, PositionConflict.
        """
        from opensearchpy.exceptions import ConnectionError, OpenSearchException
        from urllib3 import Timeout

        left = self.remaining
        if left <= 0:
            raise StoreUnavailable(f"OpenSearch did not finish within {self._timeout:.0f} s")
        bound: Any = Timeout(total=left)  # connecting included; handed through to urllib3
        try:
            answer = self._client.transport.perform_request(
                method, path, params=dict(params or ()), body=body, ignore=ignore, timeout=bound
            )
        except ConnectionError as error:
            if not self._answered and (wrong := self._mismatch()):
                raise mismatch(wrong) from error
            raise translate(error, writing=writing) from error
        except (OpenSearchException, ValueError) as error:
            raise translate(error, writing=writing) from error
        self._answered = True
        return answer if isinstance(answer, dict) else {}

    def _mismatch(self) -> str:
        """Why nothing was understood, if one side speaks TLS and the other does not; empty if it is not that."""
        for host in self._hosts:
            split = urlsplit(host)
            secure, name = split.scheme == "https", split.hostname or ""
            port = split.port or (443 if secure else 9200)
            wrong = tls.asked(name, port, secure=secure, timeout=min(_PROBE, self._timeout))
            if wrong:
                return wrong
        return ""
