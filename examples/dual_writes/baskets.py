"""The first baskets of the real shopping year, as this app sees them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import pyarrow.parquet as pq

from demo.source import parquet
from examples.dual_writes.shop import Basket


def baskets(count: int) -> Iterator[Basket]:
    """The first ``count`` baskets, in the order in which they were paid."""
    columns = ["basket_id", "household_id", "product_id", "quantity", "sales_value"]
    batches = pq.ParquetFile(parquet("transactions")).iter_batches(16_384, columns=columns)
    rows = (row for batch in batches for row in zip(*(batch.column(c).to_pylist() for c in columns), strict=True))
    for _, group in zip(range(count), groupby(rows, key=itemgetter(0)), strict=False):
        lines = list(group[1])
        basket_id, household_id, *_ = lines[0]
        cents = sum(round(line[4] * 100) for line in lines)
        yield Basket(basket_id, household_id, cents, {line[2]: line[3] for line in lines})
