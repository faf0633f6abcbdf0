"""Remove one guard at a time and show which test fails without it: ``python -m tests.mutants`` (``make mutants``).

A guard that no test misses is a gap. Works on a copy of the tree; the tree itself is never touched. Outside CI,
because it takes long: the guards of the core need seconds each, those of the stores a test against a real server.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, TypedDict

import pytest

ROOT = Path(__file__).parent.parent
STACK = "mutants"  # stays up from one guard to the next
CORE = ("tests/unit/test_worker.py", "tests/unit", "tests/property", "tests/contract")


class Guard(NamedTuple):
    """``old`` stands exactly once in ``file``; with ``new`` in its place the guard is gone."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = CORE
    servers: str = ""
    """The stores that the tests need, as an expression for ``pytest -k``; empty: none."""


class Tests(TypedDict):
    """What fails without a guard of a store."""

    tests: tuple[str, ...]
    servers: str


SAID = ("tests/unit/test_no_secret_leaves.py", "tests/unit/test_secrets.py", "tests/unit/test_addresses.py")
MODELS = ("tests/unit/test_models.py",)
SQLITE: tuple[str, ...] = ("tests/contract/test_contract_sqlite.py",)
SIMULATED: tuple[str, ...] = ("tests/property/test_opensearch_parking.py",)


def contract(store: str) -> Tests:
    return {"tests": ("tests/contract", f"tests/integration/{store}"), "servers": f"{store} or not contract"}


def parking(store: str) -> Tests:
    return {**contract(store), "tests": (f"tests/integration/{store}/test_parking.py", *contract(store)["tests"])}


def postgres(module: str) -> Tests:
    return {"tests": (f"tests/integration/postgres/{module}.py",), "servers": "postgres or not contract"}


