"""The ends of the partitions, as a writer knows them: they bound what a retried append costs each consumer. # A1

A retry carries an end that was read *before* the first attempt, and consumers look for the original from there on.
Any such end is right; an old one only makes them read more. Reports of its own appends keep a busy writer's ends
fresh; but a writer may be quiet while others append millions, so the ends are also read every ``EVERY`` seconds.

The bound: while Kafka answers, a consumer looks through no more than what all writers together append to the
partition in the ``EVERY`` seconds before the first attempt (and the moment of that answer), and from there up to the
last retry: REACH offsets and what is appended while that one is on its way, because a writer makes no retry after
more. While Kafka does not answer the ends stay as they are, and stay correct.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from logsync.errors import LogsyncError
from logsync.log.admin import Kafka
from logsync.log.config import log

EVERY = 2.0
"""Seconds between two looks; each is a few small requests."""


@dataclass(slots=True)
class Known:
    """What a writer knows of its topic; kept fresh by ``watch``."""

    topic_id: str
    ends: list[int]
    """Per partition, an end that it has had: no record still to be sent can stand below it. # A1"""


def watch(asking: Kafka, topic: str, known: Known, stop: threading.Event) -> None:
    """Keep ``known`` fresh until ``stop``. The work of a thread.

    What is read is assigned as it is. A report may have told more a moment ago: the lower end is right, too; and if
    the log lost its tail, only the lower one is.
    """
    while not stop.wait(EVERY):
        try:
            # Who leads now, too: a question about offsets goes to those that led before (seen).
            known.topic_id = asking.identify(topic).topic_id
            for partition, end in asking.offsets(topic, len(known.ends), "end").items():
                known.ends[partition] = end
        except LogsyncError as error:
            log.warning("the log's ends could not be read again; retries make consumers read more: %s", error)
