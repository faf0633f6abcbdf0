"""The judge: which records of a source count. Go-back-N over Kafka. Pure.

A relay may be killed between "Kafka has it" and "the database knows"; it may be frozen and write after its successor;
and a broker that stalls may take its seventh record and drop the six before it. Ids alone cannot tell such records from
new facts without a memory that grows for ever. So every run of a source is a *writer* with a *term*, greater than all
terms that it found in the log; it numbers its records in each partition, and begins with a barrier. Readers take a
record if it is the next one of the present writer. All others are repeats: what they say was said, or will be said
again. # U1

Every reader makes the same verdicts, since they follow from the log alone. What a reader has to remember is small, and
travels with its position.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from logsync.core.event import Record

MOST = 50
"""Sources that one partition may have: what each reader remembers is bounded. The barrier of one more is not taken."""
MOST_TERMS = 10**18 - 1
"""The greatest term that a record may name. Nobody gets there by taking over."""
_AT_ONCE = 1_000
"""Records that are folded together where a long range is read."""
BARRIER = "logsync.barrier"
"""The type of the events with which a writer begins. Other consumers may pass over them."""


class Mark(NamedTuple):
    """What a record says of the source that it comes from."""

    source: str
    term: int
    writer: str
    """Random: two relays may have found the same greatest term."""
    number: int
    """Counts the writer's records in this partition from 1; 0: the barrier with which it begins."""
    at: str
    """The fact's place in the order of the source. Empty in a barrier."""


class State(NamedTuple):
    """What a reader remembers of one source in one partition."""

    term: int
    writer: str
    number: int
    at: str
    """The place of the last fact that was taken; a new writer leaves it."""
    exact: bool = True
    """False: where the source stood was guessed, because the log lacks its head or a part of it."""
    loose: bool = False
    """True: records before this place cannot be read. The next one of this writer may have any greater number."""


_new = tuple.__new__  # a named tuple without its generated __new__, which is a call more for every record

Marks = Iterable[tuple[int, Mark | None]]
"""Records of sources with their offsets, in log order. None: what stands there cannot be read; maybe some did."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a reader of one partition remembers of all its sources, as the log has them below ``next_offset``."""

    next_offset: int
    states: Mapping[str, State]
    whole: bool = True
    """False: the log lacks its head, or a part of it cannot be read. A writer whose barrier was there is believed."""

    @classmethod
    def read(cls, text: str | None, next_offset: int) -> Sources:
        """What :meth:`dump` wrote beside ``next_offset``."""
        if text is None:
            return cls(next_offset, {})
        found = json.loads(text)
        states = {name: State(*fields) for name, fields in found["of"].items()}
        return cls(found["next"], states, found["whole"])

    def dump(self, next_offset: int) -> str | None:
        """As a position at ``next_offset`` carries it, in ASCII. None: the log was read from 0, and has no source."""
        if not self.states and self.whole and self.next_offset == next_offset:
            return None
        of = {name: list(state) for name, state in self.states.items()}
        return json.dumps({"next": self.next_offset, "whole": self.whole, "of": of}, separators=(",", ":"))

    @property
    def place(self) -> tuple[int, str | None]:
        """Where to read on, and what :meth:`read` needs there."""
        return self.next_offset, self.dump(self.next_offset)

    def moved(self, next_offset: int) -> Sources:
        """The same at another offset: that of the same record in a copy of the log."""
        return Sources(next_offset, self.states, self.whole)

    def without(self, next_offset: int) -> Sources:
        """The same behind a part of the log that cannot be read any more, which ends before ``next_offset``."""
        states = {name: state._replace(loose=True) for name, state in self.states.items()}
        return Sources(next_offset, states, whole=False)


def at_start(low: int) -> Sources:
    """What a reader knows who begins at the log's first offset, ``low``."""
    return Sources(low, {}, whole=low == 0)


def carried(text: str | None, stands: int, target: int) -> str | None:
    """What a position carries that a person moves from ``stands`` to ``target``: resuming completes it."""
    known = Sources.read(text, stands)
    if not known.states and known.whole and target <= known.next_offset:
        return None  # what has met no source up to there had met none before
    return known.dump(target)


def stretches(records: Iterable[Record], stop: int) -> Iterator[tuple[list[Record], int]]:
    """The records of a range that ends at ``stop``, in stretches to be folded, each with the offset behind it.

    The last one may be empty. A stretch is all that is kept of a long log.
    """
    batch = list[Record]()
    for record in records:
        batch.append(record)
        if len(batch) == _AT_ONCE:
            yield batch, record.offset + 1
            batch = []
    yield batch, stop


def fold(before: Sources, marks: Marks, next_offset: int) -> tuple[Sources, dict[int, str]]:
    """Judge the records of sources in [before.next_offset, next_offset).

    Returns what is known behind them, and by offset the rule by which a record does not count: ``repeat``, or
    ``barrier``, which is no event. What is not in there counts.
    """
    states, whole, passed = dict(before.states), before.whole, dict[int, str]()
    for offset, mark in marks:
        if offset < before.next_offset:
            continue
        if offset >= next_offset:
            break
        if mark is None:
            lost = Sources(offset, states).without(offset)
            states, whole = dict(lost.states), lost.whole
            continue
        state = states.get(mark.source)
        if mark.number == 0:
            passed[offset] = "barrier"
            if state is None:
                if len(states) < MOST:
                    states[mark.source] = State(mark.term, mark.writer, 0, "")
            elif mark.term > state.term:
                states[mark.source] = State(mark.term, mark.writer, 0, state.at, state.exact)
        elif state is not None and _next(state, mark):
            exact = state.exact and mark.number == state.number + 1
            states[mark.source] = _new(State, (mark.term, mark.writer, mark.number, mark.at, exact, False))
        elif not whole and (mark.term > state.term if state is not None else len(states) < MOST):
            states[mark.source] = State(mark.term, mark.writer, mark.number, mark.at, exact=False)
        else:
            passed[offset] = "repeat"
    return Sources(next_offset, states, whole), passed


def _next(state: State, mark: Mark) -> bool:
    """Is this the next record of the present writer?"""
    if (mark.term, mark.writer) != (state.term, state.writer):
        return False
    return mark.number > state.number if state.loose else mark.number == state.number + 1


class Judged(NamedTuple):
    """The verdict on a stretch of one partition that begins where a reader stands."""

    before: Sources
    marks: list[tuple[int, Mark | None]]
    after: Sources
    """What is known behind all of it."""
    passed: Mapping[int, str]
    """By offset, the rule by which a record of a source does not count."""

    def sources(self, next_offset: int) -> str | None:
        """What the position carries if it moves to ``next_offset``: cut where the events are cut."""
        whole = not self.marks or self.marks[-1][0] < next_offset
        known = self.after.moved(next_offset) if whole else fold(self.before, self.marks, next_offset)[0]
        return known.dump(next_offset)


def judge(text: str | None, start: int, marks: list[tuple[int, Mark | None]]) -> Judged | None:
    """Judge what a reader at ``start`` has met. ``text``: what its position carries. None: no source concerns it."""
    if text is None and not marks:
        return None
    before = Sources.read(text, start)
    return Judged(before, marks, *fold(before, marks, 1 << 63))
