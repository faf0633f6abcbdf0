"""The indices and aliases of one sink: made, checked, swapped, deleted. Knows nothing of documents."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from logsync.errors import ConfigError, PositionConflict
from logsync.stores.opensearch.client import Client
from logsync.stores.opensearch.errors import Verdict, raised, reason, verdict
from logsync.stores.opensearch.layout import Body, Layout, durable, holds_books

log = logging.getLogger("logsync.stores.opensearch")
# Names that do not exist are left out of the answer instead of failing it.
_SEARCH = {"ignore_unavailable": "true", "allow_no_indices": "true", "expand_wildcards": "all"}


class Indices:
    """What stands in OpenSearch for one layout. Every method is a few small requests."""

    def __init__(self, client: Client, layout: Layout) -> None:
        self._client, self._layout = client, layout

    def ensure_books(self) -> None:
        """The index of books exists and is ours. Raises ConfigError."""
        layout = self._layout
        found = self._get(f"{layout.books},{layout.books_index}")
        if not found:
            self._create(layout.books_index, layout.books_body())
        elif list(found) != [layout.books_index] or not holds_books(found[layout.books_index]):
            raise _foreign(layout.books, found)

    def owned(self) -> dict[str, Any]:
        """Every index of this sink, of any epoch, also of names that are no longer declared."""
        return {name: found for name, found in self._get(self._layout.pattern).items() if self._layout.owns(found)}

    def check_names(self) -> None:
        """No name of ours leads to an index of somebody else. Raises ConfigError."""
        for name in self._layout.names:
            self._look(name, 1)

    def ensure(self, epoch: int) -> None:
        """Every declared name has its index of ``epoch``, and readers see that one. Safe to repeat.

        An index of an older epoch loses its readers and keeps its content; one of a newer epoch, which only a rebuild
        that was book_conflict can meet, keeps them. Raises ConfigError.
        """
        layout = self._layout
        for name in layout.names:
            index = layout.index(name, epoch)
            found = self._look(name, epoch)
            if index not in found:
                self._create(index, layout.body(name, epoch))
            others = [
                other
                for other, what in found.items()
                if other != index and layout.epoch(what) <= epoch and _has(what, layout.reader(name))
            ]
            if others or not _has(found.get(index, {}), layout.reader(name)):
                gone = [{"remove": {"index": other, "alias": layout.reader(name)}} for other in others]
                self._swap([layout.point_readers(name, epoch), *gone])

    def update(self, epoch: int) -> None:
        """Bring the indices of a running sink to what is declared now, as far as that works in place.

        An index that is missing stays missing: it was deleted, or its name is new, and either way it lacks the
        events up to now; without its position the worker refuses to go on. Raises ConfigError.
        """
        layout = self._layout
        for name in layout.names:
            index = layout.index(name, epoch)
            found = self._look(name, epoch).get(index)
            if found is None:
                log.warning("index is missing", extra={"sink": layout.sink, "index": index})
                continue
            if not durable(found):
                raise ConfigError(
                    f"index {index} has index.translog.durability=async: a position could claim writes"
                    " that a crash loses",
                    fix=f"curl -X PUT $LOGSYNC_OPENSEARCH/{index}/_settings -H 'Content-Type: application/json' "
                    """-d '{"index.translog.durability": "request"}'""",
                )
            if layout.changed(found, name, "mappings"):
                self._put_mapping(index, name, epoch)
            if layout.changed(found, name, "settings"):
                fields = {"sink": layout.sink, "index": index, "fix": "logsync rebuild SINK --yes"}
                log.warning("changed settings take effect with a rebuild", extra=fields)
            lacking = [alias for alias in (layout.reader(name), layout.writer(name, epoch)) if not _has(found, alias)]
            if lacking:
                log.warning("aliases restored", extra={"sink": layout.sink, "index": index, "aliases": lacking})
                writer = {"add": {"index": index, "alias": layout.writer(name, epoch), "is_write_index": True}}
                self._swap([layout.point_readers(name, epoch), writer])

    def delete(self, names: list[str]) -> None:
        """Delete these indices, by name and never by pattern."""
        for name in names:
            self._client.request("DELETE", f"/{name}", ignore=(404,), writing=True)

    def count(self, names: list[str], query: Body) -> int:
        """Documents that match, after a refresh. Never a guess: a shard that does not answer raises."""
        if not names:
            return 0
        whole(self._client.request("POST", f"/{','.join(names)}/_refresh"), "refresh")
        answer = self._client.request("POST", f"/{','.join(names)}/_count", {"query": query})
        whole(answer, "count")
        return int(answer["count"])

    def _look(self, name: str, epoch: int) -> dict[str, Any]:
        """The indices behind the names of one declaration, all of them ours."""
        layout = self._layout
        found = self._get(f"{layout.reader(name)},{layout.writer(name, epoch)},{layout.index(name, epoch)}")
        if not all(layout.owns(what) for what in found.values()) or layout.reader(name) in found:
            raise _foreign(layout.reader(name), {n: w for n, w in found.items() if not layout.owns(w)} or found)
        return found

    def _get(self, names: str) -> dict[str, Any]:
        return self._client.request("GET", f"/{names}", params=_SEARCH)

    def _create(self, index: str, body: Body) -> None:
        answer = self._client.request("PUT", f"/{index}", body, ignore=(400,), writing=True)
        error = answer.get("error")
        if (
            isinstance(error, dict) and error.get("type") != "resource_already_exists_exception"
        ):  # another one was faster
            raise ConfigError(
                f"OpenSearch refuses to create index {index}: {reason(error)}", fix="correct its declaration"
            )

    def _put_mapping(self, index: str, name: str, epoch: int) -> None:
        body = self._layout.mappings(name, epoch)
        answer = self._client.request("PUT", f"/{index}/_mapping", body, ignore=(400,), writing=True)
        if "error" in answer:
            raise ConfigError(
                f"index {index} cannot take the mapping as it is declared now: {reason(answer['error'])}",
                fix="`logsync rebuild SINK --yes` makes a new index from the log",
            )

    def _swap(self, actions: list[Body]) -> None:
        """All alias actions at once: a reader sees the old index or the new one, never none."""
        self._client.request("POST", "/_aliases", {"actions": actions}, writing=True)


def checked(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """One document of a get or mget answer that really was looked for. Raises PositionConflict, StoreUnavailable."""
    error = answer.get("error")
    if error is not None:
        what = verdict(0, error)
        if what is Verdict.GONE:
            raise PositionConflict(f"OpenSearch: {reason(error)}: the index was deleted, or replaced by a rebuild")
        raise raised(what, reason(error))
    return answer


def _has(found: Mapping[str, Any], alias: str) -> bool:
    return alias in found.get("aliases", {})


def whole(answer: Mapping[str, Any], what: str) -> None:
    if answer.get("_shards", {}).get("failed"):
        raise raised(Verdict.UNAVAILABLE, f"{what}: {answer['_shards']}")


def _foreign(name: str, found: Mapping[str, Any]) -> ConfigError:
    return ConfigError(
        f"OpenSearch: {name} leads to {', '.join(sorted(found))}, which this sink did not make, so it may not touch it",
        fix="give the sink another index name, or keep it apart with ?prefix=name- in LOGSYNC_OPENSEARCH",
    )
