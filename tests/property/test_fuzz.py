"""A slice of ``python -m tests.fuzz`` with a fixed seed: the counts agree whatever a record holds. # I7"""

from __future__ import annotations

from tests.fuzz import fuzz


def test_whatever_a_record_holds_it_is_applied_parked_or_skipped() -> None:
    found = fuzz(seed=4, records=4000)
    assert (
        found["applied"] + found["parked"] + sum(n for name, n in found.items() if name.startswith("skipped")) == 4000
    )
    reached = {name for name, times in found.items() if times}
    assert reached >= {  # else the slice proves little
        "parked: DecodeError", "parked: UnknownEventType", "parked: HandlerError", "parked: WriteRejected",
        "parked: waits behind another", "skipped: duplicate", "skipped: unhandled", "skipped: unknown",
        "released by a retry", "discarded",
    }  # fmt: skip
