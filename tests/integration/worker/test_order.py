"""One total order: whichever writer appends, and however often, every store ends where the log does."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from logsync.core.cloudevents import RETRY_FROM

from .fold import read_log
from .harness import KINDS, Case, until
from .sinks import ItemDropped, ItemPut
from .writer import STOP


def puts(case: Case) -> list[dict[str, Any]]:
    return [json.loads(raw.value or b"") for raw in read_log(case.servers, case.name)]


def turns(case: Case) -> int:
    return sum(one["writer"] != other["writer"] for one, other in pairwise(puts(case)))


def test_two_writers_that_race_on_the_same_keys_are_seen_in_one_order_by_all_three_stores(case: Case) -> None:
    workers = [case.start(kind, env={"LOGSYNC_BATCH_RECORDS": "200"}) for kind in KINDS]
    writers = [case.start_writer(name) for name in ("ada", "bob")]
    until(lambda: turns(case) >= 10, "the writers take turns")
    (case.folder / STOP).touch()
    for writer in writers:
        writer.ends(0)
    case.catches_up()
    for worker in workers:
        worker.terminate()
    case.is_the_fold()
    last = {put["k"]: put["writer"] for put in puts(case)}
    for kind in KINDS:
        assert {key: item["writer"] for key, item in case.content(kind)["items"].items()} == last


def test_a_retried_append_whose_original_arrived_counts_once_in_every_store_and_after_a_rebuild(case: Case) -> None:
    case.append_mix(30)
    retry = [(RETRY_FROM, b"30")]
    case.append(ItemPut(k="twice", n=1000), event_id="one")
    case.append(ItemPut(k="twice", n=1), event_id="between")
    case.append(ItemPut(k="twice", n=1000), event_id="one", headers=retry)  # the original arrived: a double
    case.append(ItemDropped(k="late"), event_id="two", headers=retry)  # the original did not: this is the event
    case.append(ItemPut(k="other", n=5), event_id="one", headers=[(RETRY_FROM, b"33")])  # out of the stated range
    expected = case.expected()
    assert expected["tally"]["puts:twice"] == 2
    assert expected["items"]["twice"]["n"] == 1
    case.finish()
    case.is_the_fold()
    rebuilds = [case.rebuild(kind) for kind in KINDS]
    for rebuild in rebuilds:
        rebuild.ends(0)
    case.is_the_fold()
