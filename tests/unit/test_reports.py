"""Who polls for delivery reports: the thread that waits, one at a time, and nobody's record is left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue

import pytest

from logsync.log import reports
from logsync.log.config import LastError
from logsync.log.reports import Reports

PATIENCE = 10.0  # seconds; what takes longer has failed


class Sent:
    """A record that was handed to the client."""

    def __init__(self) -> None:
        self.reported = False
        self.arrived = threading.Lock()
        self.arrived.acquire()
        self.told_by: threading.Thread | None = None


class FakeKafka:
    """Gives reports out in the order in which ``acknowledge`` is called, to any thread that polls."""

    def __init__(self) -> None:
        self.under_way: list[Sent] = []
        self.answered: SimpleQueue[Sent] = SimpleQueue()
        self.polls = threading.Semaphore(0)
        """Released whenever a poll begins."""

    def send(self) -> Sent:
        self.under_way.append(Sent())
        return self.under_way[-1]

    def acknowledge(self, sent: Sent) -> None:
        self.answered.put(sent)

    def poll(self, timeout: float) -> int:
        self.polls.release()
        try:
            sent = self.answered.get(timeout=timeout) if timeout else self.answered.get_nowait()
        except Empty:
            return 0
        self.under_way.remove(sent)
        sent.reported, sent.told_by = True, threading.current_thread()
        sent.arrived.release()
        return 1

    def __len__(self) -> int:
        return len(self.under_way)


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
def own(kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Reports, threading.Thread]]:
    """The client's own thread, which nothing wakes but a call."""
    monkeypatch.setattr(reports, "TICK", PATIENCE)
    served, stop = Reports(kafka, LastError()), threading.Event()
    thread = threading.Thread(target=served.serve, args=(stop,), daemon=True)
    thread.start()
    yield served, thread
    monkeypatch.undo()
    stop.set()
    served.leave()
    kafka.acknowledge(kafka.send())  # wakes a poll
    thread.join(PATIENCE)
    assert not thread.is_alive()


def waiting(served: Reports, sent: Sent) -> threading.Thread:
    thread = threading.Thread(target=served.wait, args=(sent, time.monotonic() + PATIENCE), daemon=True)
    thread.start()
    return thread


def test_a_thread_alone_takes_its_own_report(kafka: FakeKafka, own: tuple[Reports, threading.Thread]) -> None:
    sent = kafka.send()
    kafka.acknowledge(sent)
    assert own[0].wait(sent, time.monotonic() + PATIENCE)
    assert sent.told_by is threading.current_thread()


def test_a_thread_that_polls_tells_the_others_and_leaves_the_rest_to_the_clients_own(
    kafka: FakeKafka, own: tuple[Reports, threading.Thread]
) -> None:
    served = own[0]
    first, second, third = kafka.send(), kafka.send(), kafka.send()
    polling = waiting(served, first)
    assert kafka.polls.acquire(timeout=PATIENCE)
    told, left = waiting(served, second), waiting(served, third)
    for sent in (second, first):
        kafka.acknowledge(sent)
    for waiter in (polling, told):
        waiter.join(PATIENCE)
    assert second.told_by is polling
    assert not third.reported
    kafka.acknowledge(third)
    left.join(PATIENCE / 2)  # not as late as when it would look by itself, after a TICK
    assert third.reported


def test_the_report_of_a_record_that_no_thread_waits_for_is_taken(
    kafka: FakeKafka, own: tuple[Reports, threading.Thread]
) -> None:
    served, thread = own
    sent = kafka.send()
    served.leave()
    kafka.acknowledge(sent)
    assert sent.arrived.acquire(timeout=PATIENCE / 2)
    assert sent.told_by is thread


def test_who_gives_up_leaves_what_is_under_way_to_the_clients_own_thread(
    kafka: FakeKafka, own: tuple[Reports, threading.Thread]
) -> None:
    served, thread = own
    sent = kafka.send()
    assert not served.wait(sent, time.monotonic() + 0.01)
    kafka.acknowledge(sent)
    assert sent.arrived.acquire(timeout=PATIENCE / 2)
    assert sent.told_by is thread


def test_a_callback_that_raises_ends_nobodys_append(kafka: FakeKafka) -> None:
    sent, poll = kafka.send(), kafka.poll

    def failing(timeout: float) -> int:
        kafka.poll = poll  # type: ignore[method-assign]
        raise ValueError("not mine")

    kafka.poll = failing  # type: ignore[method-assign]
    kafka.acknowledge(sent)
    assert Reports(kafka, LastError()).wait(sent, time.monotonic() + PATIENCE)
