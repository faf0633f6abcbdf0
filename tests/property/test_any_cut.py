"""Any cut of any log into batches, with any crash and replay in between, gives the content of a plain fold. # I3"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from logsync.core.plan import Plan
from logsync.errors import StoreOutcomeUnknown, StoreUnavailable
from logsync.settings import Settings
from logsync.stores.memory import Memory
from logsync.testing import MemoryLog, MemoryReader
from logsync.worker import Report, Worker
from tests.unit.shop import OrderCancelled, OrderPlaced, PageSeen, log, make_sink
from tests.unit.test_worker import Clock


class Crash(BaseException):
    """The process dies here: nothing catches it, and the next worker starts with an empty memory."""


class Weather(Memory):
    """Before and after each apply, something from the list may happen."""

    troubles: list[str]

    def apply(self, plan: Plan) -> None:
        trouble = self.troubles.pop() if self.troubles else ""
        if trouble == "crash before":
            raise Crash
        if trouble == "down":
            raise StoreUnavailable("down")
        super().apply(plan)
        if trouble == "crash after":
            raise Crash
        if trouble == "unknown":
            raise StoreOutcomeUnknown("unknown")


events = st.one_of(
    st.builds(OrderPlaced, order=st.sampled_from("abcd"), cents=st.integers(0, 100)),
    st.builds(OrderCancelled, order=st.sampled_from("abcd")),
    st.builds(PageSeen, page=st.just("/")),
)
troubles = st.lists(st.sampled_from(["", "crash before", "crash after", "down", "unknown"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(events, max_size=30), troubles, st.integers(1, 9), st.booleans())
def test_any_cut_with_any_crash_equals_the_fold(
    appended: list[OrderPlaced | OrderCancelled | PageSeen], weather: list[str], cut: int, forget_commits: bool
) -> None:
    source, store = MemoryLog(log), Weather()
    store.troubles = weather
    orders: dict[str, int] = {}
    total = 0
    for event in appended:
        source.append(event)
        if isinstance(event, OrderPlaced):
            orders[event.order] = event.cents
            total += event.cents
        elif isinstance(event, OrderCancelled):
            orders.pop(event.order, None)

    environment = Settings(_env_file=None, environment="test")  # type: ignore[call-arg]
    for _ in range(len(weather) + 1):
        worker = Worker(make_sink(store), MemoryReader(source, at_most=cut), environment, clock=Clock())
        turns = iter(range(1000))

        def at_end(report: Report, worker: Worker = worker, turns: object = turns) -> bool:
            assert next(turns, None) is not None  # type: ignore[call-overload]
            stored = store.positions().get(0)
            assert source.committed.get(0, 0) <= (stored.next_offset if stored else 0)  # I1
            return bool(worker._positions) and worker._positions[0].next_offset == len(appended)

        try:
            worker.run(at_end)
            break
        except Crash:
            if forget_commits:
                source.committed.clear()
    assert {row["order"]: row["cents"] for row in store.content.tables.get("orders", [])} == orders
    assert sum(row["n"] for row in store.content.tables.get("totals", [])) == total
    assert store.positions()[0].next_offset == len(appended)
