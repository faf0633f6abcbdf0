"""The OpenSearch store, and the writes that its handlers return. Importing it imports no client library."""

from logsync.stores.opensearch.store import OpenSearch
from logsync.writes.docs import DeleteDoc, IndexDoc, UpdateDoc

__all__ = ["DeleteDoc", "IndexDoc", "OpenSearch", "UpdateDoc"]
