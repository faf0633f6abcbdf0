"""logsync: write once, to the log. Every store follows.

Importing this package opens no connection and starts no thread.
"""

from logsync.core.event import Event, Receipt, Tombstone
from logsync.core.log import Log
from logsync.core.sink import Sink
from logsync.errors import (
    AppendOutcomeUnknown,
    AppendRejected,
    ConfigError,
    EventError,
    LogError,
    LogsyncError,
    StoreError,
)

__all__ = [
    "AppendOutcomeUnknown",
    "AppendRejected",
    "ConfigError",
    "Event",
    "EventError",
    "Log",
    "LogError",
    "LogsyncError",
    "Receipt",
    "Sink",
    "StoreError",
    "Tombstone",
]
