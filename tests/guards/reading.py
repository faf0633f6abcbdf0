"""Guards of reading: an answer that is late is right all the same."""

from __future__ import annotations

from tests.guards.guard import Guard, Tests

_JUDGE, _FIRST = "logsync/reading/judging.py", "logsync/reading/predecessors.py"
_BOOK = "logsync/core/book.py"
_JUDGED: tuple[str, ...] = ("tests/unit/test_reading.py",)
AFTER = ("tests/unit/test_after.py",)
_OWN = "logsync/reading/own.py"
_ON_OWN: tuple[str, ...] = ("tests/unit/test_reading_own.py",)
_IN_SQL: Tests = {"tests": ("tests/integration/reading/own/test_sql_function.py",), "servers": "sql_function"}

READING = (
    Guard("A1 the first attempt of a retried append may be parked", "logsync/reading/judging.py",
          "        if receipt.since is not None:\n", "        if False:\n", _JUDGED),
    Guard("A1 workers look back no further, and readers neither", "logsync/reading/judging.py",
          "max(receipt.since, offset - LOOK_BACK)", "receipt.since", _JUDGED),
    Guard("A1 the first attempt may be what was skipped", "logsync/reading/judging.py",
          "and _within(skip.offsets, _since(receipt), receipt.offset)", "and False", _JUDGED),
    Guard("a later event does not hide a parked one", "logsync/reading/judging.py",
          "list(dict.fromkeys(receipts))", "list(receipts)[:1]", _JUDGED),
    Guard("a rebuild is not through before every partition is where the log ended", "logsync/reading/judging.py",
          "    if book.rebuilding(sight.positions):\n", "    if False:\n", _JUDGED),
    Guard("a receipt of a topic that was made again", "logsync/reading/judging.py",
          "(receipt.topic_id and receipt.topic_id != book.log.topic_id)", "False", _JUDGED),
    Guard("reading: a receipt of another log", _JUDGE,
          "    if (receipt.topic_id and receipt.topic_id != book.log.topic_id) or number >= book.log.partitions:",
          "    if False:", _JUDGED),
    Guard("reading: every partition of a rebuild", _BOOK,
          "number not in positions or positions[number].epoch != self.epoch or", "number not in positions or", _JUDGED),
    Guard("reading: what was skipped by hand", _JUDGE,
          "        if skip.partition == number and receipt.offset in skip.offsets:", "        if False:", _JUDGED),
    Guard("reading: what is parked", _JUDGE, "    if reason is not None:", "    if False:", _JUDGED),
    Guard("reading: what an older worker passes over", _JUDGE,
          "    if receipt.type in book.skipped:", "    if False:", _JUDGED),
    Guard("reading: merged receipts keep types apart", "logsync/core/receipt.py",
          "receipt.topic, receipt.topic_id, receipt.partition, receipt.type",
          "receipt.topic, receipt.topic_id, receipt.partition", _JUDGED),
    Guard("own connection: no look that would fail", _OWN,
          "        if _THERE not in notes:", "        if False:", _ON_OWN),
    Guard("own connection: after an error the catalog again", _OWN,
          "        notes.pop(_THERE, None)", "        pass", _ON_OWN),
    Guard("own connection: no waiting in a snapshot that lasts", _OWN,
          "        if again == transaction:", "        if False:", _ON_OWN),
    Guard("own connection: waiting in autocommit", _OWN,
          "        if again == transaction:", "        if True:", _ON_OWN),
    Guard("logsync.seen: on older installations, too", "logsync/stores/postgres/schema.py",
          "!= (len(_OWN), True)", "[0] != len(_OWN)", **_IN_SQL),
    Guard("logsync.seen: escapes that Postgres cannot decode", "logsync/stores/postgres/bookkeeping.sql",
          "SELECT replace(replace(seen.receipt, '\\\\', '//'), '\\u', '/u')::json", "SELECT seen.receipt::json",
          **_IN_SQL),
    Guard("V1 the ceiling", _FIRST,
          "bisect_left(records, ceiling, lo=done, key=attrgetter(\"offset\"))", "len(records)", AFTER),
    Guard("V1 another log", _FIRST, "        if differences := book.log.differences(log):",
          "        if differences := []:", AFTER),
    Guard("V1 parked events wait, too", "logsync/following.py",
          "return self.first.reached(partition.stored, log)", "return True", AFTER),
    Guard("V1 sinks do not wait for each other", "logsync/core/sink.py",
          "            if first.name in way[:-1]:", "            if False:", AFTER),
)  # fmt: skip
