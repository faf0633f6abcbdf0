"""A sink's store and book, as commands reach them: opened or only looked at, changed by compare-and-set.

All of it goes through the Store protocol and the book, so it works the same for every store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from logsync.core.book import Book
from logsync.core.inspection import Inspection, Severity
from logsync.core.position import Position
from logsync.core.sink import Sink
from logsync.core.store import Store
from logsync.errors import ConfigError, LogsyncError, PositionConflict, StoreUnavailable
from logsync.log import closing
from logsync.settings import Settings


@contextmanager
def opened(sink: Sink, settings: Settings) -> Iterator[Store]:
    """The sink's store, open for the length of the block. Raises StoreUnavailable, ConfigError."""
    try:
        sink.store.open(sink.name, settings)
        yield sink.store
    except LogsyncError as error:
        raise sink.addressed(error)  # noqa: B904 - it is the same error
    finally:
        sink.store.close()


def look(sink: Sink, settings: Settings) -> Inspection:
    """What the store remembers of the sink. Creates nothing, unlike ``opened``: for commands that only look.

    Raises StoreUnavailable, ConfigError.
    """
    seen = sink.store.inspect(sink.name, settings)
    if seen.positions is None:
        errors = [finding for finding in seen.findings if finding.severity is Severity.ERROR]
        why = next((finding for finding in errors if finding.outage), errors[-1])
        raise sink.addressed((StoreUnavailable if why.outage else ConfigError)(why.found, fix=why.fix))
    return seen


def not_begun(sink: str, address: str) -> ConfigError:
    """The error of a command that wants a sink whose worker has run here before."""
    return ConfigError(f"sink {sink} has no position in this store yet", fix=f"`logsync consume {address}` starts it")


def amend(
    store: Store, sink: str, change: Callable[[Book], Book | None], *, positions: list[Position] | None = None
) -> Book:
    """Write ``change(book)``, again on the newer book if a worker wrote one in between."""
    for last in (False, False, False, True):
        book = store.read_book()
        if book is None:
            raise not_begun(sink, "SINK")
        changed = change(book)
        if changed is None:
            return book
        try:
            store.write_book(changed, positions=positions)
        except PositionConflict:
            if last:
                raise
        else:
            return changed
    raise AssertionError("unreachable")


def held_up() -> bool:
    """True while a consumer that did not close in time is still there: the process must then end by ``os._exit``."""
    return closing.late()
