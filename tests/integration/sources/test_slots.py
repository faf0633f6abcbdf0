"""A slot is what relays left: one that was moved or made anew is noticed, and one that a crash set back is not."""

from __future__ import annotations

from typing import Any

import pytest

from devstack import Stack
from logsync.errors import ConfigError
from logsync.sources.contract import Change
from logsync.sources.postgres import PostgresLog, ledger
from logsync.sources.postgres.declared import names_of
from tests.integration.sources.conftest import Shop, confirm, ids, take, wait_for

ADVANCE = "SELECT pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())"
DROP, MAKE = "SELECT pg_drop_replication_slot(%s)", "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')"


def slot(shop: Shop) -> str:
    return names_of(shop.name).slot


def confirmed(shop: Shop) -> str:
    return str(one(shop, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s", slot(shop)))


def one(shop: Shop, query: str, *values: Any) -> Any:
    found = shop.db.execute(query.encode(), values).fetchone()
    assert found
    return found[0]


def relayed(shop: Shop, *names: str) -> PostgresLog:
    """A source that has relayed these, and is closed."""
    origin = shop.open(shop.origin())
    for name in names:
        shop.put(name)
        facts, end = take(origin, 1)
        confirm(origin, facts, end)
    close(shop, origin)
    return origin


def close(shop: Shop, origin: PostgresLog) -> None:
    origin.close()
    wait_for(lambda: shop.reader() is None)


def halts(shop: Shop, origin: PostgresLog) -> str:
    """At ``open``, at ``create``, and for who only looks."""
    with pytest.raises(ConfigError, match="source adopt") as caught:
        origin.open(shop.name, shop.settings)
    with pytest.raises(ConfigError, match="source adopt"):
        origin.manager().create(shop.name, shop.settings)
    assert str(origin.manager().look(shop.name, shop.settings).error) == str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("moved", [(ADVANCE,), (DROP, MAKE)], ids=["advanced", "made anew"])
@pytest.mark.parametrize("before", [(), ("e1", "e2")], ids=["at first", "after others"])
def test_one_that_was_moved_by_hand_halts_and_what_it_passed_is_relayed_once_it_is_adopted(
    shop: Shop, before: tuple[str, ...], moved: tuple[str, ...]
) -> None:
    origin = relayed(shop, *before)
    shop.put("e3")
    stood = confirmed(shop)
    for statement in moved:
        shop.db.execute(statement, (slot(shop),))
    text = halts(shop, origin)
    assert stood in text
    assert confirmed(shop) in text
    shop.adopt(origin)
    shop.open(origin)
    shop.put("e4")
    assert ids(take(origin, 2)[0]) == ["e3", "e4"]


def test_one_that_was_made_anew_where_nothing_happened_meanwhile_halts_as_well(shop: Shop) -> None:
    """Nobody can tell that nothing did."""
    origin = relayed(shop, "e1")
    shop.db.execute(DROP, (slot(shop),))
    shop.db.execute(MAKE, (slot(shop),))
    assert "made anew" in halts(shop, origin)


def test_one_that_lets_go_of_what_others_wrote_is_what_was_left(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE busy (id int)")
    origin = shop.open(relayed(shop, "e1"))
    at = confirmed(shop)
    shop.db.execute("INSERT INTO busy SELECT generate_series(1, 30000)")
    wait_for(lambda: confirmed(shop) != at, keep=lambda: origin.take(10, 0.1))
    close(shop, origin)
    shop.put("e2")
    assert ids(take(shop.open(origin), 1)[0]) == ["e2"]


def test_a_quiet_source_writes_nothing_for_what_it_wrote_itself(shop: Shop) -> None:
    """Each note of a place is itself a change of others: notes of small steps would go on without end."""
    origin = shop.open(shop.origin())
    passed = "SELECT passed FROM logsync.source"
    before = one(shop, passed)
    shop.put("e1")
    facts, end = take(origin, 1)
    confirm(origin, facts, end)
    after = one(shop, passed)
    assert after > before
    waits = shop.connect()
    for _ in range(8):
        waits.execute("SELECT pg_sleep(0.3)")
        origin.take(10, 0)
    waits.close()
    assert one(shop, passed) == after


def test_one_that_a_crash_of_the_server_set_back_is_read_on(shop: Shop, stack: Stack) -> None:
    """A server writes down what was confirmed when it likes to."""
    origin = shop.open(relayed(shop, "e1"))
    for name in ("e2", "e3"):
        shop.put(name)
        facts, end = take(origin, 1)
        confirm(origin, facts, end)
    at = confirmed(shop)
    stack.kill("postgres")
    stack.up(only=["postgres"])
    shop.db = shop.connect()
    assert confirmed(shop) < at
    origin.close()
    shop.open(origin)
    shop.put("e4")
    facts = take(origin, 1)[0]
    while facts[-1].id != "e4":
        facts += take(origin, 1)[0]
    kept = origin.ledger()
    assert kept
    assert [fact.id for fact in facts if fact.at > kept.floor] == ["e4"]


def test_a_relay_that_is_killed_before_the_server_hears_of_it_has_passed_it_all_the_same(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written down, and not told: behind is fine."""
    origin = shop.open(shop.origin())
    shop.put("e1")
    facts, end = take(origin, 1)
    monkeypatch.setattr("logsync.sources.postgres.stream.Stream.tell", lambda _: None)
    confirm(origin, facts, end)
    monkeypatch.undo()
    close(shop, origin)
    assert ids(take(shop.open(origin), 1)[0]) == ["e1"]


@pytest.mark.parametrize("cut", ["bring", "begin"])
@pytest.mark.parametrize("adopted", [False, True], ids=["created", "adopted"])
def test_one_that_was_not_made_to_its_end_is_read_by_nobody(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, cut: str, adopted: bool
) -> None:
    """Else events that stood in the outbox before it would be told by nobody."""
    origin = relayed(shop, "e1") if adopted else shop.origin(made=False)
    again = (lambda: shop.adopt(origin)) if adopted else (lambda: shop.create(origin))
    if adopted:
        shop.db.execute(DROP, (slot(shop),))
    shop.put("e2")
    owner = "logsync.sources.postgres." + ("setup.bring" if cut == "bring" else "ledger.begin")
    monkeypatch.setattr(owner, interrupted)
    with pytest.raises(KeyboardInterrupt):
        again()
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="source adopt" if adopted else "source create"):
        origin.open(shop.name, shop.settings)
    again()
    assert ids(take(shop.open(origin), 1)[0]) == ["e2"]


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_what_was_seeded_before_it_was_made_anew_is_told_again(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE people (id int PRIMARY KEY)")
    shop.db.execute("INSERT INTO people VALUES (1), (2)")
    origin = shop.origin(capture=["people"])
    told = list[tuple[str, int]]()
    origin.manager().seed(shop.name, shop.settings, [], chunk=9, told=lambda *each: told.append(each))
    shop.db.execute(ADVANCE, (slot(shop),))
    halts(shop, origin)
    shop.adopt(origin)
    origin.manager().seed(shop.name, shop.settings, [], chunk=9, told=lambda *each: told.append(each))
    assert told == [("people", 2)] * 2
    facts = take(shop.open(origin), 2)[0]
    assert [fact.of.seeded for fact in facts if isinstance(fact.of, Change)] == [True, True]


def test_a_late_relay_moves_the_note_of_its_successor_neither_back_nor_on(shop: Shop) -> None:
    origin = relayed(shop, "e1")
    at = one(shop, "SELECT passed - '0/0' FROM logsync.source")
    with shop.db.transaction():
        shop.db.execute("UPDATE logsync.source SET kept = jsonb_set(kept::jsonb, '{term}', '5')::json")
    db, stream = origin.connect(shop.name, shop.settings)
    try:
        with db.transaction("an old one") as link, pytest.raises(Exception, match="taken over"):
            ledger.passed(link, shop.name, int(at) + 5, term=4)
        with db.transaction("the present one") as link:
            ledger.passed(link, shop.name, int(at) - 5, term=5)
    finally:
        stream.close()
        db.close()
    assert one(shop, "SELECT passed - '0/0' FROM logsync.source") == at


def test_one_is_marked_for_standbys_at_any_time_and_stays_so_when_it_is_made_anew(shop: Shop) -> None:
    def marked() -> bool:
        return bool(one(shop, "SELECT failover FROM pg_replication_slots WHERE slot_name = %s", slot(shop)))

    origin = shop.origin()
    manager = origin.manager()
    assert not marked()
    for wanted, is_marked in ((True, True), (None, True), (False, False), (True, True)):
        manager.create(shop.name, shop.settings, failover=wanted)
        assert marked() == is_marked
        assert manager.look(shop.name, shop.settings).failover == is_marked
    shop.adopt(origin)
    assert marked()
    shop.put("e1")
    assert ids(take(shop.open(origin), 1)[0]) == ["e1"]


def test_an_older_server_that_cannot_mark_one_is_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psycopg.ConnectionInfo.server_version", 160004)
    with pytest.raises(ConfigError, match=r"Postgres 17 .* found 16"):
        shop.origin(made=False).manager().create(shop.name, shop.settings, failover=True)
    assert one(shop, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", slot(shop)) == 0


def test_what_was_seeded_before_a_publication_was_changed_is_told_again_when_it_is_made_anew(shop: Shop) -> None:
    shop.db.execute("CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people VALUES (1)")
    origin = shop.origin(capture=["people"])
    manager = origin.manager()
    manager.seed(shop.name, shop.settings, [], chunk=9, told=lambda *_: None)
    changes = names_of(shop.name).changes
    shop.db.execute(f"ALTER PUBLICATION {changes} DROP TABLE people".encode())
    shop.db.execute("INSERT INTO people VALUES (2)")
    with pytest.raises(ConfigError, match="--yes"):
        manager.create(shop.name, shop.settings)
    manager.create(shop.name, shop.settings, anew=True)
    manager.seed(shop.name, shop.settings, [], chunk=9, told=lambda *_: None)
    facts = take(shop.open(origin), 3)[0]
    assert [fact.of.new for fact in facts if isinstance(fact.of, Change)] == [{"id": 1}, {"id": 1}, {"id": 2}]
