"""The sink's book as one worker holds it: claimed or checked on resume, read again, changed by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from logsync.core.book import Book, Skip
from logsync.core.offsets import Offsets
from logsync.core.parked import GivenUp
from logsync.core.plan import Plan
from logsync.core.position import LogIdentity, Position
from logsync.core.resume import check_book, first_book, went_back
from logsync.core.sink import Sink
from logsync.errors import ConfigError, LogsyncError, PositionConflict, StoreUnavailable
from logsync.log.contract import LogReader


def check_partitions(sink: Sink, log: LogIdentity) -> None:
    """Raise ConfigError for more partitions than the store can tell apart. # O5"""
    most = sink.store.traits.most_partitions
    if most is not None and log.partitions > most:
        raise ConfigError(
            f"sink {sink.name}: {sink.store.kind} takes topics of {most} partition, {log.topic} has {log.partitions}",
            fix=f"use a topic with {most} partition",
        )


class Bookkeeper:
    """All that a worker reads and writes of its sink's book."""

    def __init__(
        self, sink: Sink, environment: str, *, from_log_start: bool, accept_from_now: bool, now: Callable[[], datetime]
    ) -> None:
        self._sink, self._environment, self._now = sink, environment, now
        self._from_log_start, self._accept_from_now = from_log_start, accept_from_now
        self._skips: tuple[tuple[Skip, ...], dict[int, Offsets]] = ((), {})
        self.known: Book | None = None
        """The book as it was last seen; None before the first resume."""

    @property
    def book(self) -> Book:
        """The book as it was last seen by a worker that has resumed."""
        assert self.known is not None
        return self.known

    def resume(self, identity: LogIdentity, reader: LogReader) -> Book:
        """The book to go on with: claimed for this sink if there is none, or else checked."""
        store, sink = self._sink.store, self._sink
        check_partitions(sink, identity)
        found, now = store.read_book(), self._now()
        if found is None:
            sink.check_order(identity.partitions)  # S2
            return self._claim(identity, {number: reader.bounds(number)[0] for number in range(identity.partitions)})
        book = check_book(
            found, sink, environment=self._environment, log=identity, accept_from_now=self._accept_from_now, now=now
        )
        # After the book: a topic that grew partitions is another log, whatever the handlers may write.  # S2
        sink.check_order(identity.partitions)
        if book is not found:
            self.write(book)
        self.known = book
        return book

    def _claim(self, identity: LogIdentity, log_starts: dict[int, int]) -> Book:
        store, sink = self._sink.store, self._sink
        try:
            book, positions = first_book(
                sink,
                environment=self._environment,
                log=identity,
                log_starts=log_starts,
                holds_data=store.holds_data(),
                from_log_start=self._from_log_start,
                now=self._now(),
            )
        except ConfigError:
            if store.read_book() is not None:  # a worker of the group claimed it between the two looks
                raise StoreUnavailable(f"sink {sink.name} was just claimed by another worker") from None
            raise
        self.write(book, positions)
        return book

    def look(self) -> Book:
        """Read the book again. Raises StoreUnavailable if it is not the one that this worker resumed under."""
        current = self._sink.store.read_book()
        if current is None or current.resume_basis != self.book.resume_basis:
            raise StoreUnavailable(f"the book of sink {self._sink.name} was changed: it has to be read anew")
        self.known = current
        return current

    def judge(self, error: LogsyncError, wrote: Mapping[int, Position]) -> tuple[LogsyncError, bool]:
        """What there is to obey, and whether it is a conflict that comes from the store itself. # P3

        ``wrote``: the positions that the worker has read or written. A store that cannot tell is what there is to obey.
        """
        if not isinstance(error, PositionConflict) or self.known is None:
            return error, False
        try:
            return error, went_back(self.known, wrote, self._sink.store.read_book(), self._sink.store.positions())
        except LogsyncError as other:
            return other, False

    def write(self, book: Book, positions: Sequence[Position] | None = None) -> None:
        """Workers of one group may write the book at the same moment: the slower one reads it again and starts over.

        That is no conflict of positions and must not count as one (P3), hence the other error class.
        """
        try:
            self._sink.store.write_book(book, positions=positions)
        except PositionConflict as error:
            raise StoreUnavailable(f"the book of sink {self._sink.name} was just written by another worker") from error
        self.known = book

    def close(self, request: str, partition: int) -> None:
        """Take this partition out of the request: its owner is through with it."""
        current = self.look()
        left = current.without(request, partition)
        if left != current.requests:
            self.write(current.next(requests=left))

    def skip(self, partition: int, events: Iterable[GivenUp]) -> None:
        """Put these on the list of skips. They stay there."""
        offsets: dict[tuple[str, datetime], list[int]] = {}
        for event in events:
            offsets.setdefault((event.reason, event.at), []).append(event.offset)
        changed = current = self.look()
        for (reason, at), some in offsets.items():
            skips = changed.skipping(partition, some, reason=reason, at=at)
            changed = changed.model_copy(update={"skips": skips})
        if changed.skips != current.skips:
            self.write(current.next(skips=changed.skips))

    def skips_of(self, partition: int) -> Offsets:
        """The same for every plan under one book: there may be thousands of them."""
        if self._skips[0] is not self.book.skips:
            self._skips = self.book.skips, {}
        known = self._skips[1]
        if partition not in known:
            known[partition] = self.book.skips_of(partition)
        return known[partition]

    def note_skipped(self, made: Plan) -> None:
        """Write down types that are passed over for the first time, before the position moves past them. # T2"""
        types = {
            name.partition(":")[2] for name in made.skipped if name.startswith(("unhandled:", "unknown:"))
        } - self._sink.handled
        if self.book.passing_over(types, self._sink.log.names) is not None:
            current = self._sink.store.read_book()  # another worker of the group may have written it meanwhile
            if current is None or current.epoch != made.start.epoch:
                raise PositionConflict(f"the book of sink {self._sink.name} went away or has another epoch")
            self.known = current
            changed = current.passing_over(types, self._sink.log.names)
            if changed is not None:
                self.write(changed)
