"""For people who test their sinks: no server, no thread, the real core.

content = feed(sink, OrderPlaced(order_id="1", cents=500))
assert content.row("orders", order_id="1") == {"order_id": "1", "cents": 500}
"""

from logsync.testing.feeding import event, feed
from logsync.testing.memory_log import START, MemoryLog, MemoryReader
from logsync.writes.content import Content

__all__ = ["START", "Content", "MemoryLog", "MemoryReader", "event", "feed"]
