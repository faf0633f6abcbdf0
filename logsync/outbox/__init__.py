"""The app's half of a transactional outbox: events in the same transaction as the rows that they are about.

Importing and using this loads no Kafka client, and of the libraries for databases only the one that the app uses.
``docs/outbox.md`` begins from what an app has. The other half is ``logsync relay``: it carries the rows into the log.
"""

from logsync.outbox.append import Outbox
from logsync.outbox.rows import DDL

__all__ = ["DDL", "Outbox"]
