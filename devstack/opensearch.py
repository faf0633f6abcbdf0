"""OpenSearch 3, one node without the security plugin, started by OpenSearch runner."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from . import jars
from .process import Command
from .server import Note, NotReady, Server, java

SETTINGS = {
    "discovery.type": "single-node",
    "action.auto_create_index": "false",  # a misspelt index name is an error, not a new index with guessed mappings
    "cluster.routing.allocation.disk.threshold_enabled": "false",  # a nearly full laptop still runs the tests
}

# All but analysis-common, whose Thai tokenizer needs locale data that the packaged Java runtime leaves out.
MODULES = (
    "org.opensearch.index.mapper.MapperExtrasModulePlugin",
    "org.opensearch.index.reindex.ReindexModulePlugin",
    "org.opensearch.painless.PainlessModulePlugin",
    "org.opensearch.join.ParentJoinModulePlugin",
    "org.opensearch.transport.Netty4ModulePlugin",
)


class OpenSearch(Server):
    name = "opensearch"
    version = "3.3.2"
    variable = "LOGSYNC_OPENSEARCH"
    ports = range(9201, 9300)  # the runner silently gives up elsewhere

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def _repo(self) -> Path:
        return self.site.home / "jars"

    @property
    def _cluster(self) -> str:
        return f"devstack-{self.site.stack}"

    def fetch(self, note: Note) -> None:
        jars.classpath(self.name, self._repo, lambda done, total: note(f"fetching jars {done}/{total}"))

    def create(self) -> None:
        self.data.mkdir()

    def command(self) -> Command:
        config = self.data / "node_1" / "config"
        snapshots = self.data / "snapshots"
        for directory in (config, snapshots):
            directory.mkdir(parents=True, exist_ok=True)
        settings = {"network.host": "127.0.0.1", "path.repo": json.dumps([str(snapshots)]), **SETTINGS}
        (config / "opensearch.yml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
        arguments = {
            "basePath": str(self.data),
            "clusterName": self._cluster,
            "numOfNode": "1",
            "baseHttpPort": str(self.port - 1),  # it adds the node's number
            "moduleTypes": ",".join(MODULES),
        }
        classpath = jars.classpath(self.name, self._repo, lambda _done, _total: None)
        flags = [f"-Djava.io.tmpdir={self.directory}"]
        main = "org.codelibs.opensearch.runner.OpenSearchRunner"
        options = [part for key, value in arguments.items() for part in (f"-{key}", value)]
        heap = "2g" if self.bench else "768m"
        argv = [*java(heap=heap, bench=self.bench), *flags, "-cp", classpath, main, *options]
        return Command(argv, env={})

    def check(self) -> None:
        try:
            with urllib.request.urlopen(f"{self.url}/_cluster/health?timeout=1s", timeout=2) as response:
                health = json.load(response)
        except (OSError, ValueError) as error:
            raise NotReady(str(error)) from None
        # The name is asked because the runner moves on to the next port when somebody holds ours.
        if health["cluster_name"] != self._cluster or health["status"] not in ("yellow", "green"):
            raise NotReady(f"cluster {health['cluster_name']!r} is {health['status']}")
