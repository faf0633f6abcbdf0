"""Read your own write: wait for exactly the caller's event in any store, and be told what became of it.

views = Views(db, cache, search)
receipt = producer.append(OrderPlaced(...))
seen = views.wait(receipt, "db", timeout=1.0)
"""

from logsync.core.receipt import merge
from logsync.reading.seen import Seen, State
from logsync.reading.views import Views

__all__ = ["Seen", "State", "Views", "merge"]
