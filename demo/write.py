"""One writer process: `python -m demo.write NUMBER WRITERS LINES`, or `closing` for NUMBER; LINES 0 is the year.

It appends its share of the events, through `append_many` and nothing else, and prints how far it is:
`<events appended> <day> <date>` by the shop's calendar, a line each 500 events.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime

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
    with Producer(log) as producer:
        producer.append_many(_told(mine))


def _told(timed: Iterable[Timed]) -> Iterator[BaseModel]:
    """The events, with a line of output now and then: what append_many has taken is at most its queue ahead."""
    when = START
    count = 0
    for when, event in timed:
        if count % 500 == 0:
            _tell(count, when)
        yield event
        count += 1
    _tell(count, when)


def _tell(count: int, when: datetime) -> None:
    print(count, (when - START).days + 1, f"{when:%d %B}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
