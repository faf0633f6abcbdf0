"""``append_many``: volume, in order, with bounded memory and an outcome for every event. # A2"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from pydantic import BaseModel

from logsync.core.event import Report
from logsync.core.log import Log
from logsync.errors import AppendIncomplete, AppendOutcomeUnknown, AppendRejected, LogsyncError
from logsync.log.sending import Client, Pending, prepare
from logsync.settings import Settings

Item = BaseModel | tuple[BaseModel, Mapping[str, str]]

WINDOW = 5_000
"""Events that may be on their way at once. What is unknown after a failure is never more than this."""
_LINGER = 5  # milliseconds that a batch may wait for more; a single append waits for nothing
_INSTANT = 0.001  # seconds that the time of an event may be behind the clock: events made in a row share it
_SERVE = 256  # events between two looks at the delivery reports
_GRACE = 10.0  # seconds; a record times out by itself: this only bounds the wait for its report


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
        self._under_way: dict[int, Pending] = {}
        self._failed: dict[int, Pending] = {}  # their last attempt, by index
        self._refused: dict[int, AppendRejected] = {}

    def run(self, events: Iterable[Item], progress: Callable[[int], None] | None) -> Report:
        cause: Exception | None = None
        try:
            self._feed(iter(events), progress)
        except Exception as error:  # noqa: BLE001 - the caller's iterable; what was sent must still be told
            cause = error
        return self._end(progress, cause)

    def retry(self) -> Report:
        """Called through AppendIncomplete.retry."""
        again, self._failed = self._failed, {}
        for index in sorted(again):
            try:
                attempt = self._client.again(again[index], self._settled)
                self._client.send(attempt)
            except (AppendRejected, AppendOutcomeUnknown):
                break
            self._under_way[index] = attempt
            del again[index]
            self._client.serve(0)
            if self._failed:
                break
        self._settle()
        self._failed = {**again, **self._failed}  # what was not sent again is as unknown as before
        return self._end(None, None)

    def _feed(self, events: Iterator[Item], progress: Callable[[int], None] | None) -> None:
        log, client, under_way, settled = self._log, self._client, self._under_way, self._settled
        told, clock, now, until = 0, time.monotonic, datetime.now(UTC), 0.0
        while True:
            while len(under_way) >= WINDOW and not self._failed:
                client.serve(0.05)
            if self._failed or (item := next(events, None)) is None:
                return
            index = self._taken
            self._taken += 1
            event, headers = item if isinstance(item, tuple) else (item, _NONE)
            if clock() > until:
                now, until = datetime.now(UTC), clock() + _INSTANT
            try:
                event_id, encoded = prepare(log, event, headers, now)
                partition = client.partition(encoded.key)
                pending = Pending(event_id, encoded, partition, client.ends[partition], settled, index)
                client.send(pending)
            except AppendRejected as error:
                self._refused[index] = error
                raise
            under_way[index] = pending
            if index % _SERVE == 0:
                client.serve(0)
                if progress is not None and self._appended - told >= 1000:
                    told = self._appended
                    progress(told)

    def _settled(self, pending: Pending) -> None:
        """A delivery report; called inside poll, on this thread."""
        del self._under_way[pending.index]
        if pending.error is None:
            self._appended += 1
            self._last[pending.partition] = pending.offset
            self._client.reached(pending)
        else:
            self._failed[pending.index] = pending

    def _settle(self) -> None:
        """Wait until every record has its report. After a failure, what is only queued must not follow it."""
        deadline = time.monotonic() + self._settings.append_timeout + _GRACE
        purged = False
        while self._under_way:
            if self._failed and not purged:
                # Only the queue: what is in flight still gets its answer. A purged record may have been sent
                # once before its connection broke, so it is unknown like the others.
                self._client.kafka.purge(in_queue=True, in_flight=False)
                purged = True
            if time.monotonic() > deadline:
                self._client.kafka.purge()
                deadline += _GRACE
            self._client.serve(0.05)

    def _end(self, progress: Callable[[int], None] | None, cause: Exception | None) -> Report:
        """Settle, and say what became of everything. The client lives on only while a retry needs it."""
        self._settle()
        rejected, unknown = dict(self._refused), {}
        for index in sorted(self._failed):
            try:
                self._client.receipt(self._failed[index])
            except AppendRejected as error:
                rejected[index] = error
            except AppendOutcomeUnknown as error:
                unknown[index] = error
        if not unknown:
            self._client.close(0.0)
        if progress is not None:
            progress(self._appended)
        report = Report(self._appended, self._taken, self._last, rejected, unknown)
        if cause is None and not rejected and not unknown:
            return report
        troubles: dict[int, Exception] = {**rejected, **unknown}
        first = cause or troubles[min(troubles)]
        reason = first.message if isinstance(first, LogsyncError) else repr(first)
        raise AppendIncomplete(
            f"append_many took {report.taken:,} events: {report.appended:,} are in the log, {len(rejected):,} "
            f"are not, {len(unknown):,} may be; it stopped because of: {reason}",
            report=report,
            retry=self.retry,
        ) from first


_NONE: Mapping[str, str] = {}
