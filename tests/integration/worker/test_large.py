"""Large values, and many events: what a worker keeps in memory does not grow with the log."""

from __future__ import annotations

import psutil

from .harness import Case, until
from .sinks import ItemPut

MANY = 100_000
LIMIT = 200 * 1024 * 1024


def test_values_of_900_kb_pass_to_all_three_stores(case: Case) -> None:
    case.append_mix(20)
    for number in range(3):
        case.append(ItemPut(k=f"large{number}", n=number, note=chr(97 + number) * 900_000))
    case.append_mix(20)
    case.finish()
    case.is_the_fold()


def test_the_memory_of_a_worker_stays_flat_over_many_events(case: Case) -> None:
    case.append(*(ItemPut(k=f"k{n % 1000}", n=n, writer="w" * 50) for n in range(MANY)))
    worker = case.start("db", env={"LOGSYNC_BATCH_RECORDS": "5000"})
    process = psutil.Process(worker.pid)
    sizes: list[int] = []

    def at_end() -> bool:
        sizes.append(process.memory_info().rss)
        return case.positions("db") == {0: MANY}

    until(at_end, "the log's end")
    worker.terminate()
    assert max(sizes) < LIMIT, f"{max(sizes) >> 20} MiB"
    case.is_the_fold("db")
