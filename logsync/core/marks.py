"""How a record says which source it comes from: two headers, beside those of whatever format its event has. # U1"""

from __future__ import annotations

import re
from functools import lru_cache

from logsync.core.event import Headers
from logsync.core.sources import MOST, Mark

SOURCE = "logsync-source"
"""On a record of a source: its name, and the term, the writer and the number of the record. # U1"""
SEQUENCE = "ce_sequence"
"""On a record of a source: the fact's place in the source's order. An extension of CloudEvents:
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/extensions/sequence.md"""
_WRITER = re.compile(rb"([A-Za-z0-9][A-Za-z0-9._-]{0,63}) ([1-9][0-9]{0,17}) ([0-9a-f]{16})")
_WRITER_BYTES = 64 + 1 + 18 + 1 + 16
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")
_PLACE = re.compile(rb"[!-~]{1,200}")


def written(mark: Mark) -> Headers:
    """The headers of a record with this mark. They stand last: ``mark_of`` looks for them there first."""
    source = SOURCE, f"{mark.source} {mark.term} {mark.writer} {mark.number}".encode()
    return [source] if mark.number == 0 else [(SEQUENCE, mark.at.encode()), source]


def mark_of(headers: Headers) -> Mark | None:
    """What a record says of its source; None if it is of none, or says nothing that can be read.

    ``headers`` has two or more.
    """
    if headers[-1][0] == SOURCE and headers[-2][0] == SEQUENCE:
        text, place = headers[-1][1], headers[-2][1]
    else:
        named = dict(headers)
        text, place = named.get(SOURCE), named.get(SEQUENCE)
    writer, _, number = (text or b"").rpartition(b" ")
    if not _NUMBER.fullmatch(number) or len(writer) > _WRITER_BYTES or (of := _writer(writer)) is None:
        return None
    if number == b"0":
        return Mark(*of, 0, "")
    if place is None or not _PLACE.fullmatch(place):
        return None
    # Not by Mark(...): its generated __new__ is a call more for every record.
    return tuple.__new__(Mark, (*of, int(number), place.decode()))


@lru_cache(maxsize=MOST)
def _writer(text: bytes) -> tuple[str, int, str] | None:
    """Source, term and writer, which all records of a run share."""
    found = _WRITER.fullmatch(text)
    return None if found is None else (found[1].decode(), int(found[2]), found[3].decode())
