"""The stores, one module or folder each; and all that somebody needs who writes another one.

``Store`` is the contract. ``logsync.testing.store_contract`` holds a store to it, and ``examples/store_sqlite`` shows
one being written. The writes are in ``logsync.writes.rows``, ``keys`` and ``docs``, to be used again or added to.
"""

from logsync.core.book import Book, book_conflict
from logsync.core.inspection import Finding, Inspection, Severity, noting
from logsync.core.parked import Parked, SequenceSummary
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.store import Store, StoreSettings, Traits
from logsync.core.view import Place, Retried, Sight, View
from logsync.core.write import Target, Write
from logsync.errors import (
    ConfigError,
    PositionConflict,
    StoreOutcomeUnknown,
    StoreUnavailable,
    WriteRejected,
)

__all__ = [
    "Book",
    "ConfigError",
    "Finding",
    "Inspection",
    "LogIdentity",
    "Parked",
    "Place",
    "Plan",
    "Position",
    "PositionConflict",
    "Retried",
    "SequenceSummary",
    "Severity",
    "Sight",
    "Store",
    "StoreOutcomeUnknown",
    "StoreSettings",
    "StoreUnavailable",
    "Target",
    "Traits",
    "View",
    "Write",
    "WriteRejected",
    "book_conflict",
    "noting",
]
