"""A worker on a machine that was copied while it ran: its lock gives it an instance id that another one has, too.

python -m tests.integration.worker.cloned consume SINK
"""

from __future__ import annotations

import sys

from logsync.cli import main
from logsync.log import member
from logsync.log.instance import Instance, take


def copied(group: str, servers: str, topic: str) -> Instance | None:
    found = take(group, servers, topic)
    if found is not None:
        found.id = "logsync-0-copied"
    return found


if __name__ == "__main__":
    member.take = copied
    sys.exit(main())
