"""``append_many``: volume, in order, with bounded memory and an outcome for every event. # A2"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

from confluent_kafka import KafkaError, Message
from uuid_utils import uuid7

from logsync.appending import Item, enveloped, prepare
from logsync.core.codec import Encoded
from logsync.core.log import Log
from logsync.errors import AppendIncomplete, AppendOutcomeUnknown, AppendRejected, AppendReport, LogsyncError
from logsync.log.sending import AppendClient, Pending
from logsync.settings import Settings

WINDOW = 5_000
"""Events that may be on their way at once. What is unknown after a failure is never more than this."""
_INSTANT = 0.001  # seconds that the time of an event may be behind the clock: events made in a row share it
_SERVE = 256  # events between two looks at the delivery reports, unless time runs out first
_GRACE = 10.0  # seconds; a record times out by itself: this only bounds the wait for its report


def _enclosed(log: Log, item: Item, now: datetime) -> tuple[str, Encoded]:
    event, event_id, happened, headers = enveloped(item)
    made = prepare(log, event, headers, event_id, now if happened is None else happened)
    return made.id, made.encoded


class BulkAppend:
    """One run of append_many, on one thread, over a client that nobody else uses meanwhile."""

    def __init__(
        self, log: Log, settings: Settings, client: AppendClient, give_back: Callable[[AppendClient], None]
    ) -> None:
        """``give_back`` gets the client when nothing is under way and no record has failed; else it is closed here."""
        self._log = log
        self._settings = settings
        self._client = client
        self._give_back = give_back
        self._sent = 0  # first attempts handed over; a refused event ends the feed, so it is the next one's index, too
        self._repeats = 0  # retries handed over
        self._reports = 0
        self._failures = 0  # among the reports
        self._told = 0
        self._last: dict[int, int] = {}
        self._failed: dict[int, Pending] = {}  # their last attempt, by index
        self._refused: dict[int, AppendRejected] = {}

    def run(self, events: Iterable[Item], progress: Callable[[int], None] | None) -> AppendReport:
        cause: Exception | None = None
        try:
            self._feed(iter(events), progress)
        except Exception as error:  # noqa: BLE001 - the caller's iterable; what was sent must still be told
            cause = error
        return self._end(progress, cause)

    def retry(self) -> AppendReport:
        """Called through AppendIncomplete.retry."""
        again, self._failed = self._failed, {}
        for index in sorted(again):
            try:
                self._client.send(self._client.again(again[index], self._repeated))
            except (AppendRejected, AppendOutcomeUnknown):
                break
            self._repeats += 1
            del again[index]
            self._client.reports.take(0)
            if self._failed:
                break
        self._settle()
        self._failed = {**again, **self._failed}  # what was not sent again is as unknown as before
        return self._end(None, None)

    def _feed(self, events: Iterator[Item], progress: Callable[[int], None] | None) -> None:
        """Called for millions of events: what need not be done for each is done once per millisecond, in ``_serve``."""
        log, client, settled, clock = self._log, self._client, self._settled, time.monotonic
        ends, now, until, pause = client.ends, datetime.now(UTC), 0.0, 0
        encode, new_id, single = log.codec.encode, uuid7, len(ends) == 1
        for item in events:
            index = self._sent
            if (tick := clock()) > until:  # this event's own time: its iterable may have waited for it
                now, until = datetime.now(UTC), tick + _INSTANT
                pause = index
            try:
                if isinstance(item, tuple):
                    event_id, encoded = _enclosed(log, item, now)
                else:
                    event_id = str(new_id())
                    encoded = encode(log, item, event_id=event_id, time=now)
                number = 0 if single else client.partition(encoded.key)
                # Not a Pending: it is needed only if this one fails, and made then.
                client.produce(encoded, number, partial(settled, number, index, event_id, encoded, ends[number]))
            except AppendRejected as error:
                self._refused[index] = error
                raise
            self._sent = index + 1
            if index >= pause:
                pause = index + _SERVE
                self._serve(progress)
                if self._failed:
                    return

    def _serve(self, progress: Callable[[int], None] | None) -> None:
        """Take the reports that have arrived, and wait for more while too much is under way."""
        self._client.reports.take(0)
        while self._under_way > WINDOW - _SERVE and not self._failed:
            self._client.reports.take(0.05)
        if progress is not None and self._appended - self._told >= 1000:
            self._told = self._appended
            progress(self._told)

    # Reports come only inside poll and purge, so these and ``_failed`` change nowhere else.

    @property
    def _under_way(self) -> int:
        return self._sent + self._repeats - self._reports

    @property
    def _appended(self) -> int:
        return self._reports - self._failures

    def _settled(
        self,
        number: int,
        index: int,
        event_id: str,
        encoded: Encoded,
        since: int,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        """The delivery report of a first attempt; called inside poll, on this thread."""
        self._reports += 1
        if error is None:
            self._last[number] = offset = message.offset() or 0
            self._client.reached(number, offset)
            return
        failed = Pending(event_id, encoded, number, since, self._repeated, index)
        failed.error, failed.reported = error, True
        self._note(failed)

    def _repeated(self, pending: Pending) -> None:
        """The delivery report of a retry."""
        self._reports += 1
        if pending.error is None:
            self._last[pending.partition] = pending.offset
            self._client.arrived(pending)
        else:
            self._note(pending)

    def _note(self, failed: Pending) -> None:
        self._failures += 1
        self._failed[failed.index] = failed

    def _settle(self) -> None:
        """Wait until every record has its report. After a failure, what is only queued must not follow it."""
        deadline = time.monotonic() + self._settings.append_timeout + _GRACE
        purged = False
        while self._under_way > 0:
            if self._failed and not purged:
                # Only the queue: what is in flight still gets its answer. A purged record may have been sent
                # once before its connection broke, so it is unknown like the others.
                self._client.kafka.purge(in_queue=True, in_flight=False)
                purged = True
            if time.monotonic() > deadline:
                self._client.kafka.purge()
                deadline += _GRACE
            self._client.reports.take(0.05)

    def _end(self, progress: Callable[[int], None] | None, cause: Exception | None) -> AppendReport:
        """Wait for the last reports, and say what became of each event. A failed client is kept only for a retry."""
        self._settle()
        rejected, unknown = dict(self._refused), {}
        for index in sorted(self._failed):
            try:
                self._client.receipt(self._failed[index])
            except AppendRejected as error:
                rejected[index] = error
            except AppendOutcomeUnknown as error:
                unknown[index] = error
        if self._failures == 0:
            self._give_back(self._client)
        elif not unknown:
            self._client.close(0.0)
        if progress is not None:
            progress(self._appended)
        report = AppendReport(self._appended, self._sent + len(self._refused), self._last, rejected, unknown)
        if cause is None and not rejected and not unknown:
            return report
        troubles: dict[int, Exception] = {**rejected, **unknown}
        first = cause or troubles[min(troubles)]
        reason = str(first).replace("\n ", ";") if isinstance(first, LogsyncError) else repr(first)
        raise AppendIncomplete(
            f"append_many took {report.taken:,} events: {report.appended:,} are in the log, {len(rejected):,} "
            f"are not, {len(unknown):,} may be; it stopped because of: {reason}",
            report=report,
            retry=self.retry,
        ) from first
