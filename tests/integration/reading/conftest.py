"""A topic with its three sinks, a producer, and the views of a web app over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from logsync import Producer, Receipt
from logsync.reading import Seen, State, Views
from tests.integration.worker.conftest import case, make_case
from tests.integration.worker.harness import KINDS, Case
from tests.integration.worker.sinks import ItemPut
from tests.waiting import PATIENCE

__all__ = ["case", "make_case"]


@dataclass
class App:
    """What a web app holds, and the log and stores that it looks at."""

    case: Case
    producer: Producer
    views: Views

    def put(self, k: str, n: int = 1, note: str = "") -> Receipt:
        return self.producer.append(ItemPut(k=k, n=n, note=note))

    def name(self, kind: str) -> str:
        return self.case.sinks[kind].name

    def now(self, receipt: Receipt, kind: str) -> Seen:
        """What the store says now, settled or not."""
        while (seen := self.views.wait(receipt, self.name(kind), timeout=0.2)).state is State.UNREACHABLE:
            pass  # the first look connects, and a busy machine takes its time
        return seen

    def settles(self, receipt: Receipt, kind: str) -> Seen:
        return self.views.wait(receipt, self.name(kind), timeout=PATIENCE)

    def all_are(self, state: State, receipt: Receipt) -> None:
        for kind in KINDS:
            assert self.now(receipt, kind).state is state, kind


@pytest.fixture
def make_app(make_case: Callable[..., Case]) -> Iterator[Callable[..., App]]:
    made: list[App] = []

    def make(**options: int) -> App:
        case = make_case(**options)
        producer = Producer(case.log, settings=case.settings)
        made.append(App(case, producer, Views(*case.sinks.values(), settings=case.settings)))
        return made[-1]

    yield make
    for app in made:
        app.views.close()
        app.producer.close()


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    return make_app()
