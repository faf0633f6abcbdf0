"""What a worker does about an error, in one word: for the tables of what each store's server can say."""

from __future__ import annotations

from itertools import product

from logsync.core.policy import Halt, Park, Retry, disposition
from logsync.errors import LogsyncError

WAITS, HALTS, JUDGED = "waits", "halts", "parks or halts, as the sink says"


def judged(error: LogsyncError) -> str:
    """At the first attempt and at the millionth, with a sink that parks what it may and one that parks nothing."""
    cases = product((1, 10, 10**6), (True, False))
    found = {(parks, type(disposition(error, attempt=attempt, parks=parks))) for attempt, parks in cases}
    meanings = {
        WAITS: {(True, Retry), (False, Retry)},
        HALTS: {(True, Halt), (False, Halt)},
        JUDGED: {(True, Park), (False, Halt)},
    }
    return next(word for word, meaning in meanings.items() if meaning == found)
