"""logsync: write once, to the log. Every store follows.

Importing this package opens no connection and starts no thread.
"""

from logsync.core.event import Event, Outcome, Receipt, Report, Tombstone
from logsync.core.log import Log
from logsync.core.sink import Sink
from logsync.errors import (
    AppendIncomplete,
    AppendOutcomeUnknown,
    AppendRejected,
    ConfigError,
    EventError,
    LogError,
    LogsyncError,
    StoreError,
)
from logsync.log.aio import AsyncProducer
from logsync.log.producer import Producer

__all__ = [
    "AppendIncomplete",
    "AppendOutcomeUnknown",
    "AppendRejected",
    "AsyncProducer",
    "ConfigError",
    "Event",
    "EventError",
    "Log",
    "LogError",
    "LogsyncError",
    "Outcome",
    "Producer",
    "Receipt",
    "Report",
    "Sink",
    "StoreError",
    "Tombstone",
]
