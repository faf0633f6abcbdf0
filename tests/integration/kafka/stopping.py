"""A sink in memory that stops its process (SIGSTOP) before it applies its first plan, if the environment says so.

A test can then take the broker away, and let the worker go on: the bookmark that it sends next gets no answer.
How long a worker asks and closes is shortened, for the sake of the test's own time.
"""

from __future__ import annotations

import os
import signal

from logsync import Event, Sink
from logsync.core.plan import Plan
from logsync.log import closing, group
from logsync.stores.memory import Memory
from logsync.writes.keys import Incr

from .guarded import ThingMade, log

STOPS = "KAFKA_TEST_STOPS"
group.ANSWER, closing.CLOSE = 2.0, 4.0


class Stopping(Memory):
    def apply(self, plan: Plan) -> None:
        if os.environ.pop(STOPS, ""):
            os.kill(os.getpid(), signal.SIGSTOP)
        super().apply(plan)


sink = Sink("db", log, Stopping())


@sink.on(ThingMade)
def thing_made(event: Event[ThingMade]) -> Incr:
    return Incr(event.data.name)
