"""A worker that stood still past its session, and wakes up with a plan in hand that another one has applied since."""

from __future__ import annotations

from .harness import KINDS, Case, until


def test_a_worker_that_wakes_up_with_a_stale_plan_is_fenced_by_its_store_and_both_go_on(case: Case) -> None:
    case.append_mix(200)
    zombies = {kind: case.start_deadly("before-apply", 3, kind, "stop") for kind in KINDS}
    for zombie in zombies.values():
        until(zombie.is_stopped, f"{zombie.name} stopped\n{zombie.output}")
    heirs = {kind: case.start(kind) for kind in KINDS}
    case.catches_up()  # the group gave the partition away: the zombie's session has ended
    for kind, zombie in zombies.items():
        assert case.positions(kind)[0] > zombie.fate["end"]
        zombie.go_on()
        zombie.sees("REFUSED PositionConflict")
    case.append_mix(50)
    case.catches_up()
    for kind, heir in heirs.items():
        until(lambda kind=kind: len(case.members(kind)) == 2, "the zombie is back in its group")  # type: ignore[misc]
        heir.terminate()
    case.append_mix(50)
    case.catches_up()
    case.is_the_fold()
    for zombie in zombies.values():
        zombie.terminate()
