"""What a rebuild of tables must not begin with: a table that a wipe would leave as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from logsync.core.write import Write
from logsync.errors import ConfigError
from logsync.stores.postgres.shapes import quote

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

OLD_TABLE = (
    "put tables and handlers in step: CREATE TABLE IF NOT EXISTS leaves a table that is there as it is, so add "
    "ALTER TABLE ... ADD COLUMN IF NOT EXISTS ... to the schema, or drop the table first"
)
_LOOK = """
WITH declared AS (SELECT to_regclass(name) AS found, name FROM unnest(%s::text[]) AS d (name)),
     written AS (SELECT to_regclass(name) AS found, name FROM unnest(%s::text[]) AS w (name))
SELECT 'absent', name FROM declared WHERE found IS NULL
UNION ALL
SELECT 'kept', name FROM written WHERE found NOT IN (SELECT found FROM declared WHERE found IS NOT NULL)
"""


def check_declared(link: Link, declared: Sequence[str], writes: Iterable[Write]) -> list[str]:
    """The declared tables, quoted. Raises ConfigError if one is not there, or if another one is written to.

    A table that is written to and not declared keeps its rows through a wipe, and gets them again from the log.
    """
    written = {name for write in writes for name in (getattr(write, "table", ""), *getattr(write, "touches", ()))}
    tables = [quote(name) for name in declared]
    found = link.ask(_LOOK, tables, sorted(map(quote, written - {""}))).fetchall()
    for what, name in found:
        if what == "absent":
            raise ConfigError(
                f"Postgres(tables=...) names {name}, and there is no such table",
                fix="correct tables=[...], or create the table in the sink's schema",
            )
    if found:
        names = ", ".join(name for _, name in found)
        raise ConfigError(
            f"the handlers write to {names}, which Postgres(tables=...) does not name: a rebuild would not empty it, "
            "and would apply the log to what it holds already",
            fix=f"add {names} to tables=[...]",
        )
    return tables
