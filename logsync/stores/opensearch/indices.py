"""The indices and aliases of one sink: made, checked, swapped, deleted. Knows nothing of documents."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

from logsync.errors import ConfigError, LogsyncError, PositionConflict
from logsync.stores.opensearch.client import OpenSearchClient
from logsync.stores.opensearch.conditions import IndexFault, faults, flat
from logsync.stores.opensearch.errors import Verdict, raised, reason, verdict
from logsync.stores.opensearch.layout import Body, Layout, holds_books

log = logging.getLogger("logsync.stores.opensearch")
# Names that do not exist are left out of the answer instead of failing it.
_TOLD = 5  # faults that a message names
_SEARCH = {"ignore_unavailable": "true", "allow_no_indices": "true", "expand_wildcards": "all"}


class Indices:
    """What stands in OpenSearch for one layout. Every method is a few small requests."""

    def __init__(self, client: OpenSearchClient, layout: Layout) -> None:
        self._client, self._layout = client, layout
        self.searching: dict[str, str] = {}
        """Parameters of every search of logsync's own: past an index's search pipeline, which may hide documents."""

    def ensure_books(self) -> None:
        """The index of books exists, is ours, and gives back what it is given. Raises ConfigError."""
        layout = self._layout
        found = self._get(f"{layout.books},{layout.books_index}")
        if not found:
            self._create(layout.books_index, layout.books_body(), own=False)
        elif list(found) != [layout.books_index] or not holds_books(found[layout.books_index]):
            raise _foreign(layout.books, found)
        else:
            self._refuse(layout.books_index, faults(found[layout.books_index], {}, fresh=False, own=False))

    def owned(self) -> dict[str, Any]:
        """Every index of this sink, of any epoch, also of names that are no longer declared."""
        return {name: found for name, found in self._get(self._layout.pattern).items() if self._layout.owns(found)}

    def check_names(self) -> None:
        """No name of ours leads to an index of somebody else. Raises ConfigError."""
        for name in self._layout.names:
            self._look(name, 1)

    def ensure(self, epoch: int) -> None:
        """Every declared name has its index of ``epoch``, and readers see that one. Safe to repeat.

        An index of an older epoch loses its readers and keeps its content. One of a newer epoch keeps its readers: only
        a rebuild that another one has overtaken can meet it. Raises ConfigError.
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
            self._refuse(index, faults(found, {}, fresh=False))
            if layout.changed(found, name, "mappings"):
                self._put_mapping(index, name, epoch)
            if layout.changed(found, name, "settings"):
                fields = {"sink": layout.sink, "index": index, "fix": "logsync rebuild SINK --yes"}
                log.warning("changed settings take effect with a rebuild", extra=fields)
            altered = layout.altered(found, name, epoch)
            if altered:
                log.warning("aliases restored", extra={"sink": layout.sink, "index": index, "aliases": altered})
                writer = {"add": {"index": index, "alias": layout.writer(name, epoch), "is_write_index": True}}
                self._swap([layout.point_readers(name, epoch), writer])

    def check(self, epoch: int, *, fresh: Collection[str] = ()) -> None:
        """The indices still are what a sink needs. Of the ``fresh`` names nothing was ever written to the index.

        An index that is missing is not judged: what needs it notices. Raises ConfigError.
        """
        layout = self._layout
        indices = {layout.index(name, epoch): name for name in layout.names}
        for index, found in self._get(",".join(indices)).items():
            if name := indices.get(index):
                new = name in fresh
                self._refuse(index, faults(found, layout.body(name, epoch), fresh=new), fresh=new)

    def faults(self, index: str) -> list[IndexFault]:
        """What a worker that resumes refuses this index for; of one that is missing, nothing."""
        found = self._get(index).get(index)
        return faults(found, {}, fresh=False) if found is not None else []

    def delete(self, names: list[str]) -> None:
        """Delete these indices, by name and never by pattern."""
        for name in names:
            self._client.request("DELETE", f"/{name}", ignore=(404,), writing=True)

    def count(self, names: list[str], query: Body) -> int:
        """Documents that match, after a refresh. Never a guess: a shard that does not answer raises."""
        if not names:
            return 0
        whole(self._client.request("POST", f"/{','.join(names)}/_refresh"), "refresh")
        # Not _count: it cannot go past an index's search pipeline, which may leave documents out.
        params = {**self.searching, "allow_partial_search_results": "false"}
        body = {"query": query, "size": 0, "track_total_hits": True}
        answer = self._client.request("POST", f"/{','.join(names)}/_search", body, params=params)
        whole(answer, "count")
        if answer.get("timed_out"):
            raise raised(Verdict.UNAVAILABLE, "counting documents was cut off")
        return int(answer["hits"]["total"]["value"])

    def _look(self, name: str, epoch: int) -> dict[str, Any]:
        """The indices behind the names of one declaration, all of them ours."""
        layout = self._layout
        found = self._get(f"{layout.reader(name)},{layout.writer(name, epoch)},{layout.index(name, epoch)}")
        if not all(layout.owns(what) for what in found.values()) or layout.reader(name) in found:
            raise _foreign(layout.reader(name), {n: w for n, w in found.items() if not layout.owns(w)} or found)
        return found

    def _get(self, names: str) -> dict[str, Any]:
        found = self._client.request("GET", f"/{names}", params=_SEARCH)
        if any("index.search.default_pipeline" in flat(what.get("settings", {})) for what in found.values()):
            self.searching = {
                "search_pipeline": "_none"
            }  # known to a server that has this setting, and to no older one
        return found

    def _create(self, index: str, body: Body, *, own: bool = True) -> None:
        """Make the index, and see what the cluster's index templates made of it. Raises ConfigError. # O6"""
        shards = {"wait_for_active_shards": "1"}  # whatever a template says of that
        answer = self._client.request("PUT", f"/{index}", body, params=shards, ignore=(400,), writing=True)
        error = answer.get("error")
        if isinstance(error, dict):
            if error.get("type") == "resource_already_exists_exception":  # another one was faster, and looks at it
                return
            raise ConfigError(
                f"OpenSearch refuses to create index {index}: {reason(error)}",
                fix=f"correct its declaration{self._templates(index)}",
            )
        answer = self._client.request("GET", f"/{index}", ignore=(403,))
        if "error" in answer:
            wrong = [IndexFault("blocks", f"it cannot even be looked at: {reason(answer['error'])}")]
        else:
            wrong = faults(answer[index], body, fresh=True, own=own)
        if wrong:
            self._take_back(index)
            self._refuse(index, wrong, fresh=True)

    def _take_back(self, index: str) -> None:
        """Delete what was just made and holds nothing: as it is, it would always be refused."""
        for block in ("read_only", "metadata"):
            with suppress(LogsyncError):
                self._client.request("PUT", f"/{index}/_settings", {f"index.blocks.{block}": None}, writing=True)
        with suppress(LogsyncError):
            self.delete([index])

    def _refuse(self, index: str, wrong: list[IndexFault], *, fresh: bool = False) -> None:
        """Raises ConfigError that names what is wrong with this index and what mends it; nothing if nothing is."""
        if not wrong:
            return
        rebuild = "`logsync rebuild SINK --yes` makes a new index from the log"
        if index == self._layout.books_index:
            rebuild = "move its documents to a new index of that name, or delete it and rebuild every sink of it"
        if fresh:
            fix = (
                f"keep the index templates of the cluster{self._templates(index)} from matching {index}, or declare "
                "the same for it in the sink where that is allowed; delete the index if it is there, and start again"
            )
        elif all(fault.setting for fault in wrong):
            fix = f"{mend(index, wrong)}; if anything was written meanwhile: {rebuild}"
        else:
            fix = rebuild
        told = "; ".join(fault.what for fault in wrong[:_TOLD])
        more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        raise ConfigError(f"index {index} is not what this sink needs: {told}{more}", fix=fix)

    def _templates(self, index: str) -> str:
        """The templates that match this name, for a message; nothing where the user may not see them."""
        names: set[str] = set()
        with suppress(LogsyncError):
            for entry in self._client.request("GET", "/_index_template").get("index_templates", ()):
                if _matches(index, entry.get("index_template", {}).get("index_patterns", ())):
                    names.add(str(entry.get("name")))
        with suppress(LogsyncError):
            for name, entry in self._client.request("GET", "/_template").items():
                if _matches(index, entry.get("index_patterns", ())):
                    names.add(name)
        return f" ({', '.join(sorted(names))})" if names else ""

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


def mend(index: str, wrong: Collection[IndexFault]) -> str:
    """The command that sets the settings of an open index as they must be."""
    settings = json.dumps({fault.setting: fault.value for fault in wrong})
    head = "-H 'Content-Type: application/json'"
    return f"`curl -X PUT $LOGSYNC_OPENSEARCH/{index}/_settings {head} -d '{settings}'`"


def _matches(index: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(index, pattern) for pattern in patterns)


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
