"""``append_many``: volume, in order, with bounded memory and an outcome for every event. # A2"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType

from pydantic import BaseModel

from logsync.core.codec import Encoded
from logsync.core.event import Report
from logsync.core.log import Log
from logsync.errors import AppendIncomplete, AppendOutcomeUnknown, AppendRejected, LogsyncError
from logsync.log.sending import Client, Pending, prepare
from logsync.settings import Settings

Item = BaseModel | tuple[BaseModel, Mapping[str, str]]

WINDOW = 5_000
"""Events that may be on their way at once. What is unknown after a failure is never more than this."""
_LINGER = 5  # milliseconds that a batch may wait for more; a single append waits for nothing
_SERVE = 256  # events between two looks at the delivery reports
_GRACE = 10.0  # seconds; a record times out by itself: this only bounds the wait for its report


class _Sent(Pending):
    """A record with its place in the feed."""

    __slots__ = ("index",)

    def __init__(
        self,
        event_id: str,
        encoded: Encoded,
        partition: int,
        since: int,
        done: Callable[[Pending], None],
        index: int,
    ) -> None:
        super().__init__(event_id, encoded, partition, since, done)
        self.index = index


class Feed:
    """One run of append_many, on one thread, over a client of its own."""

    def __init__(self, log: Log, settings: Settings, timeout: float) -> None:
        """Raises AppendRejected if Kafka does not answer within ``timeout`` seconds."""
        self._log = log
        self._settings = settings
        self._client = Client.open(log, settings, timeout, linger=_LINGER, polls=False)
        self._taken = 0
        self._appended = 0
        self._last: dict[int, int] = {}
        self._on_the_way: dict[int, _Sent] = {}
        self._failed: list[_Sent] = []
        self._refused: dict[int, AppendRejected] = {}

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # Errors whose retry needs this client keep it alive, and open. Nothing of it is under way then.
        if not isinstance(error, AppendIncomplete) or not error.report.unknown:
            self._client.close(0.0)

    def run(self, events: Iterable[Item], progress: Callable[[int], None] | None) -> Report:
        cause: Exception | None = None
        try:
            self._feed(iter(events), progress)
        except AppendRejected as error:
            self._refused[self._taken - 1] = error
            cause = error
        except Exception as error:  # noqa: BLE001 - the caller's iterable; what was sent must still be told
            cause = error
        report = self._settle(progress)
        if cause is None and not report.unknown and not report.rejected:
            return report
        troubles: dict[int, Exception] = {**report.rejected, **report.unknown}
        first = cause or troubles[min(troubles)]
        reason = first.message if isinstance(first, LogsyncError) else repr(first)
        raise AppendIncomplete(
            f"append_many took {report.taken:,} events: {report.appended:,} are in the log, {len(report.rejected):,} "
            f"are not, {len(report.unknown):,} may be; it stopped because of: {reason}",
            report=report,
        ) from first

    def _feed(self, events: Iterator[Item], progress: Callable[[int], None] | None) -> None:
        log, client, under_way, settled = self._log, self._client, self._on_the_way, self._settled
        told = 0
        while True:
            while len(under_way) >= WINDOW and not self._failed:
                client.kafka.poll(0.05)
            if self._failed or (item := next(events, None)) is None:
                return
            index = self._taken
            self._taken += 1
            event, headers = item if isinstance(item, tuple) else (item, _NONE)
            event_id, encoded = prepare(log, event, headers)
            partition = client.partition(encoded.key)
            sent = _Sent(event_id, encoded, partition, client.ends[partition], settled, index)
            under_way[index] = sent
            try:
                client.send(sent)
            except AppendRejected:
                del under_way[index]
                raise
            if index % _SERVE == 0:
                client.kafka.poll(0)
                if progress is not None and self._appended - told >= 1000:
                    told = self._appended
                    progress(told)

    def _settled(self, sent: Pending) -> None:
        """A delivery report; called inside poll, on this thread."""
        assert isinstance(sent, _Sent)
        del self._on_the_way[sent.index]
        if sent.error is None:
            self._appended += 1
            self._last[sent.partition] = sent.offset
            self._client.ends[sent.partition] = sent.offset + 1
        else:
            self._failed.append(sent)

    def _settle(self, progress: Callable[[int], None] | None) -> Report:
        """Wait until every record has its report. After a failure, what is only queued must not follow it."""
        deadline = time.monotonic() + self._settings.append_timeout + _GRACE
        purged = False
        while self._on_the_way:
            if self._failed and not purged:
                # Only the queue: what is in flight still gets its answer. A purged record may have been sent
                # once before its connection broke, so it is unknown like the others.
                self._client.kafka.purge(in_queue=True, in_flight=False)
                purged = True
            if time.monotonic() > deadline:
                self._client.kafka.purge()
                deadline += _GRACE
            self._client.kafka.poll(0.05)
        rejected, unknown = dict(self._refused), {}
        for sent in sorted(self._failed, key=lambda sent: sent.index):
            try:
                self._client.receipt(sent)
            except AppendRejected as error:
                rejected[sent.index] = error
            except AppendOutcomeUnknown as error:
                unknown[sent.index] = error
        if progress is not None:
            progress(self._appended)
        return Report(self._appended, self._taken, self._last, rejected, unknown)


_NONE: Mapping[str, str] = {}
