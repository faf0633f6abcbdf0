"""Ranges of the log read beside the group: what a worker asks about records that it is not reading just now.

Non-obvious: questions about offsets are asked here too, never over the group's consumer. A broker answers one
connection's requests in turn, and a consumer at the log's end always has a fetch waiting there: each question
would wait behind it, up to half a second, and with it the worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from logsync.errors import LogUnavailable
from logsync.log.config import build, consumer_config
from logsync.log.topic import denied
from logsync.settings import Settings

ANSWER = 10.0
"""Seconds that Kafka may take to answer a question about the log."""
_FIRST_TRY = 0.5  # seconds until a question is put again; twice as long each time
_TICK = 0.1  # seconds between two calls of ``between`` while Kafka sends nothing
_STALE = (KafkaError._TIMED_OUT, KafkaError._UNKNOWN_PARTITION)
_BATCH = 1_000  # records between two calls of ``between``; a few milliseconds


class Scanner:
    """A consumer of one topic that joins no group. Connects with the first question; belongs to one thread."""

    def __init__(self, topic: str, settings: Settings, group: str, between: Callable[[], None]) -> None:
        """``between`` is called between the batches of a range; what it raises ends the reading of that range."""
        self._topic, self._settings, self._group = topic, settings, group
        self._between = between
        self._consumer: Consumer | None = None

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def bounds(self, partition: int) -> tuple[int, int]:
        """The partition's first offset and its end, as a reader of committed records sees it."""
        consumer, place = self._use(), TopicPartition(self._topic, partition)
        deadline, patience = time.monotonic() + ANSWER, _FIRST_TRY
        with self._answering("the log's first and end offset"):
            while True:
                found = None
                limit = max(0.01, min(patience, deadline - time.monotonic()))
                try:
                    found = consumer.get_watermark_offsets(place, timeout=limit)
                except KafkaException as error:
                    if error.args[0].code() not in _STALE or time.monotonic() >= deadline:
                        raise
                if found is not None:
                    return found[0], found[1]
                if time.monotonic() >= deadline:
                    raise LogUnavailable(f"{self._topic}, partition {partition}: no offsets from Kafka in {ANSWER} s")
                patience *= 2
                # It asks the broker that led when the metadata were read. If that one has died, it does so for as long
                # as it is dead, though another leads by now (seen); and where there was no leader for a while, it knows
                # of no partition and asks nobody (seen). Newer metadata come from any broker.
                with suppress(KafkaException):
                    consumer.list_topics(self._topic, limit)
                time.sleep(_TICK)

    def read(self, partition: int, start: int, stop: int) -> Iterator[Any]:
        """The records in [start, stop), as the client's messages. Raises LogUnavailable, also in the middle.

        It takes as long as it needs while Kafka goes on sending; memory is bounded by what a consumer prefetches.
        """
        consumer = self._use()
        with self._answering("a range of the log"):
            consumer.assign([TopicPartition(self._topic, partition, start)])
            try:
                heard = time.monotonic()
                while time.monotonic() - heard < ANSWER:
                    self._between()
                    first: Any = consumer.poll(_TICK)
                    # consume() waits for its whole timeout unless it is full, so it only collects what is here.
                    messages = [] if first is None else [first, *consumer.consume(_BATCH - 1, 0)]
                    for message in messages:
                        error = message.error()
                        if error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                            raise KafkaException(error)
                        if error is not None and error.code() != KafkaError._PARTITION_EOF:
                            # The client goes on by itself; silence in the end is the error. Whether its group may be
                            # used does not matter: nothing is asked of it.
                            continue
                        if error is not None or message.offset() >= stop:
                            return
                        yield message
                        if message.offset() == stop - 1:
                            return  # what stands behind it may not be there yet
                        heard = time.monotonic()  # after the yield: the caller may have taken its time
            finally:
                consumer.unassign()
        raise LogUnavailable(f"{self._topic}, partition {partition}: no answer from Kafka in {ANSWER} s")

    def _use(self) -> Consumer:
        if self._consumer is None:
            config = consumer_config(self._settings, self._group)
            # At the end of a range nothing waits for more, and the next question not behind such a fetch.
            config = {**config, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}
            self._consumer = build(Consumer, config)
        return self._consumer

    @contextmanager
    def _answering(self, what: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            why = error.args[0]
            refused = denied(why, self._topic, self._settings.kafka, "Read")
            raise refused or LogUnavailable(f"Kafka did not tell {what}: {why.str()}") from error
