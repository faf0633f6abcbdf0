"""The writer: `python place.py ada 1250`. It writes to the log, and to nothing else."""

import sys
from uuid import uuid4

from order_events import OrderPlaced, log

from logsync import Producer

customer, cents = sys.argv[1:]
with Producer(log) as producer:
    receipt = producer.append(OrderPlaced(order_id=str(uuid4()), customer=customer, cents=int(cents)))
print(f"in the log at offset {receipt.offset}")
