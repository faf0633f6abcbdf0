"""The writer that never stops: real baskets, households and products, one by one, until SIGTERM.

    python -m tests.faults.writer SEED

Takes one small slice of the shop's year again and again, shuffled anew each time: the content stays small, while its
counters, which an event applied twice or never would spoil, go on growing. Prints the id of every acknowledged event.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from datetime import timedelta

from pydantic import BaseModel

from demo.data import closing, events, survey
from logsync import Producer
from logsync.errors import AppendOutcomeUnknown, AppendRejected
from sinks.events import BasketPaid, BasketReturned, HouseholdDescribed, ProductListed, log

LINES = 3_000
PAUSE = 0.015  # seconds after each event: about sixty in a second


def deck() -> list[BaseModel]:
    """One lap. Mostly baskets: their effects count. Some products are listed and go again; returns come at once."""
    cut = survey(LINES)
    found: list[BaseModel] = [event for _, event in closing(cut)]
    for _, event in events(LINES, cut):
        if isinstance(event, ProductListed) and (event.product_id not in cut.first_sales or event.product_id % 10):
            continue
        if isinstance(event, HouseholdDescribed) and event.household_id % 20:
            continue
        found.append(event)
        if isinstance(event, BasketPaid) and event.basket_id % 3 == 0:
            back = event.model_dump(include={"basket_id", "household_id", "lines"})
            found.append(BasketReturned(**back, returned_at=event.paid_at + timedelta(days=2)))
    return found


def append(producer: Producer, event: BaseModel) -> str:
    """Append until it is acknowledged; returns the id. What may be in the log is retried under its id. # A1"""
    attempt = lambda: producer.append(event)  # noqa: E731 - it changes below
    while True:
        try:
            return attempt().event_id
        except AppendRejected:
            time.sleep(0.05)  # surely not in the log: Kafka is not there
            attempt = lambda: producer.append(event)  # noqa: E731
        except AppendOutcomeUnknown as error:
            attempt = error.retry


def main(seed: str) -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    lap, chance = deck(), random.Random(seed)
    with Producer(log) as producer:
        while not stopped:
            chance.shuffle(lap)
            for event in lap:
                print(append(producer, event), flush=True)
                if stopped:
                    return
                time.sleep(PAUSE)


if __name__ == "__main__":
    main(*sys.argv[1:])
