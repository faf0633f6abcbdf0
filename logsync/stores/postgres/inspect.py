"""What `logsync doctor` finds in Postgres: server settings, and what is kept there for the sink."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING

from logsync.core.inspection import Finding, Inspection, Severity, noting
from logsync.core.store import StoreSettings
from logsync.stores.postgres.opening import opening

if TYPE_CHECKING:
    from logsync.stores.postgres.store import Postgres

_FACTS = """
SELECT name, setting FROM pg_catalog.pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'server_version')
"""
_HAS_BOOK = "SELECT to_regclass('logsync.book') IS NOT NULL"
_RULES = {
    "fsync": (
        Severity.ERROR,
        "a crash of the machine can corrupt the database, and a position then claims rows that are not there",
        """`psql "$LOGSYNC_POSTGRES" -c "ALTER SYSTEM SET fsync = on" -c "SELECT pg_reload_conf()"`""",
    ),
    "full_page_writes": (
        Severity.ERROR,
        "a crash of the machine can leave pages half old and half new, with a position that looks sound",
        """`psql "$LOGSYNC_POSTGRES" -c "ALTER SYSTEM SET full_page_writes = on" -c "SELECT pg_reload_conf()"`""",
    ),
    "synchronous_commit": (
        Severity.WARNING,
        "logsync turns it on in its own transactions; what anything else commits here can be lost in a crash",
        "`ALTER DATABASE ... SET synchronous_commit = on`; the role may have a setting of its own, which goes first",
    ),
}


def judge(facts: Mapping[str, str]) -> list[Finding]:
    """Findings about the server's settings, by name."""
    server = f"Postgres {facts['server_version']}, psycopg {version('psycopg')}"
    bad = {name: rule for name, rule in _RULES.items() if facts[name] == "off"}
    return [
        Finding(Severity.NOTE, "postgres.version", server),
        *(Finding(rule[0], f"postgres.{name}", f"Postgres: {name} is off", *rule[1:]) for name, rule in bad.items()),
    ]


def _unverified(mode: str) -> Finding:
    return Finding(
        Severity.WARNING,
        "postgres.sslmode",
        f"Postgres is another machine, and its certificate is not checked against its name: sslmode is {mode}",
        "a machine in between can read and change everything, and be told the password",
        "`?sslmode=verify-full` in LOGSYNC_POSTGRES, and sslrootcert=system, or the file of your authority",
    )


def inspect(store: Postgres, sink: str, settings: StoreSettings) -> Inspection:
    """See Store.inspect. One transaction that may only read."""
    seen = Inspection()
    with closing(store), noting(seen.findings, "postgres.server"):
        store._connect(sink, settings)
        with store._call("inspect") as link:
            if link.unverified:
                seen.findings.append(_unverified(link.unverified))
            link.ask("BEGIN READ ONLY")
            seen.findings += judge(dict(link.ask(_FACTS).fetchall()))
            with noting(seen.findings, "postgres.server"):
                store._check_server()
            link.send(opening(settings.store_timeout, store._path)[1:])
            with noting(seen.findings, "postgres.bookkeeping"):
                there = link.ask(_HAS_BOOK).fetchone() == (True,)
                seen.book = store.read_book() if there else None
                found = store.positions() if there else {}
                seen.holds_data = seen.book is None and store._any_row(link)
                seen.waiting = {number: store.sequences(number) for number in found}
                seen.positions = found
    return seen
