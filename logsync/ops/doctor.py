"""What `logsync doctor` asks: topics, stores, and whether what a store remembers fits the log. Looks, changes nothing.

The rules of each server are beside its edge (``log/facts.py``, ``stores/*/inspect.py``); here are those that need
both the log and the store. They are the worker's own: what would make it refuse or halt is found by the same functions.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from time import time

from logsync.bookkeeping import check_partitions
from logsync.core.inspection import Finding, Inspection, Severity, noting
from logsync.core.parked import SequenceSummary
from logsync.core.position import LogIdentity, Position
from logsync.core.resume import check_book, check_identity, check_last, check_range, first_book
from logsync.core.sink import Sink
from logsync.core.sources import Sources
from logsync.errors import in_commands
from logsync.log.admin import Kafka, client_versions
from logsync.log.facts import TopicFacts, judge_topic
from logsync.log.group import group_id
from logsync.log.lookup import Lookup, Span
from logsync.ops.reading import reading
from logsync.ops.transactions import OpenTransaction, open_transactions
from logsync.settings import Settings

_PATIENCE = 5.0  # seconds: a doctor that hangs on a server that is down tells nobody that it is down
_STALE = 60.0  # seconds that the oldest event may wait before somebody should look why


def diagnose(sinks: Sequence[Sink], settings: Settings) -> list[Finding]:
    """All findings about these sinks, their stores and their topics.

    Raises nothing that a server can cause: one that is down is a finding, and the others are looked at all the same.
    """
    topics = sorted({sink.log.topic for sink in sinks})
    with ThreadPoolExecutor(1 + len(topics) + len(sinks)) as pool:  # one server that is down must not delay the others
        looks = [pool.submit(_topic, topic, settings) for topic in topics]
        facts = {topic: look.result()[1] for topic, look in zip(topics, looks, strict=True)}
        of_sinks = pool.map(lambda sink: _sink(sink, facts[sink.log.topic], settings), sinks)
        found = [finding for look in looks for finding in look.result()[0]]
        found += [
            replace(finding, about=sink.name, fix=in_commands(finding.fix, sink.address))
            for sink, some in zip(sinks, of_sinks, strict=True)
            for finding in some
        ]
    return sorted(dict.fromkeys([_here(), *found]), key=lambda finding: -finding.severity)


def _here() -> Finding:
    return Finding(
        Severity.NOTE, "logsync.version", f"logsync {version('logsync')}, Python {platform.python_version()}"
    )


def _topic(topic: str, settings: Settings) -> tuple[list[Finding], TopicFacts | None]:
    findings: list[Finding] = []
    with noting(findings, "topic.kafka"):
        kafka = Kafka(settings, timeout=_PATIENCE)
        facts = kafka.describe(topic)
        findings.append(
            Finding(Severity.NOTE, "topic.version", f"Kafka, brokers: {kafka.brokers()}; {client_versions()}")
        )
        return findings + judge_topic(facts, settings.accept_finite_retention), facts
    return [replace(finding, about=topic) for finding in findings], None


def _sink(sink: Sink, facts: TopicFacts | None, settings: Settings) -> list[Finding]:
    group = group_id(settings.environment, sink.name)
    bounded = settings.model_copy(update={"store_timeout": _PATIENCE})
    if facts is None:
        return sink.store.inspect(sink.name, bounded).findings  # the topic's finding says why that is all
    findings: list[Finding] = []
    with (
        noting(findings, "topic.kafka"),
        reading(sink.log, settings, group_id=group, timeout=_PATIENCE) as lookup,
    ):
        # In this order committed <= position <= end is what one sees of a worker that is running. # P2
        committed = lookup.committed(range(facts.identity.partitions))
        seen = sink.store.inspect(sink.name, bounded)
        findings += seen.findings
        if seen.positions is not None:
            spans = lookup.spans()
            findings += judge_book(sink, seen, facts.identity, spans, settings.environment)
            findings += judge_parked(sink, seen.waiting, datetime.now(UTC))
            written = {partition: end for partition, (_, end) in facts.offsets.items()}
            held = open_transactions(sink.log, settings, spans, written, timeout=_PATIENCE)
            findings += judge_transactions(held.values(), datetime.now(UTC))
            same_log = seen.book is not None and not seen.book.log.differences(facts.identity)
            for partition, at in sorted(seen.positions.items()) if same_log else ():
                findings += _position(sink, at, spans[partition], committed.get(partition), lookup)
        return findings
    return findings + sink.store.inspect(sink.name, bounded).findings


def judge_book(
    sink: Sink, seen: Inspection, log: LogIdentity, spans: Mapping[int, Span], environment: str
) -> list[Finding]:
    """What would keep a worker from resuming with this book, or from beginning without one."""
    findings: list[Finding] = []
    book, now = seen.book, datetime.now(UTC)
    with noting(findings, "topic.partitions"):
        check_partitions(sink, log)
        sink.check_order(log.partitions)
    if book is None:
        with noting(findings, "sink.begin"):  # P1
            first_book(
                sink, environment=environment, log=log, log_starts={p: span.low for p, span in spans.items()},
                holds_data=seen.holds_data, from_log_start=False, now=now,
            )  # fmt: skip
            what = f"no worker of sink {sink.name} has begun yet"
            findings.append(Finding(Severity.NOTE, "sink.begin", what, "", f"`logsync consume {sink.address}`"))
        return findings
    with noting(findings, "sink.book"):
        check_book(book, sink, environment=environment, log=log, accept_from_now=False, now=now)
    with noting(findings, "sink.log"):
        check_identity(book, sink, log)
    lost = sorted(set(range(book.log.partitions)) - set(seen.positions or ()))
    if lost and book.state == "ready":
        what = f"sink {sink.name} has a book, and no position for partition {', '.join(map(str, lost))}"
        why = "it was forgotten or lost; what the store still holds cannot be told"
        fix = f"`logsync rebuild {sink.address} --yes` wipes what the sink owns and replays the log"
        findings.append(Finding(Severity.ERROR, "sink.position", what, why, fix))
    if any(at.epoch != book.epoch for at in (seen.positions or {}).values()):
        what = f"sink {sink.name}: its positions have another epoch than its book"
        why = "a rebuild or a move of the position is under way, or was interrupted; workers wait for its end"
        fix = f"if none is running, run it again, or `logsync rebuild {sink.address} --yes`"
        findings.append(Finding(Severity.ERROR, "sink.epoch", what, why, fix))
    return findings


def judge_transactions(held: Iterable[OpenTransaction], now: datetime) -> list[Finding]:
    """Transactions of writers behind which nobody reads."""
    findings = []
    for found in held:
        young = found.began is not None and (now - found.began).total_seconds() < _STALE
        what = f"{found.topic}, partition {found.partition}: {found.found}"
        why = "no sink applies what stands there, and the committed offset shows no lag"
        severity = Severity.WARNING if young else Severity.ERROR
        findings.append(Finding(severity, "topic.transaction", what, why, found.fix))
    return findings


def judge_parked(sink: Sink, waiting: Mapping[int, Mapping[str, SequenceSummary]], now: datetime) -> list[Finding]:
    """What is parked until a person looks at it, and whether it is near the point where a worker halts."""
    limits, every = sink.parking, [known for found in waiting.values() for known in found.values()]
    if not every:
        return []
    oldest, most = min(known.since for known in every), max(len(found) for found in waiting.values())
    longest = max(known.events for known in every)
    errors = ", ".join(f"{error} {count:,}" for error, count in Counter(known.error for known in every).most_common())
    events = sum(known.events for known in every)
    since = f"the first since {oldest:%Y-%m-%d %H:%M} UTC"
    what = f"{len(every):,} sequences with {events:,} events are parked ({errors}), {since}"
    why = "events of these keys are not applied: readers of this store see the keys as they were"
    full = most >= limits.sequences or longest >= limits.events or now - oldest > limits.age
    if full:
        why = "a limit of Parking is reached: a worker halts at the next event that it would have to park, or at once"
    fix = f"`logsync parked list {sink.address}` shows why; then `parked retry` or `parked discard`"
    return [Finding(Severity.ERROR if full else Severity.WARNING, "sink.parked", what, why, fix)]


def judge_sources(sink: Sink, at: Position) -> list[Finding]:
    """Sources of which the sink had to guess which records count. # U1"""
    of = Sources.read(at.sources, at.next_offset).states
    guessed = sorted(name for name, state in of.items() if not state.exact)
    if not guessed:
        return []
    what = f"partition {at.partition}: which records of {', '.join(guessed)} count was a guess"
    why = "the log lacks its head, or a part of it cannot be read: an event of them may be applied twice, or not at all"
    fix = f"compare with the source; once the log is whole, `logsync rebuild {sink.address} --yes`"
    return [Finding(Severity.WARNING, "sink.sources", what, why, fix)]


