"""What a plan is compiled to does what its writes do one by one, and refuses what one of them would refuse."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from hypothesis import given, settings

from logsync.core.write import Write
from logsync.stores.redis.compile import RedisRefusal, compile_writes
from tests.property.redis_model import Server, Wrong, plainly
from tests.property.redis_writes import HISTORY


def one_by_one(server: Server, writes: Sequence[Write]) -> int | None:
    """Apply them as long as they can be. Returns the index of the first that cannot."""
    for n, write in enumerate(writes):
        before = copy.deepcopy(server)
        try:
            for command, key, args in plainly(write):
                server.run(command, key, *args)
        except Wrong:
            server.values, server.expiries = before.values, before.expiries
            return n
    return None


def passes(server: Server, writes: Sequence[Write]) -> bool:
    try:
        program = compile_writes(writes, "")
    except RedisRefusal:
        return False
    return copy.deepcopy(server).run_program(*program)


def beyond_a_plan(writes: Sequence[Write]) -> bool:
    """What a plan refuses and single writes may not: docs/writes-redis.md, "Limits of one batch".

    Another type on a key that was emptied member by member, and increments whose sum is no 64-bit integer.
    """
    try:
        compile_writes(writes, "")
    except RedisRefusal as error:
        return "before it changes type" in str(error) or "expected an integer from" in str(error)
    return False


@given(HISTORY, HISTORY)
@settings(max_examples=1000, deadline=None)
def test_a_compiled_plan_does_what_its_writes_do_one_by_one(history: list[Write], writes: list[Write]) -> None:
    start = Server()
    one_by_one(start, history)
    expected = copy.deepcopy(start)
    refused = one_by_one(expected, writes)
    if beyond_a_plan(writes[:refused]):
        return
    if refused is None:
        found = copy.deepcopy(start)
        assert found.run_program(*compile_writes(writes, ""))
        assert found == expected
    else:
        # Nothing dies half-way, and halving the plan finds the write at fault: prefixes pass up to it, not beyond.
        assert passes(start, writes[:refused])
        assert not any(passes(start, writes[:n]) for n in range(refused + 1, len(writes) + 1))


def as_a_worker(server: Server, writes: Sequence[Write]) -> bool:
    """Apply the writes as plans of a worker: what a plan refuses stands first in the next one, and is judged there."""
    while writes:
        size = next((n for n in range(len(writes), 0, -1) if passes(server, writes[:n])), 0)
        if size == 0:
            return False
        assert server.run_program(*compile_writes(writes[:size], ""))
        writes = writes[size:]
    return True


@given(HISTORY, HISTORY)
@settings(max_examples=500, deadline=None)
def test_any_cut_of_the_log_gives_the_same_content(first: list[Write], second: list[Write]) -> None:
    whole, cut = Server(), Server()
    if not as_a_worker(whole, first + second):
        return
    assert as_a_worker(cut, first)
    assert as_a_worker(cut, second)
    assert cut == whole
