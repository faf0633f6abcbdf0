"""What of the log cannot be read, told apart from a Kafka that does not answer: an outage passes, damage stays.

Non-obvious, all of it seen with librdkafka 2.16. A batch whose checksum is wrong is told once, and the client then goes
on 21 bytes before its end: what follows that error is noise, even an offset far outside of the log, or the next batch
as if nothing were missing. A batch that decompresses beyond ``receive.message.max.bytes`` is told every half second,
without end. A batch whose length or records make no sense is not told at all: the client fetches it again and again.
The offset of such an error is that of the batch's *first* record, wherever the reading began.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import KafkaError

from logsync.core.event import Fault, Record

BROKEN = frozenset(
    {
        KafkaError._BAD_MSG,
        KafkaError._BAD_COMPRESSION,
        KafkaError._NOT_IMPLEMENTED,
        KafkaError._UNDERFLOW,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
"""The client has the bytes, and makes nothing of them. Nothing that it says of the partition after that holds."""

REFUSED = frozenset(
    {
        KafkaError.UNKNOWN,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
    }
)
"""The broker cannot read its own file there. Another may lead a moment later, so it is asked REFUSALS times."""
REFUSALS = 8  # with the client's pause of half a second between two questions

_TOO_LARGE = (
    "it is damaged, or larger than a worker takes: receive.message.max.bytes in LOGSYNC_KAFKA_OPTIONS says how many "
    "bytes it may have when it is decompressed"
)


def why(error: KafkaError) -> str:
    """What is wrong there, in words."""
    code = error.code()
    if code in (KafkaError._BAD_COMPRESSION, KafkaError.MSG_SIZE_TOO_LARGE):
        return f"a batch that cannot be decompressed: {_TOO_LARGE} ({error.str()})"
    if code in REFUSED:
        return f"a batch that the broker itself cannot read ({error.str()})"
    return f"a batch that is damaged ({error.str()})"


MADE_NOTHING = (
    "a batch that Kafka sends, and of which the client makes nothing: its length or its records make no sense"
)


def record_of(message: Any) -> Record:
    """The record that a message of the client is. Total: what cannot be told of it is its ``fault``.

    ``poll`` of a group builds its records itself, and comes here for what that raised.
    """
    try:
        # All of it in here. The interpreter may skip the check after ``headers()`` when it has seen many of them, and
        # what that raised then comes out of the next call.
        return Record(
            message.partition(), message.offset(), message.key(), message.value(), message.headers() or [],
            message.leader_epoch(), message.timestamp()[1],
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - the client's own, whatever it is
        return without_headers(message, error)


def without_headers(message: Any, error: Exception) -> Record:
    """The record of a message whose ``headers()`` raised ``error``: a name that is not UTF-8.

    Nobody may ask that message for its headers a second time: what it kept of them is half a list, and reading it ends
    the process.
    """
    if isinstance(error, MemoryError):
        raise error
    # A SystemError around the UnicodeDecodeError, or that itself.
    causes = (error, error.__cause__, error.__context__)
    name = next((f"{found.object[:80]!r}" for found in causes if isinstance(found, UnicodeDecodeError)), repr(error))
    return Record(
        message.partition(), message.offset(), message.key(), message.value(), [], message.leader_epoch(),
        message.timestamp()[1], Fault(f"a header with the name {name}"),
    )  # fmt: skip


class Progress:
    """What a client's statistics say of one partition: does Kafka answer, and does reading go on? A ``stats_cb``."""

    EVERY = 250
    """Milliseconds between two statistics."""
    _ANSWERS = 3
    """Answers in a row of which nothing came: a broker sends a whole batch at least, so one could not tell it."""

    def __init__(self, topic: str, partition: int) -> None:
        self._topic, self._partition = topic, str(partition)
        self._next: int | None = None
        self._first_answers = 0
        self.stands_still = False
        """True once Kafka has answered again and again while the next offset to fetch stayed what it was."""

    def __call__(self, statistics: str) -> None:
        found = json.loads(statistics)
        answers = sum(broker["rx"] for broker in found["brokers"].values() if broker["nodeid"] >= 0)
        partition = found["topics"].get(self._topic, {}).get("partitions", {}).get(self._partition)
        if partition is None or partition["fetch_state"] != "active":
            return
        if partition["next_offset"] != self._next:
            self._next, self._first_answers = partition["next_offset"], answers
        self.stands_still = answers - self._first_answers > self._ANSWERS


class Quiet:
    """Notices a partition of which nothing comes although the log goes on: damage that the client does not tell."""

    AFTER = 5.0
    """Seconds of polling without anything."""
    AGAIN = 60.0
    """Seconds until the same silence is looked into once more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._polled_at = clock, clock()
        self._seconds: dict[int, float] = {}
        self.ends: dict[int, int] = {}
        """The ends of the partitions, as they were last read."""

    def due(self, silent: Collection[int], following: Mapping[int, int]) -> list[int]:
        """Which of the ``silent`` partitions of this poll are to be looked into. ``following``: their next offsets."""
        now = self._clock()
        # A worker may have been away for long, in its store. What has come meanwhile it finds with this poll.
        passed, self._polled_at = min(1.0, now - self._polled_at), now
        self._seconds = {
            number: self._seconds.get(number, 0.0) + passed
            for number in silent
            if self.ends.get(number, 0) > following[number]
        }
        due = [number for number, seconds in self._seconds.items() if seconds >= self.AFTER]
        self._seconds.update(dict.fromkeys(due, self.AFTER - self.AGAIN))
        return due
