"""How every transaction of the store begins: no setting of a role, a database or a server changes a value. # I5

Everything is set for the transaction alone: a pooler may give each one another session. Startup options would do it
once, but PgBouncer refuses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from logsync.errors import ConfigError, StoreUnavailable
from logsync.stores.postgres.encode import array
from logsync.stores.postgres.statements import Statement

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

BEGIN = Statement("BEGIN ISOLATION LEVEL READ COMMITTED", ())
# Any role may change these, also by ALTER ROLE or ALTER DATABASE ... SET, and each of them changes what goes into a row
# or comes out of one. The values are the server's own defaults. Left alone, as their defaults belong to the cluster and
# readers share them: lc_monetary (money is never read from a text, see encode.py) and default_text_search_config.
PINNED = {
    "TimeZone": "UTC",  # a time without a zone
    "timezone_abbreviations": "Default",  # "IST" in a text
    "DateStyle": "ISO, MDY",  # "02/03/2026" in a text
    "IntervalStyle": "postgres",  # "-1 days 5 seconds": does the sign hold for both?
    "array_nulls": "on",  # off: a NULL in an array becomes the text "NULL"
    "xmloption": "content",
    "xmlbinary": "base64",
    "bytea_output": "hex",  # these four: how a value becomes a text inside a statement
    "extra_float_digits": "1",
    "lc_numeric": "C",
    "lc_time": "C",
    "standard_conforming_strings": "on",  # what a backslash in a statement means; the guard reads it so, too
    "backslash_quote": "safe_encoding",
    "client_encoding": "UTF8",
    "transform_null_equals": "off",  # "x = NULL" in a statement
    "row_security": "on",
    "gin_fuzzy_search_limit": "0",  # above 0, an index finds some of the rows, chosen at random
    "quote_all_identifiers": "off",  # the catalog's own words, see catalog.py
    "exit_on_error": "off",  # on: the server hangs up instead of refusing one write
}
# Of the rest:
# - synchronous_commit: with "off" the server answers COMMIT before the writes are durable.  # I4
# - session_replication_role: as "replica", foreign keys and triggers do not exist. Only some roles may change it back;
#   others get an error that names it.
# - transaction_timeout (17 and later): a pipeline that arrived only in part, as the worker stands still or the line
#   went dead, has moved the position and waits for the next message. No other timeout runs in that state, and its lock
#   would hold up the successor without bound (seen: SIGSTOP in the middle of an apply).
#
# What stands right already is left alone: to set a thing costs ten times as much as to look at it.
_SETTINGS = """
SELECT count(set_config(name, value, true)) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)
WHERE CASE name WHEN 'synchronous_commit' THEN current_setting(name) = 'off'
                ELSE current_setting(name, true) <> value END
"""
_STANDBY = "SELECT pg_is_in_recovery()"
# The session's own path, with our schema last: where the role is called logsync too, Postgres would look there
# first, and a sink's table named "book" would be taken for ours. Behind it, temporary tables: a pooler's session may
# hold some of a neighbour's. In front, unnamed, pg_catalog: what "=" means is not for a schema to say.
SEARCH_PATH = """
SELECT concat_ws(', ', string_agg(quote_ident(name), ', ' ORDER BY name = 'logsync', n), 'pg_temp')
FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, n) WHERE name <> 'pg_catalog'
"""


def opening(timeout: float, search_path: str) -> list[Statement]:
    """How every transaction of the store begins. ``timeout`` in seconds bounds each statement; twice as long bounds
    (Postgres 17 and later) the whole transaction, should its client fall silent."""
    # Each well before our own deadline, and locks first: the server's words say more than "no answer".
    limit, lock = str(max(1, int(timeout * 800))), str(max(1, int(timeout * 500)))
    whole = str(max(1, int(timeout * 2000)))  # after our own deadline: a COMMIT that was sent may still win (P4)
    wanted = {
        "statement_timeout": limit,
        "lock_timeout": lock,
        "idle_in_transaction_session_timeout": limit,
        "transaction_timeout": whole,
        "synchronous_commit": "on",
        "session_replication_role": "origin",
        "search_path": search_path,
        **PINNED,
    }
    return [BEGIN, Statement(_SETTINGS, (array([*wanted]), array([*wanted.values()])))]


def session_path(link: Link) -> str:
    """The search path of this session, for :func:`opening`."""
    (path,) = link.ask(SEARCH_PATH).fetchone() or ("",)
    return str(path)


def check_server(link: Link) -> None:
    """Raises ConfigError for a server that is too old, StoreUnavailable for a standby."""
    (standby,), (version,) = [link.ask(asked).fetchone() or (0,) for asked in (_STANDBY, "SHOW server_version_num")]
    if int(version) < 150_000:
        raise ConfigError(f"expected Postgres 15 or later, found {int(version) // 10_000}", fix="upgrade the server")
    if standby:
        raise StoreUnavailable("this server is a standby: its positions may be old, and it takes no writes")
