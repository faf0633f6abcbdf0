"""logsync: write once, to the log. Every store follows.

Importing this package opens no connection and starts no thread.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from logsync.core.envelope import Envelope
from logsync.core.event import Event, Tombstone
from logsync.core.log import Log
from logsync.core.parked import Parking
from logsync.core.receipt import Receipt
from logsync.core.sink import Sink
from logsync.errors import (
    AppendIncomplete,
    AppendOutcomeUnknown,
    AppendRejected,
    AppendReport,
    ConfigError,
    DecodeError,
    EventError,
    HandlerError,
    LogError,
    LogsyncError,
    Outcome,
    StoreError,
    UnknownEventType,
    WriteRejected,
)

if TYPE_CHECKING:
    from logsync.log.aio import AsyncProducer
    from logsync.log.producer import Producer

__all__ = [
    "AppendIncomplete",
    "AppendOutcomeUnknown",
    "AppendRejected",
    "AppendReport",
    "AsyncProducer",
    "ConfigError",
    "DecodeError",
    "Envelope",
    "Event",
    "EventError",
    "HandlerError",
    "Log",
    "LogError",
    "LogsyncError",
    "Outcome",
    "Parking",
    "Producer",
    "Receipt",
    "Sink",
    "StoreError",
    "Tombstone",
    "UnknownEventType",
    "WriteRejected",
]

# The Kafka client takes a good part of a second to load; sinks, tests and `logsync --help` do without it.
_LATE = {"AsyncProducer": "logsync.log.aio", "Producer": "logsync.log.producer"}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'logsync' has no attribute {name!r}")
