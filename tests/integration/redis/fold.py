"""A log whose event n is a function of n, and what its first n events add up to, without the store's code."""

from __future__ import annotations

from logsync.core.write import Write
from logsync.stores.redis import HIncr, HSet, Incr, SAdd, ZIncr


def events_of(start: int, count: int) -> list[list[Write]]:
    return [
        [
            Incr("count"),
            HIncr(f"card:{n % 37}", {"baskets": 1, "cents": n}),
            HSet("last", {f"at{n % 11}": n}),
            ZIncr("best", {f"p{n % 5}": 2}),
            SAdd("seen", (n % 101,)),
        ]
        for n in range(start, start + count)
    ]


def fold(count: int) -> dict[bytes, object]:
    numbers = range(count)
    if not count:
        return {}
    content: dict[bytes, object] = {
        b"count": b"%d" % count,
        b"last": {b"at%d" % (n % 11): b"%d" % n for n in numbers},
        b"best": {b"p%d" % p: 2.0 * len(numbers[p::5]) for p in range(5) if numbers[p::5]},
        b"seen": {b"%d" % (n % 101) for n in numbers},
    }
    for card in range(37):
        if numbers[card::37]:
            mine = numbers[card::37]
            content[b"card:%d" % card] = {b"baskets": b"%d" % len(mine), b"cents": b"%d" % sum(mine)}
    return content
