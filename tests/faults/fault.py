"""What a row of the table is: what is done to a store, its worker or Kafka, and what must happen then.

A fault is a generator over a lane with a running worker:

    strike, and claim what shows     yield      the log grows by some events under the fault
    undo                             yield      from here on the time to heal is measured
    what a supervisor or a person does (start the worker again, run the command that the error named)     yield
    what shows when all is well again

All but the first ``yield`` may be missing. Undoing stands in ``finally``: a failed claim leaves no fault behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from .world import Lane

Steps = Iterator[None]
CLASSES = ("server", "network", "worker", "Kafka", "content", "room")


class NotHere(Exception):
    """This machine cannot do that; the text says why and goes into the table."""


@dataclass(frozen=True)
class Fault:
    """One row. ``says`` has what happens, for each store that the fault applies to; ``cannot`` has why not."""

    name: str
    strike: Callable[[Lane, Random], Steps]
    says: dict[str, str]
    cannot: dict[str, str]
    ci: frozenset[str]
    """The stores for which `make test` runs it."""
    of: str
    """What is struck: one of CLASSES."""
    proxied: bool = False
    """The worker reaches its store through the lane's proxy."""
    goes_back: frozenset[str] = field(default=frozenset())
    """The stores that may go back in time themselves, so that I1 and I2 hold only after the next resume (P2)."""
    linked: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Proven elsewhere: what happens, and the test, as file::name below tests/. It runs at every change."""


FAULTS: list[Fault] = []


def fault(
    of: str,
    name: str,
    says: str = "",
    *,
    ci: str = "",
    back: str = "",
    proxied: bool = False,
    cannot: dict[str, str] | None = None,
    **each: str,
) -> Callable[[Callable[[Lane, Random], Steps]], Callable[[Lane, Random], Steps]]:
    """``says`` is for every store that ``each`` and ``cannot`` do not name; ``ci`` and ``back`` list stores."""

    def register(strike: Callable[[Lane, Random], Steps]) -> Callable[[Lane, Random], Steps]:
        not_for = cannot or {}
        texts = {kind: each.get(kind, says) for kind in ("db", "cache", "search") if kind not in not_for}
        assert all(texts.values())
        assert of in CLASSES
        through = proxied or of == "network"
        FAULTS.append(Fault(name, strike, texts, not_for, frozenset(ci.split()), of, through, frozenset(back.split())))
        return strike

    return register


def outage(lane: Lane, begin: Callable[[], object], end: Callable[[], object]) -> Steps:
    """The worker says that it waits, and goes on when it is over: the very same process."""
    begin()
    try:
        lane.waits()
        yield
    finally:
        end()


def elsewhere(of: str, name: str, *, cannot: dict[str, str] | None = None, **linked: tuple[str, str]) -> None:
    """A row whose cells are tests of their own, as they need servers that nothing else here can share."""
    assert of in CLASSES

    def strike(lane: Lane, chance: Random) -> Steps:
        raise NotImplementedError(lane, chance)

    FAULTS.append(Fault(name, strike, {}, cannot or {}, frozenset(), of, linked=linked))
