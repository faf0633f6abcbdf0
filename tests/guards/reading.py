"""Guards of reading: an answer that is late is right all the same."""

from __future__ import annotations

from tests.guards.guard import Guard

_JUDGED: tuple[str, ...] = ("tests/unit/test_reading.py",)

READING = (
    Guard("A1 the first attempt of a retried append may be parked", "logsync/reading/judging.py",
          "        if receipt.since is not None:\n", "        if False:\n", _JUDGED),
    Guard("A1 workers look back no further, and readers neither", "logsync/reading/judging.py",
          "max(receipt.since, offset - LOOK_BACK)", "receipt.since", _JUDGED),
    Guard("A1 the first attempt may be what was skipped", "logsync/reading/judging.py",
          "and _within(skip.offsets, _since(receipt), receipt.offset)", "and False", _JUDGED),
    Guard("a later event does not hide a parked one", "logsync/reading/views.py",
          "list(dict.fromkeys(receipts))", "list(receipts)[:1]", _JUDGED),
    Guard("a rebuild is not through before every partition is where the log ended", "logsync/reading/judging.py",
          "    if book.rebuilding(sight.positions):\n", "    if False:\n", _JUDGED),
    Guard("a receipt of a topic that was made again", "logsync/reading/judging.py",
          "(receipt.topic_id and receipt.topic_id != book.log.topic_id)", "False", _JUDGED),
)  # fmt: skip
