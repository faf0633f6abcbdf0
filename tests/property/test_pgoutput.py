"""Decoding what Postgres' output plugin writes: every message comes back, and every other text of bytes is refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logsync.errors import ConfigError
from logsync.sources.postgres import pgoutput
from logsync.sources.postgres.pgoutput import UNCHANGED, Column, decode
from tests.unit import pgoutput as written

OIDS = st.integers(0, 2**32 - 1)
LSNS = st.integers(0, 2**63 - 1)
NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12)
TIMES = st.integers(0, 10**16).map(lambda n: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=n))
ROWS = st.lists(st.none() | st.just(UNCHANGED) | st.binary(max_size=40), max_size=6)
COLUMNS = st.builds(Column, NAMES, OIDS, st.booleans())


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, object]:
    """Bytes and what they say."""
    kind = draw(st.sampled_from("BCRIUDTMYO"))
    oid, lsn, time = draw(OIDS), draw(LSNS), draw(TIMES)
    row, old = draw(ROWS), draw(ROWS)
    whole, name = draw(st.booleans()), draw(NAMES)
    if kind == "B":
        return written.begin(lsn, time, oid), pgoutput.Begin(lsn, time, oid)
    if kind == "C":
        return written.commit(lsn, lsn, time), pgoutput.Commit(lsn, lsn)
    if kind == "R":
        columns = tuple(draw(st.lists(COLUMNS, max_size=5)))
        identity = draw(st.sampled_from("dnfi"))
        return (
            written.relation(oid, name, name, columns, identity),
            pgoutput.Relation(oid, name, name, identity, columns),
        )
    if kind == "I":
        return written.insert(oid, row), pgoutput.Insert(oid, row)
    if kind == "U":
        before = draw(st.sampled_from([None, old]))
        whole = whole and before is not None
        return written.update(oid, row, before, whole), pgoutput.Update(oid, before, whole, row)
    if kind == "D":
        return written.delete(oid, old, whole), pgoutput.Delete(oid, old, whole)
    if kind == "T":
        oids = draw(st.lists(OIDS, max_size=4))
        return written.truncate(*oids), pgoutput.Truncate(tuple(oids))
    if kind == "M":
        content = draw(st.binary(max_size=40))
        return written.message(name, content, whole), pgoutput.Message(whole, name, content)
    return written.type_(oid, name, name) if kind == "Y" else written.origin(name), None


@given(messages())
def test_every_message_says_what_was_written(case: tuple[bytes, object]) -> None:
    data, said = case
    assert decode(data) == said
    assert decode(b"header" + data, 6) == said


@given(messages(), st.data())
def test_a_message_that_is_cut_or_too_long_is_refused(case: tuple[bytes, object], data: st.DataObject) -> None:
    whole, _ = case
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"n"):
        with pytest.raises(ConfigError, match="pgoutput"):
            decode(wrong)


@given(st.binary(max_size=80) | st.tuples(st.sampled_from(list(b"BCRIUDTMYO")), st.binary(max_size=60)).map(
    lambda parts: bytes([parts[0]]) + parts[1]
))  # fmt: skip
def test_no_bytes_raise_anything_but_config_error(data: bytes) -> None:
    with suppress(ConfigError):
        decode(data)
