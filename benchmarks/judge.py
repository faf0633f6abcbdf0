"""Is what a store holds what the events add up to, and if not, by how much not?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.workload import Content


@dataclass
class Verdict:
    """The difference between a store and the fold of the log. All zeros: they are equal."""

    digest: str = ""
    rows: int = 0
    missing: int = 0
    """Orders that should be there."""
    extra: int = 0
    wrong: int = 0
    """Orders that hold something else."""
    lost: int = 0
    """Increments that were not applied, added up over the customers that are short."""
    doubled: int = 0
    """Increments that were applied again, added up over the customers that have too many."""
    cents_off: int = 0
    """Sum of |found - expected| over the customers."""

    @property
    def equal(self) -> bool:
        return not any((self.missing, self.extra, self.wrong, self.lost, self.doubled, self.cents_off))

    def __str__(self) -> str:
        if self.equal:
            return "equal"
        return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in vars(self).items()
                         if name not in ("digest", "rows") and value)  # fmt: skip


def judge(wanted: Content, found: Content) -> Verdict:
    """Compare everything, row by row."""
    verdict = Verdict(digest=digest([*found.orders.items(), *found.counters.items()]))
    verdict.rows = len(found.orders) + len(found.counters)
    verdict.missing = len(wanted.orders.keys() - found.orders.keys())
    verdict.extra = len(found.orders.keys() - wanted.orders.keys())
    verdict.wrong = sum(found.orders.get(key, row) != row for key, row in wanted.orders.items())
    for customer in wanted.counters.keys() | found.counters.keys():
        cents, orders = wanted.counters.get(customer, (0, 0))
        has_cents, has_orders = found.counters.get(customer, (0, 0))
        verdict.lost += max(0, orders - has_orders)
        verdict.doubled += max(0, has_orders - orders)
        verdict.cents_off += abs(has_cents - cents)
    return verdict


def digest(rows: Iterable[Any]) -> str:
    """The same for the same rows in any order: hashes of the rows, added up. Rows that are there twice count twice."""
    total = 0
    for row in rows:
        total += int.from_bytes(hashlib.blake2b(json.dumps(row).encode(), digest_size=16).digest(), "big")
    return f"{total % 2**128:032x}"
