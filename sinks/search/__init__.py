"""`logsync consume search`: the shop's products in OpenSearch, with full text, facets and how often each sold.

Fields, mapping and analysis are in products.json: `description` and `category` are searched, `department`,
`brand`, `package_size` and `category.facet` are filtered and counted, `sold` sorts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from logsync import Event, Sink, Tombstone
from logsync.stores.opensearch import DeleteDoc, OpenSearch, UpdateDoc
from sinks.events import BasketPaid, BasketReturned, Line, ProductListed, log, product_of

sink = Sink("search", log, OpenSearch(indices={"products": Path(__file__).with_name("products.json")}))


@sink.on(ProductListed)
def product_listed(event: Event[ProductListed]) -> UpdateDoc:
    # Not IndexDoc: a product that is described again, or after its first sale, keeps what it sold.
    return UpdateDoc("products", str(event.data.product_id), set=event.data.model_dump(), add={"sold": 0})


@sink.on(Tombstone)
def product_gone(event: Event[Tombstone]) -> DeleteDoc:
    return DeleteDoc("products", str(product_of(event.data.key)))


@sink.on(BasketPaid)
def basket_paid(event: Event[BasketPaid]) -> Iterator[UpdateDoc]:
    return _sold(event.data.lines, sign=1)


@sink.on(BasketReturned)
def basket_returned(event: Event[BasketReturned]) -> Iterator[UpdateDoc]:
    return _sold(event.data.lines, sign=-1)


def _sold(lines: Iterable[Line], *, sign: int) -> Iterator[UpdateDoc]:
    for line in lines:
        yield UpdateDoc("products", str(line.product_id), add={"sold": sign * line.quantity})
