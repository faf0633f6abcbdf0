"""One of the two writer processes: `python -m examples.dual_writes.writer NUMBER COUNT`.

It serves eight customers at once, as a web server with eight threads does. Every basket that is completely
written is printed; a basket that a killed predecessor left in Postgres is taken for done, because that is
where this app looks.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

from examples.dual_writes.baskets import baskets
from examples.dual_writes.shop import Basket, Shop

THREADS = 8


def serve(mine: Iterator[Basket], taking: threading.Lock) -> None:
    shop = Shop(os.environ["LOGSYNC_POSTGRES"], os.environ["LOGSYNC_REDIS"], os.environ["LOGSYNC_OPENSEARCH"])
    while True:
        with taking:
            basket = next(mine, None)
        if basket is None:
            break
        if not shop.is_paid(basket.basket_id):
            shop.pay(basket)
        print(basket.basket_id, flush=True)
    shop.close()


def main(number: int, count: int) -> None:
    mine = (basket for at, basket in enumerate(baskets(count)) if at % 2 == number)
    failed: list[threading.ExceptHookArgs] = []

    def note(args: threading.ExceptHookArgs) -> None:
        failed.append(args)
        threading.__excepthook__(args)

    threading.excepthook = note
    taking = threading.Lock()
    threads = [threading.Thread(target=serve, args=(mine, taking)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:  # a disagreement that an error explains would prove nothing
        raise SystemExit(f"{len(failed)} of {THREADS} threads failed")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
