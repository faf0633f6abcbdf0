"""The pure parts of the benchmarks: what the events add up to, how a store is judged, how rounds become ratios."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import report
from benchmarks.judge import digest, judge
from benchmarks.run import Watch
from benchmarks.workload import Case, Content, events, expected


def outcome(per_second: float = 10.0, *, failure: str = "", **wrong: int) -> dict[str, Any]:
    verdict = {"digest": "x", "rows": 5, "missing": 0, "doubled": 0} | wrong
    measured = {"per_second": per_second, "cpu_us": 1.0, "peak_mb": 50, "start_up": 0.5, "events": 1000, "restart": 2.0}
    return {**measured, "failure": failure, "verdict": verdict}


def entry(*, killed: bool = False, **outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"killed": killed, "promises": dict.fromkeys(outcomes, "at least once"), "outcomes": outcomes}


@pytest.mark.parametrize("partitions", [1, 3])
def test_every_partition_begins_and_ends_with_a_marker(partitions: int) -> None:
    case = Case("", partitions=partitions, events=2000)
    rows = list(events(case))
    for number in range(partitions):
        keys = [row["order_id"] for partition, row in rows if partition == number]
        assert keys[0] == case.marker(number, 0)
        assert keys[-1] == case.marker(number, case.marks)
    assert len(rows) == 2000 + partitions * (case.marks + 1)


def test_events_of_one_key_stand_in_one_partition() -> None:
    places: dict[Any, set[int]] = {}
    for partition, row in events(Case("", keys=50, partitions=4, events=1000)):
        places.setdefault(row["order_id"], set()).add(partition)
    assert all(len(found) == 1 for found in places.values())


@pytest.mark.parametrize(("keys", "distinct"), [("unique", 2000), (100, 100), ("new", 1750)])
def test_the_number_of_keys_is_that_of_the_case(keys: str | int, distinct: int) -> None:
    found = {row["order_id"] for _, row in events(Case("", keys=keys, events=2000))}
    assert sum(str(key).startswith("order-") for key in found) == distinct


def test_the_last_event_of_a_key_and_the_sum_of_all_its_increments_are_expected() -> None:
    case = Case("", model="mixed", keys=7, events=6000)  # more than there are customers
    content = expected(case)
    rows = [row for _, row in events(case)]
    last = next(row for row in reversed(rows) if row["order_id"] == "order-000000000003")
    assert content.orders["order-000000000003"] == (last["customer"], last["cents"])
    assert sum(orders for _, orders in content.counters.values()) == len(rows)
    assert sum(cents for cents, _ in content.counters.values()) == sum(int(row["cents"]) for row in rows)


def test_a_wide_and_a_padded_event_have_the_columns_and_the_size_that_were_asked_for() -> None:
    _, row = next(events(Case("", columns=6, pad=900, events=1000)))
    assert list(row) == ["order_id", "customer", "cents", "text03", "text04", "text05", "pad"]
    assert len(str(row["pad"])) == 900


def test_the_digest_sees_rows_and_not_their_order() -> None:
    assert digest([("a", 1), ("b", 2)]) == digest([("b", 2), ("a", 1)])
    assert digest([("a", 1), ("b", 2)]) != digest([("a", 2), ("b", 1)])
    assert digest([("a", 1), ("a", 1)]) != digest([])


def test_equal_contents_are_equal() -> None:
    content = Content({"a": ("x", 1)}, {"c": (5, 1)})
    assert judge(content, Content({"a": ("x", 1)}, {"c": (5, 1)})).equal


def test_what_is_missing_too_much_or_different_is_counted() -> None:
    verdict = judge(Content({"a": (1,), "b": (2,)}, {}), Content({"b": (3,), "c": (4,), "d": (4,)}, {}))
    assert (verdict.missing, verdict.wrong, verdict.extra) == (1, 1, 2)
    assert not verdict.equal


def test_lost_and_doubled_increments_do_not_cancel_each_other() -> None:
    wanted = Content({}, {"short": (100, 10), "long": (100, 10), "never": (7, 1)})
    verdict = judge(wanted, Content({}, {"short": (70, 7), "long": (130, 13)}))
    assert (verdict.lost, verdict.doubled, verdict.cents_off) == (4, 3, 67)


def test_an_increment_of_the_right_number_and_the_wrong_amount_is_seen() -> None:
    assert not judge(Content({}, {"a": (100, 10)}), Content({}, {"a": (99, 10)})).equal


class Shown:
    """A store in which the markers appear that a test puts there."""

    def __init__(self) -> None:
        self.there: set[str] = set()

    def visible(self, keys: list[str]) -> set[str]:
        return self.there & set(keys)


def test_progress_is_the_mean_of_the_partitions() -> None:
    case, store = Case("", partitions=2, events=1000), Shown()
    watch = Watch(store, case)  # type: ignore[arg-type]
    assert (watch.look(), watch.begun, watch.done) == (0.0, False, False)
    store.there = {case.marker(0, number) for number in range(case.marks + 1)}
    assert (watch.look(), watch.begun, watch.done) == (0.5, True, False)
    store.there |= {case.marker(1, number) for number in range(case.marks + 1)}
    assert (watch.look(), watch.done) == (1.0, True)


def test_a_marker_that_overtook_another_does_not_count() -> None:
    case, store = Case("", events=1000), Shown()
    watch = Watch(store, case)  # type: ignore[arg-type]
    store.there = {case.marker(0, 0), case.marker(0, 2)}
    assert watch.look() == 0.0
    store.there.add(case.marker(0, 1))
    assert watch.look() == 2 / case.marks


def test_a_ratio_is_taken_within_each_round() -> None:
    spread = report.ratio([outcome(100), outcome(10), outcome(50)], [outcome(50), outcome(5), outcome(100)])
    assert spread == report.Spread(2.0, 0.5, 2.0)


def test_a_round_in_which_one_failed_has_no_ratio() -> None:
    spread = report.ratio([outcome(100), outcome(100)], [outcome(50), outcome(7, failure="ended")])
    assert spread == report.Spread(2.0, 2.0, 2.0)
    assert report.ratio([outcome(100)], [outcome(7, failure="ended")]) is None


def test_a_table_says_who_failed_and_who_doubled() -> None:
    made = entry(logsync=[outcome(100)], peer=[outcome(50, doubled=1200)], other=[outcome(0, failure="ended\nlog")])
    _, (first, second, third) = report.lines(made)
    assert (first[1], first[-1]) == ("", "equal")
    assert (second[1], second[-1]) == ("2.00", "1,200 doubled")
    assert third[-1] == "FAILED: ended"


def test_after_a_kill_the_promise_stands_beside_the_content() -> None:
    _, (line,) = report.lines(entry(killed=True, peer=[outcome(0, missing=3)]))
    assert line == ["peer", "at least once", "1,000", "2.0", "3 missing"]


def test_ratios_stand_beside_those_of_an_earlier_run() -> None:
    even = entry(logsync=[outcome(100)], limit=[outcome(100)])
    before = {"base": entry(logsync=[outcome(80)], limit=[outcome(100)])}
    found = report.beside({"base": even, "new": even}, before)
    assert found == [["base", "limit", "1.00", "0.80"], ["new", "limit", "1.00", "-"]]


def test_only_the_named_contestants_must_be_equal() -> None:
    found = {"base": entry(logsync=[outcome()], limit=[outcome(missing=1)], peer=[outcome(doubled=1)])}
    assert report.differing(found, ["logsync", "limit"]) == ["base, limit: 1 missing"]


def test_the_page_holds_ratios_tables_and_what_other_programs_wrote() -> None:
    found = {"base": entry(logsync=[outcome(100)], limit=[outcome(50)])}
    document = {"date": "2026-01-01", "machine": "2 virtual cores", "about": {"kafka": "4"}, "contestants": []}
    text = report.page({**document, "found": found}, ["speed.png"], ["## Idle\n"])
    assert "| base | limit | 2.00 | 1.00 |" in text
    assert text.index("## Ratios") < text.index("speed.png") < text.index("## base") < text.index("## Idle")
