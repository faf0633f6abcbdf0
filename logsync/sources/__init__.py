"""Sources: what already has an order of its own enters the log exactly once.

A source is the reverse of a sink: it carries the facts of one place (an outbox, tables, a write-ahead log) into a log.
The core does not know this package; it knows the judge (``logsync.core.sources``), which decides for every reader
which records of a source count.
"""

from logsync.sources.contract import Change
from logsync.sources.source import Source

__all__ = ["Change", "Source"]
