"""A worker that takes its time over each record when it looks a retried append up in the log.

    python -m tests.integration.worker.slowly MILLISECONDS SINK

Stands for a range of many more records. It says LOOKING with the first one, and LOOKED when a lookup is through.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from logsync.cli.load import load_sink
from logsync.core import codec
from logsync.core.codec import EventTypes
from logsync.core.event import Record
from logsync.log import lookup
from logsync.log.group import KafkaReader
from logsync.observe.logs import log_to_stderr
from logsync.run import run_worker
from logsync.settings import load_settings


def main(milliseconds: str, name: str) -> None:
    id_of, find = codec.id_of, KafkaReader.find

    def slow_id_of(log: EventTypes, record: Record) -> str | None:
        time.sleep(float(milliseconds) / 1000)
        return id_of(log, record)

    def telling_find(self: KafkaReader, *place: Any, **how: Any) -> dict[str, int]:
        print("LOOKING", flush=True)
        found = find(self, *place, **how)
        print("LOOKED", flush=True)
        return found

    codec.id_of = slow_id_of
    lookup._BATCH = 10
    KafkaReader.find = telling_find  # type: ignore[method-assign]
    log_to_stderr("human")
    run_worker(load_sink(name), load_settings())


if __name__ == "__main__":
    main(*sys.argv[1:])
