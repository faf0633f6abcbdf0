"""From one look at a store to what is known of an event. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from logsync.core.book import Book
from logsync.core.codec import LOOK_BACK
from logsync.core.offsets import Offsets
from logsync.core.receipt import Receipt
from logsync.core.sink import Sink
from logsync.core.view import Place, Retried, Sight
from logsync.errors import ConfigError, LogIdentityError
from logsync.reading.pace import Pace
from logsync.reading.seen import Seen, State, worst

Receipts = Receipt | Iterable[Receipt]
"""What an append returned, or what several returned."""


def check_receipt(receipt: Receipt, sink: Sink) -> None:
    """Raise ConfigError for a receipt of a log that the sink does not follow: waiting would never end."""
    if receipt.topic != sink.log.topic:
        raise ConfigError(
            f"the receipt is of topic {receipt.topic}, and sink {sink.name} follows {sink.log.topic}",
            fix="wait for a sink of the log that the event was appended to",
        )


def by_type(receipt: Receipt, sink: Sink) -> Seen | None:
    """What the receipt alone says: the sink does nothing with such an event. None: the store has to be asked."""
    if not receipt.type or receipt.type in sink.handled:
        return None
    return Seen(State.PASSED_OVER, sink.name, f"{receipt.type} has no handler")


def asked_for(receipts: Iterable[Receipt]) -> tuple[set[Place], dict[Place, Retried]]:
    """What a view has to be asked about these."""
    asked, retried = set[Place](), dict[Place, Retried]()
    for receipt in receipts:
        place = receipt.partition, receipt.offset
        asked.add(place)
        if receipt.since is not None:
            retried[place] = Retried(receipt.event_id, _since(receipt))
    return asked, retried


def _since(receipt: Receipt) -> int:
    """From where on attempts of the event may stand that count: as far back as workers look. # A1"""
    offset = receipt.offset
    return offset if receipt.since is None else min(offset, max(receipt.since, offset - LOOK_BACK))


def to_ask(receipts: Receipts, sink: Sink) -> tuple[list[Receipt], Seen | None]:
    """For which events the store has to be asked; for none, the answer. Raises what ``check_receipt`` raises."""
    given = [receipts] if isinstance(receipts, Receipt) else list(dict.fromkeys(receipts))
    for receipt in given:
        check_receipt(receipt, sink)
    told = [(receipt, by_type(receipt, sink)) for receipt in given]
    asked = [receipt for receipt, seen in told if seen is None]
    if asked:
        return asked, None
    return [], worst([seen for _, seen in told if seen]) if told else Seen(State.APPLIED, sink.name)


def check_environment(book: Book, sink: str, environment: str) -> None:
    """Raise ConfigError for a store that the workers of another environment fill. # P3"""
    if book.environment != environment:
        raise ConfigError(
            f"sink {sink}: this store belongs to environment {book.environment!r}, and this is {environment!r}",
            fix=f"set LOGSYNC_ENVIRONMENT={book.environment}, or point at the store of this environment",
        )


def answer(receipts: Iterable[Receipt], sink: Sink, environment: str, sight: Sight, pace: Pace | None = None) -> Seen:
    """Of these events what is said of the one that is furthest from APPLIED; with a pace, how long it takes.

    Raises what ``judge`` raises.
    """
    answers = [(receipt, judge(receipt, sink, environment, sight)) for receipt in receipts]
    return worst([seen if pace is None else replace(seen, seconds=pace.seconds(one, seen)) for one, seen in answers])


def judge(receipt: Receipt, sink: Sink, environment: str, sight: Sight) -> Seen:
    """What ``sight`` says of the event; whether searches find it, it does not say.

    Raises LogIdentityError for an event of another log than the store follows, and ConfigError for a store that belongs
    to another environment.
    """
    book, number, name = sight.book, receipt.partition, sink.name
    if book is None:
        return Seen(State.NOT_STARTED, name, "the store has never seen this sink")
    check_environment(book, name, environment)
    if (receipt.topic_id and receipt.topic_id != book.log.topic_id) or number >= book.log.partitions:
        other = receipt.topic_id or f"it has a partition {number}"
        raise LogIdentityError(
            f"sink {name} follows topic {book.log.topic} with the id {book.log.topic_id}, and the receipt is of "
            f"another one of this name ({other}): its offset means nothing there",
            fix="drop receipts of a topic that was deleted and made again",
        )
    if book.rebuilding(sight.positions):
        return Seen(State.REBUILDING, name)
    position = sight.positions.get(number)
    if position is None:
        return Seen(State.NOT_STARTED, name, f"the store has no position for partition {number}: `logsync doctor`")
    if position.next_offset <= receipt.offset:
        return Seen(State.BEHIND, name, events=receipt.offset + 1 - position.next_offset)
    for skip in book.skips:
        if skip.partition == number and receipt.offset in skip.offsets:
            return Seen(State.PASSED_OVER, name, f"skipped by hand: {skip.reason}")
        if skip.partition == number and _within(skip.offsets, _since(receipt), receipt.offset):
            # A skip names no ids. Better to call a visible event invisible than the other way round. # A1
            return Seen(State.PASSED_OVER, name, f"its first attempt may be among what was skipped: {skip.reason}")
    reason = sight.parked.get((number, receipt.offset))
    if reason is not None:
        return Seen(State.PARKED, name, reason)
    if receipt.type in book.skipped:  # by a worker of an older version, which did not have the handler yet # T2
        return Seen(State.PASSED_OVER, name, f"its worker passes over {receipt.type}")
    return Seen(State.APPLIED, name)


def _within(offsets: Offsets, first: int, end: int) -> bool:
    return any(low < end and high >= first for low, high in offsets.ranges)
