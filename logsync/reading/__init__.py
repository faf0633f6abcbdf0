"""Read your own write: wait for exactly the caller's event in any store, and be told what became of it.

views = Views(db, cache, search)
receipt = producer.append(OrderPlaced(...))
seen = views.wait(receipt, "db", timeout=1.0)

On a connection of the app's own, in the transaction of the app's queries:

seen = seen_on(connection, receipt, db)

Or in a MULTI of the app's own, beside the values that it reads: redis_question(receipt, cache).
"""

from logsync.core.receipt import merge
from logsync.reading.commands import RedisQuestion, redis_question
from logsync.reading.own import seen_on, seen_on_async, wait_on, wait_on_async
from logsync.reading.seen import Seen, State, worst
from logsync.reading.views import Views

__all__ = [
    "RedisQuestion",
    "Seen",
    "State",
    "Views",
    "merge",
    "redis_question",
    "seen_on",
    "seen_on_async",
    "wait_on",
    "wait_on_async",
    "worst",
]
