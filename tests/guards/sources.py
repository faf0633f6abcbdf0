"""Guards of the judge and the relay: each clause of go-back-N."""

from __future__ import annotations

from tests.guards.guard import Guard, Tests

RELAYS = (
    "tests/unit/test_judge.py", "tests/unit/test_relay.py", "tests/unit/test_relay_strangers.py",
    "tests/property/test_relays.py",
)  # fmt: skip
_RELAY, _JUDGE = "logsync/sources/relay.py", "logsync/core/sources.py"

_POLLING = "logsync/sources/postgres/polling.py"
POLLING: Tests = {"tests": ("tests/integration/sources/test_polling.py",), "servers": "polling"}

FACTS = ("tests/unit/test_postgres_reading.py",), ""
WAL = ("tests/integration/sources/test_refusals.py",), "sources"
OUTAGES = ("tests/integration/sources/test_outages.py",), "sources"
SLOTS = ("tests/integration/sources/test_slots.py",), "sources"
SEEDS = ("tests/integration/sources/test_seeding.py",), "sources"

SOURCES = (
    Guard("polling: rows that are seen together are numbered in the order of their inserts", _POLLING,
          "row_number() OVER (ORDER BY inserted)", "row_number() OVER (ORDER BY random())", **POLLING),
    Guard("polling: one relay holds the outbox", _POLLING,
          "        if link.ask(_LOCK, *_KEY).fetchone() != (True,):", "        if False:", **POLLING),
    Guard("polling: no fact is passed over at a limit", _POLLING,
          "rows[-1][1] if rows and (rows[-1][0] or len(rows) == limit) else self._last", "self._last", **POLLING),
    Guard("polling: no fact is passed over at a limit of bytes", _POLLING,
          "(rows[-1][0] or len(rows) == limit)", "len(rows) == limit", **POLLING),
    Guard("polling: what is read at once is bounded in bytes", _POLLING,
          "WHERE nth = 1 OR size <= %s ORDER", "WHERE nth = 1 OR %s > 0 ORDER", **POLLING),
    Guard("an outbox has one source", "logsync/sources/postgres/ledger.py",
          "    if taken is None:\n", "    if True:\n", **POLLING),
    Guard("U1 only a greater term", _JUDGE,
          "            elif mark.term > state.term:", "            elif True:", RELAYS),
    Guard("U1 only the next number", _JUDGE, "else mark.number == state.number + 1\n", "else True\n", RELAYS),
    Guard("U1 only the present writer", _JUDGE,
          "    if (mark.term, mark.writer) != (state.term, state.writer):", "    if False:", RELAYS),
    Guard("U1 behind what cannot be read the next one is believed", _JUDGE,
          "    return mark.number > state.number if state.loose else", "    return", RELAYS),
    Guard("U1 what is known is cut where the events are cut", "logsync/core/planning.py",
          "sources=judged.sources(end.next_offset))", "sources=judged.sources(1 << 62))", RELAYS),
    Guard("U1 a moved position is completed from the log", "logsync/partition.py",
          "    if known.next_offset == position.next_offset:\n", "    if True:\n", RELAYS),
    Guard("U1 a late term is greater than all that were read", _RELAY,
          "        return greatest + 1", "        return 1", RELAYS),
    Guard("U2 read back before confirming", "logsync/sources/term.py",
          "while self.points and (first is None or self.points[0].at < first):", "while self.points:", RELAYS),
    Guard("U2 the rows of an outbox go with the ledger", _RELAY,
          "            self._keep(term, ids)\n", "            self._keep(term)\n", RELAYS),
    Guard("U2 a hole begins a new term", _RELAY,
          "            elif offset in passed:", "            elif False:", RELAYS),
    Guard("U2 a copy of what was taken is no hole", _RELAY,
          "                if mark.number > term.read(stretch.partition):", "                if True:", RELAYS),
    Guard("U2 what is read back is what was sent", _RELAY,
          "            elif not term.expects(stretch.partition, mark):", "            elif False:", RELAYS),
    Guard("U2 what the log has is left out", _RELAY,
          "        if self._brought.has(self.source, fact, at):", "        if False:", RELAYS),
    Guard("U2 a successor reads on before what is above the floor", "logsync/sources/reading.py",
          "return self.settled.place", "return self.known.place", RELAYS),
    Guard("U3 the hold is looked at before a barrier", _RELAY,
          "        if not self.origin.holds():", "        if False:", RELAYS),
    Guard("U3 the hold is kept while the log is read", _RELAY,
          "self._brought.note, meanwhile=self._keep_hold", "self._brought.note", RELAYS),
    Guard("U3 a term is greater than that of the ledger", _RELAY,
          "max(greatest, ledger.term)", "greatest", RELAYS),
    Guard("U3 a writer that was replaced ends", _RELAY,
          "if state is not None and state.term >= term.number and not term.holds(state):", "if False:", RELAYS),
    Guard("U4 a restored database is noticed", "logsync/sources/brought.py",
          "            if found == source.id_of(fact, at):", "            if True:", RELAYS),
    Guard("U4 a fact that is gone is noticed", "logsync/sources/brought.py",
          "        if not self._unmet or at < self._unmet[0]:", "        if not self._unmet or at != self._unmet[0]:",
          RELAYS),
    *(Guard(f"{name} (write-ahead log)", f"logsync/sources/postgres/{file}.py", old, new, tests, servers)
      for name, file, old, new, (tests, servers) in (
        ("U3 a late term writes no ledger", "ledger",
         "kept = %s WHERE name = %s AND coalesce((kept ->> 'term')::bigint, 0) <= %s\n",
         "kept = %s WHERE name = %s AND coalesce((kept ->> 'term')::bigint, 0) < %s + 9\n", WAL),
        ("U3 a late term moves no slot's note", "ledger",
         "\nWHERE name = %s AND coalesce((kept ->> 'term')::bigint, 0) <= %s\n",
         "\nWHERE name = %s AND coalesce((kept ->> 'term')::bigint, 0) < %s + 9\n", SLOTS),
        ("U3 the ledger is read under the hold", "origin",
         "row, slot = ledger.find(link, source) or row,", "row, slot = row,", WAL),
        ("publications are compared before each confirmation", "origin",
         "        check_publications(link, self._source, self.declared, self._made)\n", "", WAL),
        ("a shutdown of the database is not held up", "origin",
         "            if db.gone():\n", "            if False:\n", OUTAGES),
        ("a keepalive within a transaction confirms nothing", "reading",
         "        if self._begun is None:\n            self._confirmed.looked",
         "        if True:\n            self._confirmed.looked",
         FACTS),
        ("what is pending is not confirmed by a keepalive", "places",
         " if self.lsn >= self._idle_after else self.lsn", "", FACTS),
        ("U5 a slot that was moved or made anew is noticed", "checks",
         "    if slot.confirmed > row.passed:\n", "    if False:\n", SLOTS),
        ("U5 what the slot passes is written down first", "origin",
         "            self._pass(link, lsn)\n", "            pass\n", SLOTS),
        ("U5 what others wrote is written down before the slot passes it", "origin",
         "            self._pass(link, free)\n", "            pass\n", SLOTS),
        ("U5 a slot that is gone is not made anew in silence", "setup",
         "        check_slot(slot, source, row)\n", "        pass\n", SLOTS),
        ("U5 a publication that was changed is not made anew in silence", "setup",
         "        if not accept:\n", "        if False:\n", SLOTS),
        ("places never go back within a transaction", "reading",
         "        if lsn > self._lsn:\n", "        if True:\n", FACTS),
        ("only committed messages of ours are facts", "reading",
         "if message.transactional and message.prefix == self._prefix:", "if True:", SEEDS),
        ("a seeded row is locked against the app", "seed", "LIMIT %s FOR SHARE)", "LIMIT %s)", SEEDS),
      )),
)  # fmt: skip
