"""The app: `python -m demo.existing.app NUMBER WRITERS` takes orders and payments until SIGTERM. It knows no Kafka.

It writes its own Postgres and nothing else. An order and the event about it are one transaction, a payment is only
a row: the bank's table is its own outbox. Every tenth order is rolled back, and must leave nothing anywhere.
"""

from __future__ import annotations

import os
import signal
import sys

import psycopg

from demo.data import baskets
from demo.existing.events import OrderPlaced, outbox

SCHEMA = """
CREATE TABLE orders (basket_id bigint PRIMARY KEY, household_id int NOT NULL, cents int NOT NULL);
CREATE TABLE payments (payment_id bigserial PRIMARY KEY, household_id int NOT NULL, cents int NOT NULL);
"""


def main(number: int, writers: int) -> None:
    told = list[int]()
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    with psycopg.connect(os.environ["DEMO_SHOP"], autocommit=True) as db:
        mine = (basket for basket in baskets() if basket.household_id % writers == number)
        for count, basket in enumerate(mine, 1):
            if told:
                break
            with db.transaction(force_rollback=count % 10 == 0):
                db.execute(
                    "INSERT INTO orders VALUES (%s, %s, %s)", (basket.basket_id, basket.household_id, basket.cents)
                )
                outbox.append(db, OrderPlaced(**basket._asdict()))
            if count % 10:
                db.execute(
                    "INSERT INTO payments (household_id, cents) VALUES (%s, %s)", (basket.household_id, basket.cents)
                )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
