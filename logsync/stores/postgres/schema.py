"""The tables that must exist: logsync's own and the sink's. Created once, under one lock. # G6"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from logsync.errors import ConfigError
from logsync.stores.postgres.coalesce import RowsRefused
from logsync.stores.postgres.guard import check_words
from logsync.stores.postgres.lexer import statements

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

# Any constant will do, as long as every logsync uses the same one.
_LOCK = "SELECT pg_advisory_xact_lock(7021969305132019)"
_EXISTING = """
WITH own AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'logsync')
SELECT (SELECT count(*) FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace IN (TABLE own) AND c.relname || '.' || a.attname = ANY(%s)),
       EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace IN (TABLE own) AND proname = 'seen')
"""
# One column of each table: the one that came last.
_OWN = ["applied_schema.hash", "book.body", "parked.body", "position.format", "position.releases", "position.sources"]
_APPLIED = "SELECT EXISTS (SELECT FROM logsync.applied_schema WHERE hash = %s)"
_RECORD = "INSERT INTO logsync.applied_schema (hash) VALUES ('{}') ON CONFLICT DO NOTHING"

THERE_ALREADY = ("42P07", "42710", "42701", "42P06", "42723")
"""What Postgres calls a table, another object, a column, a schema or a function that exists."""
APPLIED_AGAIN = (
    "the sink's schema is applied once, and as a whole again whenever its text changes: write it so that it can be, by "
    "CREATE TABLE IF NOT EXISTS and ALTER TABLE ... ADD COLUMN IF NOT EXISTS; or leave it out, and change tables by "
    "migrations of your own (docs/migrations.md)"
)


class SinkSchema:
    """The sink's DDL: the file at a Path, or SQL given as a str. Must be idempotent (IF NOT EXISTS)."""

    def __init__(self, given: str | Path | None) -> None:
        if isinstance(given, str) and given.strip() and len(given.split()) == 1:
            raise ConfigError(
                f"schema={given!r} is one word, which is no SQL", fix=f"for a file pass Path({given!r}); a str is SQL"
            )
        self._given = given

    def ddl(self) -> str:
        """The sink's own text. Raises ConfigError if its file cannot be read, or if it ends the transaction."""
        if self._given is None or isinstance(self._given, str):
            text = self._given or ""
        else:
            try:
                text = self._given.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"cannot read the sink's schema: {error}", fix="pass the path of a schema.sql"
                ) from None
        try:
            for statement in statements(text):
                check_words(statement)
        except RowsRefused as error:
            raise ConfigError(f"the sink's schema: {error}", fix="leave that statement out of schema.sql") from None
        return text

    def hash(self) -> str:
        return hashlib.sha256(self.ddl().encode()).hexdigest()

    def printed(self) -> str:
        """Everything, with the line that tells ``open`` that there is nothing left to create."""
        return f"{bookkeeping()}\n{self.ddl()}\n{_RECORD.format(self.hash())};\n".replace("\n\n\n", "\n\n")

    def missing(self, link: Link) -> bool:
        """True if anything has to be created: reads only, so any role may ask."""
        return _own_missing(link) or self._sink_s_missing(link)

    def _sink_s_missing(self, link: Link) -> bool:
        return link.ask(_APPLIED, self.hash()).fetchone() != (True,)

    def create(self, link: Link) -> None:
        """Create it, in the transaction that is open. Two workers starting at once wait for each other here."""
        link.ask(_LOCK)
        # No parameters: several statements in one text, sent as they are.
        if _own_missing(link):  # only then: to alter these tables stops every sink of the database for a moment
            link.execute(bookkeeping().encode())
        if self._sink_s_missing(link):
            if self.ddl().strip():
                link.execute(self.ddl().encode())
            link.execute(_RECORD.format(self.hash()).encode())


def _own_missing(link: Link) -> bool:
    """True also if an earlier version made what is there."""
    return link.ask(_EXISTING, _OWN).fetchone() != (len(_OWN), True)


def bookkeeping() -> str:
    return resources.files("logsync.stores.postgres").joinpath("bookkeeping.sql").read_text(encoding="utf-8")
