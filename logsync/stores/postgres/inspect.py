"""What `logsync doctor` finds in Postgres: server settings, and what is kept there for the sink."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import TYPE_CHECKING

from logsync.core.inspection import Finding, Inspection, Severity, noting
from logsync.stores.postgres.catalog import Catalog
from logsync.stores.postgres.kept import any_row, read_book, read_positions
from logsync.stores.postgres.opening import check_server, opening, session_path
from logsync.stores.postgres.parking import ParkedReader

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

    Call = Callable[[str], AbstractContextManager[Link]]

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


def inspect(call: Call, seen: Inspection, sink: str, tables: Sequence[str], timeout: float) -> None:
    """Put what is found into ``seen``: see Store.inspect. One transaction that may only read.

    ``call``: the open connection, bounded, and with its errors as those of logsync.
    """
    with call("inspect") as link:
        if link.unverified:
            seen.findings.append(_unverified(link.unverified))
        link.ask("BEGIN READ ONLY")
        seen.findings += judge(dict(link.ask(_FACTS).fetchall()))
        path = session_path(link)
        with noting(seen.findings, "postgres.server"):
            check_server(link)
        link.send(opening(timeout, path)[1:])
        with noting(seen.findings, "postgres.bookkeeping"), call("inspect"):
            there = link.ask(_HAS_BOOK).fetchone() == (True,)
            seen.book = read_book(link, sink) if there else None
            found = read_positions(link, sink) if there else {}
            seen.holds_data = seen.book is None and any_row(link, sink, tables)
            parked = ParkedReader(link, sink)
            seen.waiting = {number: parked.sequences(number) for number in found}
            seen.positions = found
        with noting(seen.findings, "postgres.tables"), call("inspect"):
            Catalog(tables).read(link, (), ())