def _position(sink: Sink, at: Position, span: Span, committed: int | None, lookup: Lookup) -> list[Finding]:
    findings: list[Finding] = []
    where, consume = f"{lookup.topic}, partition {at.partition}", f"`logsync consume {sink.address}`"
    with noting(findings, "sink.position"):
        check_range(at, span.low, span.high, sink)
        if at.last_offset is not None and span.low <= at.last_offset:
            check_last(at, lookup.id_at(at.partition, at.last_offset), sink)
        waiting = lookup.first_at(at.partition, at.next_offset)
        if waiting is not None and waiting.fault is not None and waiting.fault.last is not None:
            what = f"{where}: what comes next, at offset {waiting.offset}, cannot be read: {waiting.fault.why}"
            fix = f'`logsync skip {sink.address} {at.partition} {waiting.offset} --reason "..." --yes` passes over it'
            findings.append(Finding(Severity.ERROR, "sink.unreadable", what, "a worker halts there", fix))
            waiting = None
        age = time() - waiting.timestamp / 1000 if waiting else 0
        if age > _STALE:
            what = f"{where}: {span.high - at.next_offset:,} offsets behind; the oldest event waits for {age:,.0f} s"
            why = "readers of this store see the past"
            fix = f"{consume} if no worker runs; the log of one that does says what it waits for"
            findings.append(Finding(Severity.WARNING, "sink.lag", what, why, fix))
    findings += judge_sources(sink, at)
    if committed is not None and committed > at.next_offset:
        what = f"{where}: Kafka's bookmark is {committed:,}, the store's position {at.next_offset:,}"
        why = "the store went back, as in a restore, and no worker has resumed since; lag tools show too little"  # P2
        findings.append(Finding(Severity.WARNING, "sink.committed", what, why, f"{consume} goes on from the position"))
    return findings
