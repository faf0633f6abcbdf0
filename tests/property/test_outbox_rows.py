"""Every event that append takes an outbox takes, as the same bytes, and what one refuses the other refuses."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from logsync.core.codec import Encoded, encode
from logsync.core.log import Log
from logsync.errors import AppendRejected, ConfigError
from logsync.outbox.rows import row
from tests.property.test_what_comes_back import AWARE, events

IDS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=40)
HEADERS = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)


def by_a_producer(log: Log, event: BaseModel, headers: dict[str, str], event_id: str, time: datetime) -> Encoded | None:
    try:
        return encode(log, event, event_id=event_id, time=time, headers=headers.items())
    except AppendRejected:
        return None


def by_an_outbox(log: Log, event: BaseModel, headers: dict[str, str], event_id: str, time: datetime) -> Encoded | None:
    try:
        made = row(log, event, headers, event_id, time)
    except AppendRejected:
        return None
    assert (made.id, made.time) == (event_id, time)
    return Encoded(made.key, made.value, [(name, text.encode()) for name, text in json.loads(made.headers)])


@settings(max_examples=200)
@given(events(), HEADERS, IDS, AWARE)
def test_an_outbox_takes_what_append_takes_as_the_same_bytes(
    pair: tuple[type[BaseModel], BaseModel], headers: dict[str, str], event_id: str, time: datetime
) -> None:
    made, event = pair
    log = Log("t")
    try:
        log.event("e", key=lambda _: "k")(made)
    except ConfigError:
        return
    try:
        given_to = (log, event, headers, event_id, time.astimezone(UTC))  # a producer writes times in UTC
    except OverflowError:
        return  # an hour after the first moment, and an hour before it in UTC: no producer takes that
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic's own, about values of other types
        assert by_an_outbox(*given_to) == by_a_producer(*given_to)
