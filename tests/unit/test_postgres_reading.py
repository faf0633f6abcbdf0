"""From messages to facts: their order and places, what is whole, what is confirmed. No server."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from logsync.core.codec import Encoded
from logsync.errors import ConfigError
from logsync.sources.contract import Change, Fact, Unfit
from logsync.sources.postgres.pgoutput import UNCHANGED, Column, Row
from logsync.sources.postgres.places import Confirmed, end_of, lsn_of
from logsync.sources.postgres.reading import Reading, Tables
from tests.unit import pgoutput as written
from tests.unit.pgoutput import NOON

PEOPLE, OUTBOX, OTHER = 10, 20, 30
COLUMNS = [Column("id", 23, True), Column("name", 25, False)]
EVENT = [
    *(Column("id", 25, True), Column("type", 25, False), Column("key", 17, False), Column("value", 17, False)),
    *(Column("headers", 114, False), Column("time", 1184, False), Column("number", 20, False)),
]
EVENT_ROW: Row = [b"e1", b"t", b"\\x6b", b"\\x7b7d", b'[["ce_id", "e1"]]', b"2026-11-30 12:00:00.5+00", None]


class Server:
    """Writes transactions into a reading, at LSNs that grow."""

    def __init__(self) -> None:
        self.confirmed = Confirmed(1)
        self.reading = Reading(Tables({PEOPLE: "people"}, OUTBOX), self.confirmed)
        self.lsn = 1000

    def say(self, body: bytes, step: int = 10) -> None:
        self.lsn += step
        self.reading.feed(written.arriving(self.lsn, body))

    def begin(self, final: int) -> None:
        self.say(written.begin(final))
        self.say(written.relation(PEOPLE, "public", "people", COLUMNS))
        self.say(written.relation(OUTBOX, "logsync", "outbox", EVENT))

    def transaction(self, *bodies: bytes) -> int:
        """Its end."""
        final = self.lsn + 1000
        self.begin(final)
        for body in bodies:
            self.say(body)
        self.lsn = final
        self.reading.feed(written.arriving(final, written.commit(final, final + 8)))
        return final + 8

    def facts(self, limit: int = 100) -> list[Fact]:
        return list(self.reading.portion(limit).facts)

    def only(self) -> Fact:
        (fact,) = self.facts()
        return fact


@pytest.fixture
def server() -> Server:
    return Server()


def person(n: int) -> bytes:
    return written.insert(PEOPLE, [str(n).encode(), b"ann"])


def test_places_grow_and_lie_before_the_end_of_their_transaction_and_behind_the_one_before(server: Server) -> None:
    first = server.transaction(person(1), person(2))
    second = server.transaction(person(3))
    given = server.reading.portion(100)
    places = [fact.at for fact in given.facts]
    assert places == sorted(set(places))
    assert places[1] < end_of(first) < places[2] < end_of(second)
    assert given.end == end_of(second)
    assert {len(place) for place in (*places, end_of(second))} == {len(end_of(0))}
    assert lsn_of(end_of(second)) == second


def test_changes_of_one_lsn_are_counted_and_one_that_lies_back_stays_behind_those_before_it(server: Server) -> None:
    server.begin(5000)
    for step in (10, 0, 0, -5, 10):
        server.say(person(1), step)
    places = [fact.at for fact in server.facts()]
    assert places == sorted(set(places))
    assert [place[-8:] for place in places] == ["00000000", "00000001", "00000002", "00000003", "00000000"]


def test_a_place_does_not_depend_on_what_other_tables_did(server: Server) -> None:
    other = Server()
    for each, bodies in ((server, [person(1), person(2)]), (other, [written.insert(OUTBOX, EVENT_ROW), person(2)])):
        each.transaction(*bodies)
    assert server.facts()[-1].at == other.facts()[-1].at


def test_a_row_of_the_outbox_is_the_event_that_was_put_there(server: Server) -> None:
    server.transaction(written.insert(OUTBOX, EVENT_ROW))
    fact = server.only()
    assert fact.of == Encoded(b"k", b"{}", [("ce_id", b"e1")])
    assert (fact.id, fact.time) == ("e1", datetime(2026, 11, 30, 12, 0, 0, 500_000, tzinfo=UTC))


def test_a_null_value_in_the_outbox_is_a_tombstone_and_not_an_empty_value(server: Server) -> None:
    server.transaction(*(written.insert(OUTBOX, [*EVENT_ROW[:3], value, *EVENT_ROW[4:]]) for value in (None, b"\\x")))
    assert [fact.of.value for fact in server.facts() if isinstance(fact.of, Encoded)] == [None, b""]


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, None), (2, None), (2, b"\\xzz"), (3, b"\\x7"), (4, b"{}x"), (4, b'[["a"]]'), (4, b'[["a", 1]]'), (4, b"7"),
     (4, None), (5, None), (5, b"infinity")],
)  # fmt: skip
def test_a_row_of_the_outbox_that_is_no_event_is_told_at_its_place(server: Server, column: int, value: bytes) -> None:
    row = list(EVENT_ROW)
    row[column] = value
    server.transaction(written.insert(OUTBOX, EVENT_ROW), written.insert(OUTBOX, row), person(1))
    before, unfit, after = server.facts()
    assert isinstance(unfit.of, Unfit)
    assert "outbox" in unfit.of.why
    assert unfit.of.fix
    assert before.at < unfit.at < after.at


def test_an_outbox_that_lost_a_column_is_told_by_that_name(server: Server) -> None:
    server.say(written.begin(5000))
    server.say(written.relation(OUTBOX, "logsync", "outbox", [each for each in EVENT if each.name != "headers"]))
    server.say(written.insert(OUTBOX, [*EVENT_ROW[:4], *EVENT_ROW[5:]]))
    of = server.only().of
    assert isinstance(of, Unfit)
    assert "headers" in of.why


def test_an_insert_has_the_new_row_and_a_delete_what_the_identity_keeps(server: Server) -> None:
    server.transaction(
        person(1), written.delete(PEOPLE, [b"1", None]), written.delete(PEOPLE, [b"2", None], whole=True)
    )
    assert [fact.of for fact in server.facts()] == [
        Change("people", "insert", {"id": 1, "name": "ann"}, None, NOON),
        Change("people", "delete", None, {"id": 1}, NOON),
        Change("people", "delete", None, {"id": 2, "name": None}, NOON),
    ]


def test_an_update_tells_the_old_key_also_where_the_server_leaves_it_out(server: Server) -> None:
    server.transaction(
        written.update(PEOPLE, [b"1", b"bob"]),
        written.update(PEOPLE, [b"2", b"bob"], [b"1", None]),
        written.update(PEOPLE, [b"2", b"eve"], [b"2", b"bob"], whole=True),
    )
    assert [fact.of.old for fact in server.facts() if isinstance(fact.of, Change)] == [
        {"id": 1},
        {"id": 1},
        {"id": 2, "name": "bob"},
    ]


def test_a_large_value_that_was_left_alone_comes_from_the_old_row(server: Server) -> None:
    server.transaction(written.update(PEOPLE, [b"1", UNCHANGED], [b"1", b"long"], whole=True))
    of = server.only().of
    assert isinstance(of, Change)
    assert of.new == {"id": 1, "name": "long"}


@pytest.mark.parametrize("old", [None, [b"1", None]])
def test_a_large_value_that_nobody_kept_is_told_at_its_place(server: Server, old: Row | None) -> None:
    server.transaction(written.update(PEOPLE, [b"1", UNCHANGED], old))
    of = server.only().of
    assert isinstance(of, Unfit)
    assert "name" in of.why
    assert "REPLICA IDENTITY FULL" in of.fix


def test_a_truncate_is_told_at_its_place(server: Server) -> None:
    server.transaction(written.truncate(PEOPLE))
    of = server.only().of
    assert isinstance(of, Unfit)
    assert "TRUNCATE of people" in of.why


def test_a_row_of_a_table_that_nobody_declared_is_told_by_its_name(server: Server) -> None:
    server.say(written.begin(5000))
    server.say(written.relation(OTHER, "shop", "orders", COLUMNS))
    server.say(written.insert(OTHER, [b"1", b"x"]))
    of = server.only().of
    assert isinstance(of, Unfit)
    assert "shop.orders" in of.why


def test_a_table_that_is_altered_in_the_middle_is_read_as_it_is_from_there_on(server: Server) -> None:
    server.begin(5000)
    server.say(person(1))
    server.say(written.relation(PEOPLE, "public", "people", [COLUMNS[0], Column("born", 1082, False)]))
    server.say(written.insert(PEOPLE, [b"2", b"1999-12-31"]))
    assert [fact.of.new for fact in server.facts() if isinstance(fact.of, Change)] == [
        {"id": 1, "name": "ann"},
        {"id": 2, "born": datetime(1999, 12, 31).date()},  # noqa: DTZ001
    ]


def test_a_portion_has_whole_transactions_if_there_are_any(server: Server) -> None:
    end = server.transaction(person(1), person(2))
    server.begin(9000)
    server.say(person(3))
    assert (len(server.reading.facts), server.reading.portion(10).end) == (3, end_of(end))
    rest = server.reading.portion(10)
    assert (len(rest.facts), rest.end) == (1, None)


def test_a_transaction_of_more_than_the_limit_comes_in_parts_and_its_end_with_the_last(server: Server) -> None:
    end = server.transaction(*(person(n) for n in range(5)))
    parts = [server.reading.portion(2) for _ in range(3)]
    assert [(len(part.facts), part.end) for part in parts] == [(2, None), (2, None), (1, end_of(end))]


def test_an_end_is_told_also_when_all_its_facts_were_taken_before_it_came(server: Server) -> None:
    server.begin(5000)
    server.say(person(1))
    assert server.reading.portion(10).end is None
    assert not server.reading.ready
    server.say(written.commit(5000, 5008))
    assert server.reading.ready
    server.begin(6000)
    server.say(person(2))
    assert server.reading.portion(10) == ([], end_of(5008))
    assert len(server.reading.portion(10).facts) == 1


def test_nothing_is_confirmed_before_it_was_said_to_be(server: Server) -> None:
    end = server.transaction(person(1))
    server.reading.looked_through(end + 500)
    assert (server.confirmed.lsn, server.confirmed.free, server.confirmed.pending) == (1, 1, True)
    server.confirmed.confirm(end)
    assert (server.confirmed.lsn, server.confirmed.free, server.confirmed.pending) == (end, end + 500, False)


def test_what_the_server_looked_through_is_not_confirmed_past_what_came_before_it(server: Server) -> None:
    first = server.transaction(person(1))
    second = server.transaction(person(2))
    server.reading.looked_through(second + 500)
    server.confirmed.confirm(first)
    assert server.confirmed.free == first


def test_a_keepalive_within_a_transaction_confirms_nothing(server: Server) -> None:
    """Behind its end, everything of it would be lost."""
    server.begin(5000)
    server.reading.looked_through(9000)
    assert server.confirmed.free == 1
    server.say(person(1))
    server.reading.looked_through(9000)
    assert server.confirmed.free == 1


def test_a_transaction_that_says_nothing_is_confirmed_with_what_was_before_it(server: Server) -> None:
    end = server.transaction(written.message("somebody else", json.dumps({}).encode()))
    assert server.confirmed.free == end
    server.confirmed.confirm(end)
    pending = server.transaction(person(1))
    later = server.transaction()
    assert server.confirmed.free == end
    server.confirmed.confirm(pending)
    assert server.confirmed.free == later


@pytest.mark.parametrize("body", [person(1), written.insert(99, [b"1"]), written.insert(PEOPLE, [b"1"])])
def test_what_breaks_the_protocol_ends_the_stream(server: Server, body: bytes) -> None:
    """A row outside of a transaction, of a relation that was not told, with too few values."""
    if body != person(1):
        server.begin(5000)
    with pytest.raises(ConfigError, match="stream of Postgres"):
        server.say(body)