GUARDS = (
    Guard("I1 commit after apply", "logsync/worker.py",
          "                self._look_if_due()  # L1: not once",
          "                self.reader.commit(made.end)\n                self._look_if_due()  # L1: not once"),
    Guard("I2 resume where the store is", "logsync/worker.py",
          "self.reader.start(position)\n", "self.reader.start(position.at(high))\n"),
    Guard("a position is set from where it was shown", "logsync/ops/positions.py",
          "    if stands != shown:", "    if False:", ("tests/unit/test_position_set.py",)),
    Guard("no more is given up than was shown", "logsync/ops/parked.py",
          "        if most is not None and meant > most:", "        if False:", ("tests/unit/test_parked_admin.py",)),
    Guard("I6 a skip is of the sink's own log", "logsync/ops/records.py",
          "        if log is not None and (differences := book.log.differences(log)):",
          "        if False and (differences := book.log.differences(log)):", ("tests/unit/test_cli_admin.py",)),
    Guard("status is not ok when a sink does not run", "logsync/cli/status.py",
          "for code in (Exit.CONFIG, Exit.LOG, Exit.UNAVAILABLE) if code in found", "for code in ()",
          ("tests/unit/test_cli_admin.py",)),
    Guard("no secret in an error", "logsync/errors.py",
          "self.message = hide(message)", "self.message = message", SAID),
    Guard("no secret in a log line", "logsync/observe/logs.py",
          "    shown = hide(text)\n", "    shown = text\n", SAID),
    Guard("an address is read in one way", "logsync/core/addresses.py",
          """    torn = "@" in path or""", """    torn = False and "@" in path or""", SAID),
    Guard("the prefix topic. hides no key", "logsync/log/config.py",
          "REFUSED.get(name.removeprefix(_SCOPE))", "REFUSED.get(name)", ("tests/unit/test_config.py",)),
    Guard("health tells nothing of servers", "logsync/observe/health.py",
          "the worker's log says why", "{report.reason}", ("tests/unit/test_health_server.py",)),
    Guard("health bounds its connections", "logsync/observe/server.py",
          "        if len(self._open) > MOST:", "        if False:", ("tests/unit/test_health_server.py",)),
    Guard("F1 read-ahead goes with a resume", "logsync/partition.py",
          "self.position, self.retries, self.ahead = None, RetryQueue(), None",
          "self.position, self.retries = None, RetryQueue()"),
    Guard("F1 read-ahead goes with its partition", "logsync/worker.py",
          "        self._partitions.pop(number, None)\n", ""),
    Guard("F1 what a poll leaves over goes with its partition", "logsync/log/group.py",
          "for message in messages[count:] if message.partition() in ours]", "for message in messages[count:]]"),
    Guard("T3 what is not proven is compared", "logsync/core/cloudevents.py",
          "        if value is not None and not json.fits(event):", "        if False:", MODELS),
    Guard("T3 no subclass passes for a proof", "logsync/core/models/proof.py",
          "f\"type({found}) is {self._named('T', node['cls'])}\"",
          "f\"isinstance({found}, {self._named('T', node['cls'])})\"", MODELS),
    Guard("T5 a default that is made anew is no value", "logsync/core/models/decoding.py",
          "    if made is not None:", "    if False:", MODELS),
    Guard("A2 a client that failed is not used again", "logsync/log/bulk.py",
          "        if self._failures == 0:\n", "        if True:\n", ("tests/unit/test_bulk_client.py",)),
    Guard("skip what the store holds", "logsync/core/planning.py",
          "    return [event for event in events if event.offset >= stored.next_offset]", "    return events"),
    Guard("P2 heal the bookmark at resume", "logsync/worker.py",
          "            self.reader.commit(position)  # P2", "            # P2"),
    Guard("P2 compare an idle store", "logsync/worker.py",
          "            if found is None or found.place != known.place:", "            if False:"),
    Guard("P3 conflicts halt", "logsync/core/policy.py",
          "conflicts >= CONFLICTS_BEFORE_HALT or set_back", "set_back"),
    Guard("P3 a store that goes back is no rival", "logsync/core/resume.py",
          "    return any(number not in stored or stored[number].place < position.place", "    return any(False",
          tests=("tests/unit/test_going_back.py",)),
    Guard("P3 another life of the store is no rival", "logsync/core/resume.py",
          "    if book is None or (book.began, book.epoch) != (known.began, known.epoch) or", "    if book is None or",
          tests=("tests/unit/test_going_back.py",)),
    Guard("P3 a store that is set back all the time halts", "logsync/core/policy.py",
          " or set_back >= SET_BACK_BEFORE_HALT", "", tests=("tests/unit/test_going_back.py",)),
    Guard("P1 emptied while a worker resumes", "logsync/worker.py",
          "            self._books.look()  # emptied", "            pass  # emptied",
          tests=("tests/unit/test_going_back.py",)),
    Guard("P3 environment", "logsync/core/resume.py",
          "    if book.environment != environment:", "    if False:"),
    Guard("P1 data without a position", "logsync/core/resume.py",
          "    if not from_log_start and holds_data:", "    if False:"),
    Guard("P1 log without its head", "logsync/core/resume.py",
          "    if not from_log_start and trimmed:", "    if False:"),
    Guard("L1 identity before apply", "logsync/worker.py",
          "            check_identity(self._books.known, self.sink, identity)", "            pass"),
    Guard("L2 id of the last event", "logsync/core/resume.py",
          "    if position.last_id is not None and found != position.last_id and", "    if False and"),
    Guard("L4 position outside the log", "logsync/core/resume.py",
          "    if position.next_offset > high:", "    if False:"),
    Guard("L4 end without records", "logsync/core/planning.py",
          "    elif next_offset is not None:\n        end = end.at(next_offset)", "    elif False:\n        pass"),
    Guard("T1 unknown types halt", "logsync/core/planning.py",
          "and sink.unknown == \"skip\" else None", "else None"),
    Guard("A1 a mark is believed no further than that", "logsync/duplicates.py",
          "max(retried_from, event.offset - LOOK_BACK)", "retried_from"),
    Guard("L7 the end is behind an open transaction", "logsync/partition.py",
          "self.end, self.held = max(stable, written),", "self.end, self.held = stable,"),
    Guard("T2 what a full book cannot tell", "logsync/core/resume.py",
          "if book.more_skipped else frozenset()", "if False else frozenset()"),
    Guard("T2 a full book names what is in code", "logsync/core/book.py",
          "if name in declared or name in self.handled}", "if False}"),
    Guard("T2 late handlers", "logsync/core/resume.py",
          "    if (late or untold) and not accept_from_now:", "    if False:"),
    Guard("T2 skipped types are noted", "logsync/worker.py",
          "                self._books.note_skipped(made)\n                try:", "                try:"),
    Guard("A1 retried appends", "logsync/duplicates.py",
          "    if not since:\n        return []", "    return []"),
    Guard("S2 overwrites of several partitions", "logsync/core/sink.py",
          "        if partitions == 1 or self.order == \"per-key\":", "        if True:"),
    Guard("G1 judge an event alone", "logsync/core/attempt.py",
          "        if event.offset == self.events[0].offset:", "        if True:"),
    Guard("outages are waited for", "logsync/core/policy.py",
          "    if isinstance(error, StoreError | LogUnavailable):", "    if attempt < 50:"),
    Guard("I7 an event's writes all or none", "logsync/core/planning.py",
          "            del writes[mark:]\n            if result is not None", "            if result is not None"),
    Guard("S2 known overwrites are refused at start", "logsync/bookkeeping.py",
          "    sink.check_order(log.partitions)\n", ""),
    Guard("S2 what is no write of the sink is never parked", "logsync/core/planning.py",
          "            raise _misused(self._sink, event, handler, found.write, result) from None",
          "            raise self._located(event, HandlerError('x')) from None"),
    Guard("tombstones", "logsync/core/cloudevents.py",
          "        if value is None:\n            return self._tombstone",
          "        if False:\n            return self._tombstone"),
    Guard("I8 later events join their sequence", "logsync/core/planning.py",
          "        return waiting is not None and event.offset >= waiting.first", "        return False"),
    Guard("I8 within one plan", "logsync/core/planning.py",
          "        if name in self._grown:\n            return True", "        pass"),
    Guard("I8 older events of a sequence pass on replay", "logsync/core/planning.py",
          "waiting is not None and event.offset >= waiting.first", "waiting is not None"),
    Guard("I8 a resumed worker knows what waits", "logsync/parked_retries.py",
          "queue = RetryQueue(self._sink.store.sequences(number))", "queue = RetryQueue({})"),
    Guard("I8 a drain stops at what still fails", "logsync/core/planning.py",
          "                )\n                break\n        released.append(event.offset)",
          "                )\n                continue\n        released.append(event.offset)"),
    Guard("K1 a drain moves the position", "logsync/core/position.py",
          "releases=self.releases + 1)", "releases=self.releases)"),
    Guard("a discard moves the position", "logsync/core/planning.py",
          "        stored, stored.released(), still_parked=", "        stored, stored, still_parked="),
    Guard("a mark is put on record before the event leaves", "logsync/parked_retries.py",
          "        self._record(partition.number, given_up(entries))  #", "        #"),
    Guard("a rebuild counts the last copies", "logsync/ops/rebuild.py",
          "    if plan.only_copies and not lose_parked:", "    if False:"),
    Guard("K2 parked stays parked", "logsync/stores/memory.py",
          "            parked.setdefault((entry.partition, entry.offset), entry)",
          "            parked[entry.partition, entry.offset] = entry"),
    Guard("an unfinished drain comes first", "logsync/core/retries.py",
          "        return bool(self.queue) and self.queue[0].unfinished", "        return False"),
    Guard("parking: limit of sequences", "logsync/core/planning.py",
          "        if new and held >= limits.sequences:", "        if False:"),
    Guard("parking: limit of events", "logsync/core/planning.py",
          "        if events >= limits.events:", "        if False:"),
    Guard("parking: limit of age", "logsync/parked_retries.py",
          "self._now() - oldest[1].since > limit", "False"),
    Guard("a full parking is not parked", "logsync/core/policy.py",
          "not isinstance(error, ParkingFull | Unreadable)", "not isinstance(error, Unreadable)"),
    Guard("what cannot be read is not parked", "logsync/core/policy.py",
          "not isinstance(error, ParkingFull | Unreadable)", "not isinstance(error, ParkingFull)"),
    Guard("what cannot be read joins no sequence", "logsync/core/planning.py",
          "if type(event) is Undecodable and event.unreadable:", "if False:"),
    Guard("the rest of a damaged batch goes with its skip", "logsync/ops/records.py",
          "last = detail[\"last\"] = record.fault.last", "detail[\"last\"] = record.fault.last"),
    Guard("a rebuild tries before it wipes", "logsync/cli/sinks.py",
          "        if trial:\n", "        if False:\n", ("tests/integration/cli/test_rebuild_trial.py",), "trial"),
    Guard("a trial takes back what it wrote", "logsync/stores/postgres/transaction.py",
          "        self.link.abort()\n", "        self.link.finish()\n",
          ("tests/integration/cli/test_rebuild_trial.py",), "trial"),
    Guard("a wipe belongs to one rebuild", "logsync/stores/memory.py",
          "        if self.server.books.get(self.sink) != book:", "        if False:"),
    Guard("a claim without its hook does not pass", "logsync/testing/store_contract/given.py",
          '        pytest.xfail(f"not proven: {why}")', '        pass  # f"not proven: {why}"',
          tests=("tests/contract",)),
    Guard("a law refuses what the store refuses", "logsync/writes/keys.py",
          "    if not least <= value <= most:", "    if False:", tests=("tests/property/test_key_laws.py",)),
    Guard("SQLite: compare-and-set", "examples/store_sqlite/store.py",
          "        if moved.rowcount == 0:", "        if False:", tests=SQLITE),
    Guard("SQLite: durable commit", "examples/store_sqlite/store.py",
          "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL", tests=SQLITE),
    Guard("SQLite: K2 parked stays parked", "examples/store_sqlite/store.py",
          '("IGNORE", plan.parked)', '("REPLACE", plan.parked)', tests=SQLITE),
    Guard("SQLite: a wipe belongs to one rebuild", "examples/store_sqlite/store.py",
          "            if found != book.revision:", "            if False:", tests=SQLITE),
    Guard("Postgres: compare-and-set", "logsync/stores/postgres/transaction.py",
          "        if own and cursors[len(self.opening)].rowcount == 0:", "        if False:", **contract("postgres")),
    Guard("Postgres: many rows want a unique index too", "logsync/stores/postgres/statements.py",
          "            yield ByKey(self._unique_sql(table, names), ())\n", "", **contract("postgres")),
    Guard("S2 Postgres: rows in one order", "logsync/stores/postgres/coalesce.py",
          "keys = sorted(rows) if len(rows) > 1 else", "keys =", **contract("postgres")),
    Guard("Postgres: durable commit", "logsync/stores/postgres/opening.py",
          "THEN current_setting(name) = 'off'", "THEN current_setting(name) = 'no'", **contract("postgres")),
    Guard("I5 Postgres: settings change no value", "logsync/stores/postgres/opening.py",
          "        **PINNED,\n", "", **postgres("test_settings")),
    Guard("I3 Postgres: rows that a delete carries on", "logsync/stores/postgres/order.py",
          "        if carried:", "        if False:", **postgres("test_any_cut")),
    Guard("I3 Postgres: triggers see each write at its place", "logsync/stores/postgres/order.py",
          "        if self._watched(write, relation) or (carried and relation.far_triggers):", "        if False:",
          **postgres("test_any_cut")),
    Guard("I3 Postgres: one row under two names", "logsync/stores/postgres/order.py",
          "        return shared or watched or", "        return watched or", **postgres("test_any_cut")),
    Guard("I4 Postgres: no UNLOGGED table", "logsync/stores/postgres/catalog.py",
          '    if persistence == "u":', "    if False:", **postgres("test_tables")),
    Guard("I3 Postgres: tables altered under a running worker", "logsync/stores/postgres/transaction.py",
          "        if still and not self.catalog.is_still(cursors[-1]):", "        if False:",
          **postgres("test_tables")),
    Guard("Postgres: keys that Python cannot compare", "logsync/stores/postgres/coalesce.py",
          "        if same_keys(names, keys):", "        if True:", **postgres("test_values")),
    Guard("Postgres: an instant is that of UTC", "logsync/stores/postgres/encode.py",
          "return str(_in_utc(value).replace(tzinfo=None)", "return str(value.replace(tzinfo=None)",
          **postgres("test_values")),
    Guard("Postgres: composites travel as text", "logsync/stores/postgres/shapes.py",
          "        if self.is_array or self.apart:", "        if self.is_array:", **postgres("test_values")),
    Guard("Redis: compare-and-set", "logsync/stores/redis/apply.lua",
          "if not position or ", "if false and ", **contract("redis")),
    Guard("Redis: check before the first write", "logsync/stores/redis/apply.lua",
          "      if problem then\n        return { 'refused'", "      if false then\n        return { 'refused'",
          **contract("redis")),
    Guard("Redis: scripts that died or ran by half", "logsync/stores/redis/apply.lua",
          "if kept[2] ~= kept[3] then", "if false then", **contract("redis")),
    Guard("Redis: counts outlive the positions", "logsync/stores/redis/book.lua",
          "    if field ~= 'begun' and field ~= 'ended' then", "    if true then", **contract("redis")),
    Guard("Redis: a wipe counts, too", "logsync/stores/redis/wipe.lua",
          "  redis.call('HSET', KEYS[2], 'ended', redis.call('HINCRBY', KEYS[2], 'begun', 1))\n",
          "  redis.call('HDEL', KEYS[2], 'begun', 'ended')\n", **contract("redis")),
    Guard("Redis: evictions", "logsync/stores/redis/connection.py",
          "        if evicted > before:", "        if False:",
          **contract("redis")),
    Guard("Redis: K2 parked stays parked", "logsync/stores/redis/apply.lua",
          "  if call('HSETNX', PARKED, field, event) == 1 then", "  call('HSET', PARKED, field, event)\n  if true then",
          **parking("redis")),
    Guard("Redis: a parked event leaves its order", "logsync/stores/redis/apply.lua",
          "    call('ZREM', ORDER, field, place(about))\n", "", **parking("redis")),
    Guard("Redis: rights to park, before the first write", "logsync/stores/redis/apply.lua",
          "    needed[#needed + 1] = { command, key }\n", "", **parking("redis")),
    Guard("Redis: what is parked, overwritten", "logsync/stores/redis/apply.lua",
          "  call('HLEN', PARKED) -- raises an error if something else has overwritten it\n  call('HLEN', ABOUT)\n"
          "  call('ZCARD', ORDER)\n", "", **parking("redis")),
    Guard("Redis: more is parked than one call tells", "logsync/stores/redis/parked.lua",
          "    found[1] = 1\n    break", "    break", **parking("redis")),
    Guard("Redis: bytes of one call", "logsync/stores/redis/parked.lua",
          "  if bytes > tonumber(ARGV[4]) then", "  if false then", **parking("redis")),
    Guard("Redis: parked events read when nothing can be written", "logsync/stores/redis/parked.lua",
          "#!lua flags=no-writes", "#!lua", **parking("redis")),
    Guard("Redis: sequences read when nothing can be written", "logsync/stores/redis/sequences.lua",
          "#!lua flags=no-writes", "#!lua", **parking("redis")),
    Guard("Redis: more sequences than one call tells", "logsync/stores/redis/sequences.lua",
          "found[1] = at\n", "", **parking("redis")),
    Guard("Redis: a wipe belongs to one rebuild", "logsync/stores/redis/wipe.lua",
          "if found ~= tonumber(ARGV[1]) then", "if false then", **parking("redis")),
    Guard("Redis: a wipe when memory is full", "logsync/stores/redis/wipe.lua",
          "#!lua flags=allow-oom", "#!lua", **parking("redis")),
    Guard("Redis: a wipe takes what is parked", "logsync/stores/redis/store.py",
          "self._delete(book, here.parked_keys,", "self._delete(book, [],", **parking("redis")),
    Guard("Redis: overlapping prefixes", "logsync/stores/redis/book.lua",
          "    if other ~= ARGV[3] and string.sub", "    if false and string.sub", **parking("redis")),
    Guard("Redis: another prefix than before", "logsync/stores/redis/connection.py",
          "        if prefix not in (None, self.prefix.encode()):", "        if False:", **parking("redis")),
    Guard("Redis: the book's revision", "logsync/stores/redis/book.lua",
          "if found ~= tonumber(ARGV[1]) then", "if false then", **parking("redis")),
    Guard("Postgres: K2 parked stays parked", "logsync/stores/postgres/parking.py",
          '_KEEP.format("NOTHING")', '_KEEP.format("UPDATE SET body = EXCLUDED.body")', **parking("postgres")),
    Guard("Postgres: names that begin alike", "logsync/stores/postgres/parking.py",
          "= left(%s, 200) AND sequence = %s", "= left(%s, 200) AND %s <> ''", **parking("postgres")),
    Guard("Postgres: names of any character", "logsync/stores/postgres/encode.py",
          '    return name.encode("unicode_escape").decode("ascii")', "    return name", **parking("postgres")),
    Guard("Postgres: parked since, in any time zone", "logsync/stores/postgres/parking.py",
          "extract(epoch FROM first_at)", "extract(epoch FROM first_at::timestamp)", **parking("postgres")),
    Guard("Postgres: what one statement carries", "logsync/stores/postgres/parking.py",
          "        if size >= _CHUNK or end == len(entries):", "        if end == len(entries):",
          tests=("tests/unit/test_postgres_store.py",)),
    Guard("Postgres: no event is at fault for logsync's own", "logsync/stores/postgres/transaction.py",
          "            if own and cursors[own - 1].rowcount < 0:", "            if False:", **parking("postgres")),
    Guard("Postgres: a wipe belongs to one rebuild", "logsync/stores/postgres/store.py",
          "book.revision).rowcount == 0:", "book.revision).rowcount < 0:", **parking("postgres")),
    Guard("Postgres: a wipe takes what is parked", "logsync/stores/postgres/store.py",
          "                left = forget_some(link, self._sink)", "                left = False",
          **parking("postgres")),
    Guard("Postgres: a wipe takes all that is parked", "logsync/stores/postgres/store.py",
          "        while left:\n            with self._transaction(\"wipe\")",
          "        if left:\n            with self._transaction(\"wipe\")", **parking("postgres")),
    Guard("OpenSearch: compare the position", "logsync/stores/opensearch/write.py",
          "        compare(start, marks)\n", "\n", **contract("opensearch")),
    Guard("OpenSearch: a document holds its events", "logsync/stores/opensearch/fold.py",
          "    return [step for step in chain if step[0] > horizon]", "    return chain", **contract("opensearch")),
    Guard("OpenSearch: an index that is ahead keeps its own fold", "logsync/stores/opensearch/write.py",
          "        chains = fold.unseen(chains, start.next_offset, since)\n", "", **contract("opensearch")),
    Guard("OpenSearch: an index that is ahead keeps its position", "logsync/stores/opensearch/write.py",
          "for name, mark in marks.items() if mark.behind(end)}", "for name, mark in marks.items()}",
          **contract("opensearch")),
    Guard("OpenSearch: a drain compares the position", "logsync/stores/opensearch/parking.py",
          "        compare(start, marks)\n", "", **parking("opensearch")),
    Guard("OpenSearch: a refusal begins a generation", "logsync/stores/opensearch/parking.py",
          "        if noted <= plan.start.next_offset:\n", "        if True:\n", tests=SIMULATED),
    Guard("OpenSearch: its ticket", "logsync/stores/opensearch/parking.py",
          "mark._replace(noted=noted) for name, mark in _newer", "mark for name, mark in _newer", tests=SIMULATED),
    Guard("OpenSearch: a new generation reads all documents", "logsync/stores/opensearch/write.py",
          "marks, (_, found) = newer, self._documents.read(start.epoch, chains.keys() | keys)", "marks = newer",
          tests=SIMULATED),
    Guard("OpenSearch: one generation for all indices", "logsync/stores/opensearch/parking.py",
          "        if level and not any", "        if not any", tests=SIMULATED),
    Guard("OpenSearch: what a parked event wrote is sealed", "logsync/stores/opensearch/parking.py",
          "        self._seal(seals, epoch)\n", "", tests=SIMULATED),
    Guard("OpenSearch: what a parked event wrote is noted", "logsync/stores/opensearch/parking.py",
          "                    done.setdefault((name, offset), []).append(written)", "                    pass",
          tests=SIMULATED),
    Guard("OpenSearch: a drain is claimed", "logsync/stores/opensearch/parking.py",
          "return self._documents.write_marks(start.epoch, claims) if ids else dict(marks)", "return dict(marks)",
          tests=SIMULATED),
    Guard("OpenSearch: a drain has a generation of its own", "logsync/stores/opensearch/parking.py",
          "        claims = _newer(marks)\n", "        claims = dict(marks)\n", tests=SIMULATED),
    Guard("OpenSearch: an interrupted drain is settled in a new generation", "logsync/stores/opensearch/parking.py",
          "self._documents.write_marks(start.epoch, _newer(marks)).items()", "marks.items()", tests=SIMULATED),
    Guard("OpenSearch: what an interrupted drain wrote is noted", "logsync/stores/opensearch/parking.py",
          "sorted(waiting.done(stored.source) | held)", "sorted(waiting.done(stored.source))", tests=SIMULATED),
    Guard("OpenSearch: what it did not write is sealed", "logsync/stores/opensearch/parking.py",
          "                self._seal(\n                    [fold.late(key, [], found.get(key, ABSENT), era, "
          "_next(start, mark)) for key in keys], start.epoch\n                )\n", "", tests=SIMULATED),
    Guard("OpenSearch: K2 parked stays parked", "logsync/stores/opensearch/parking.py",
          'if not checked(answer).get("found")  # K2', "if checked(answer)  # K2", tests=SIMULATED),
    Guard("TLS: a certificate that does not verify", "logsync/stores/tls.py",
          "        if isinstance(cause, ssl.SSLCertVerificationError):", "        if False:",
          tests=("tests/unit/test_tls.py",)),
    Guard("Redis: a URL cannot stretch a call", "logsync/stores/redis/client.py",
          "self._timeout = min(timeout, self._address.timeout)", "self._timeout = self._address.timeout",
          tests=("tests/unit/test_redis_address.py",)),
    Guard("Redis: arguments are not repeated", "logsync/stores/redis/errors.py",
          'text.split(", with args beginning with", 1)[0]', "text", tests=("tests/unit/test_redis_errors.py",)),
    Guard("OpenSearch: O6 what an index became", "logsync/stores/opensearch/indices.py",
          "            wrong = faults(answer[index], body, fresh=True, own=own)",
          "            wrong = []",
          tests=("tests/integration/opensearch/test_templates.py",), servers="excludes or routing"),
    Guard("OpenSearch: O6 at resume", "logsync/stores/opensearch/indices.py",
          "            self._refuse(index, faults(found, {}, fresh=False))\n            if", "            if",
          tests=("tests/integration/opensearch/test_templates.py",), servers="changed_later"),
    Guard("OpenSearch: O6 before the first write", "logsync/stores/opensearch/books.py",
          "fresh=[name for name, mark in marks.items() if mark is not None and mark.seq_no is None]", "fresh=()",
          tests=("tests/integration/opensearch/test_templates.py",), servers="before_logsync_came"),
    Guard("OpenSearch: O6 while it applies", "logsync/stores/opensearch/store.py",
          "                here.indices.check(plan.start.epoch)\n", "",
          tests=("tests/integration/opensearch/test_templates.py",), servers="changed_later"),
    Guard("OpenSearch: a refusal quotes nothing", "logsync/stores/opensearch/bulk.py",
          "refusal(error) if what is Verdict.REFUSED else reason(error)", "reason(error)",
          tests=("tests/unit/test_opensearch_errors.py",)),
    Guard("OpenSearch: deletes keep their version", "logsync/stores/opensearch/fold.py",
          "    return TOMBSTONE if source is None else source", "    return source or {}", **contract("opensearch")),
)  # fmt: skip


