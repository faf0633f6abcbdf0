"""The parts of the demo that need no server."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from demo.data import cents, owner
from demo.process import DemoFailed, Watched
from demo.view import Plain, view
from sinks.events import AddressChanged, CouponRedeemed


def test_money_becomes_cents_exactly_and_a_third_decimal_is_rounded_half_up():
    amounts = [(0.29, 29), (1.1, 110), (840.0, 84_000), (0.07, 7), (4.35, 435), (1.005, 101), (2.675, 268)]
    assert [cents(value) for value, _ in amounts] == [expected for _, expected in amounts]


def test_every_amount_of_two_decimals_up_to_1000_survives():
    assert [cents(float(f"{number // 100}.{number % 100:02d}")) for number in range(100_000)] == list(range(100_000))


def test_all_events_of_a_household_have_one_writer():
    for household in range(50):
        moved = AddressChanged(household_id=household, street="s", postcode="p")
        redeemed = CouponRedeemed(household_id=household, coupon_upc=household, campaign_id=1)
        assert owner(moved, 2) == owner(redeemed, 2)


def test_a_process_that_dies_by_itself_fails_the_demo_with_its_last_lines(tmp_path):
    process = Watched("worker db", ["this_module_is_not_there"], tmp_path / "db.log")
    with pytest.raises(DemoFailed, match=r"worker db ended by itself \(exit code 1\)[\s\S]*No module named"):
        until_finished(process)


def test_a_killed_process_starts_again_and_keeps_its_log(tmp_path):
    process = Watched("worker db", ["http.server", "0", "--bind", "127.0.0.1"], tmp_path / "db.log")
    process.kill()
    with pytest.raises(DemoFailed, match="SIGKILL"):
        process.check_running()
    process.start_again()
    process.check_running()
    process.kill()


def test_without_a_terminal_the_view_is_plain_lines_and_not_one_per_change():
    console = Console(file=io.StringIO(), width=200)
    with view(console) as shown:
        assert isinstance(shown, Plain)
        for done in range(100):
            shown.show("db", done, 100, f"at {done} of 100")
        shown.say("killed")
    assert console.file.getvalue().splitlines() == ["db        at 0 of 100", "killed"]


def until_finished(process: Watched) -> None:
    while not process.finished():
        time.sleep(0.02)
