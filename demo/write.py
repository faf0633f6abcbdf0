"""One writer process: `python -m demo.write NUMBER WRITERS LINES`, or `closing` for NUMBER; LINES 0 is the year.

It appends its share of the events, through `append_many` and nothing else. The share is always the same and in the same
order, so it is a source: killed and run again, it goes on behind what the log has. Now and then it prints how far it
is: `<events in the log> <day> <date>`, the day and date by the shop's calendar.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from demo.data import START, Timed, closing, events, owner, survey
from logsync import Producer
from sinks.events import log


def main(number: str, writers: int, lines: int) -> None:
    wanted = lines or None
    cut = survey(wanted)
    if number == "closing":
        mine: Iterable[Timed] = closing(cut)
    else:
        mine = (timed for timed in events(wanted, cut) if owner(timed[1], writers) == int(number))
    calendar = Calendar()
    with Producer(log) as producer:
        report = producer.append_many(
            calendar.turned(mine), source=f"writer-{number}-of-{writers}", progress=calendar.tell
        )
    calendar.tell(report.appended)


class Calendar:
    """Remembers how far into the year the events are that ``append_many`` took: a moment ahead of the log."""

    def __init__(self) -> None:
        self._today = START

    def turned(self, timed: Iterable[Timed]) -> Iterator[BaseModel]:
        for self._today, event in timed:
            yield event

    def tell(self, count: int) -> None:
        print(count, (self._today - START).days + 1, f"{self._today:%d %B}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