def missed_by(guard: Guard, tree: Path) -> str:
    """The first test that fails without this guard, or an empty string."""
    path = tree / guard.file
    text = path.read_text()
    if text.count(guard.old) != 1:
        return f"LIST IS OLD: {guard.file} has the guard {text.count(guard.old)} times"
    path.write_text(text.replace(guard.old, guard.new))
    try:
        select = ["-k", guard.servers] if guard.servers else ["-m", "not servers"]
        itself = "--ignore=tests/unit/test_mutants.py"  # which misses every guard
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", itself, *select]
        env = {**os.environ, "LOGSYNC_TEST_STACK": STACK, "LOGSYNC_KEEP_STACK": "1"}
        for tests in guard.tests:  # in this order; one run of pytest would choose its own
            try:
                ran = subprocess.run(
                    [*command, tests], cwd=tree, env=env, capture_output=True, text=True, check=False, timeout=600
                )
            except subprocess.TimeoutExpired:
                return "(hangs: the run was stopped after 600 s)"
            found = re.search(r"^(?:FAILED|ERROR) (\S+)", ran.stdout, re.MULTILINE)
            if found:
                return found.group(1)
            if ran.returncode not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
                return ran.stdout[-300:]
        return ""
    finally:
        path.write_text(text)


def main() -> int:
    """Print a line per guard. Exit code 1 if a guard can be removed unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="?", default="", help="guards whose name contains this")
    parser.add_argument("--no-servers", action="store_true", help="leave out what needs a real store")
    options = parser.parse_args()
    gaps = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "logsync"
        shutil.copytree(
            ROOT, tree, ignore=shutil.ignore_patterns(".git", ".venv", ".devstack", "__pycache__", ".*_cache")
        )
        (ROOT / ".devstack/jars").mkdir(parents=True, exist_ok=True)
        (tree / ".devstack").mkdir()
        (tree / ".devstack/jars").symlink_to(ROOT / ".devstack/jars")
        try:
            for guard in GUARDS:
                if options.only not in guard.name or (guard.servers and options.no_servers):
                    continue
                began = time.monotonic()
                test = missed_by(guard, tree)
                gaps += not test or test.startswith("LIST")
                print(f"{guard.name:<58}{test or 'NOBODY NOTICES':<90}{time.monotonic() - began:6.1f} s", flush=True)
        finally:
            subprocess.run([sys.executable, "-m", "devstack", "down", "--name", STACK], cwd=tree, check=False)
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
