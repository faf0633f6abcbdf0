"""The one table from Postgres' error codes to what they mean for a plan."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING

from logsync.core.secrets import hide
from logsync.errors import ConfigError

if TYPE_CHECKING:
    import psycopg


class Verdict(Enum):
    """UNAVAILABLE: says nothing about the writes, try again. CONFIG: a person must change the set-up.
    REJECTED: the server refuses a write for its own sake.
    """

    UNAVAILABLE = auto()
    CONFIG = auto()
    REJECTED = auto()


# https://www.postgresql.org/docs/current/errcodes-appendix.html; the longest prefix that fits decides.
_TABLE: dict[str, Verdict] = {
    "": Verdict.REJECTED,
    "08": Verdict.UNAVAILABLE,  # connection exceptions
    "25006": Verdict.UNAVAILABLE,  # read-only: a standby, or an operator's switch
    "25P03": Verdict.UNAVAILABLE,  # idle in transaction for too long
    "25P04": Verdict.UNAVAILABLE,  # transaction_timeout
    "28": Verdict.CONFIG,  # authentication
    "3D000": Verdict.CONFIG,  # no such database
    "3F000": Verdict.CONFIG,  # no such schema
    "40": Verdict.UNAVAILABLE,  # serialization failure, deadlock
    # The text of a statement and the names in it: tables, columns, keys, functions, rights. No value changes that. # G7
    "42": Verdict.CONFIG,
    # But the type of a value may: a parameter has the one that the event's value has in Python.
    "42804": Verdict.REJECTED,  # datatype mismatch
    "42846": Verdict.REJECTED,  # no such cast
    "42883": Verdict.REJECTED,  # no such function or operator, for these types
    "42725": Verdict.REJECTED,  # several of them
    "42P08": Verdict.REJECTED,  # a parameter of two types
    "42P18": Verdict.REJECTED,  # a parameter of none
    # And an event may make what an earlier one has made.
    "42P03": Verdict.REJECTED,
    "42P04": Verdict.REJECTED,
    "42P05": Verdict.REJECTED,
    "42P06": Verdict.REJECTED,
    "42P07": Verdict.REJECTED,
    "42701": Verdict.REJECTED,
    "42710": Verdict.REJECTED,
    "42723": Verdict.REJECTED,
    "53": Verdict.UNAVAILABLE,  # disk full, out of memory, too many connections
    "55000": Verdict.CONFIG,  # a key that is DEFERRABLE, a table without replica identity
    "55006": Verdict.UNAVAILABLE,  # object in use
    "55P03": Verdict.UNAVAILABLE,  # lock not available
    "55P04": Verdict.REJECTED,  # a new enum value used too early
    "57": Verdict.UNAVAILABLE,  # shutdown, crash, starting up, cancelled by statement_timeout
    "58": Verdict.UNAVAILABLE,  # errors of the server's file system
    "XX": Verdict.UNAVAILABLE,  # internal errors, corrupted data
}
# While connecting, libpq gives the server's words and no code. These mean that the set-up is wrong; any others,
# also the same in another language than English, mean "unavailable", which waits and shows them.
_SET_UP = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|pg_hba\.conf rejects|permission denied|"
    r'(role|database) "[^"]*" does not exist|is not permitted to log in|server does not support SSL|'
    r"invalid (integer value|port number|\w+ value)|"
    r"unsupported startup parameter|"  # PgBouncer, of options=
    # TLS: what no waiting mends, on either side. What only broke ("unexpected eof", "SSL SYSCALL") is not among it.
    r"SSL error: .*(certificate|unknown ca|unsupported protocol|protocol version|version number|no protocols available|"
    r"too (small|weak)|cipher|handshake failure)|"
    r"certificate for .* does not match host name|(root )?certificate file|private key file|channel binding|"
    r"weak sslmode|valid client certificate|host name must be specified for a verified|system root certificate"
)


def verdict(error: Exception) -> Verdict:
    """What ``error`` means when it was raised by a statement on a connection that still stands."""
    state: str | None = getattr(error, "sqlstate", None)
    if state is None:
        # The client refused it before it was sent: a NUL in a text, a parameter that is missing.
        return Verdict.UNAVAILABLE if type(error).__name__ == "OperationalError" else Verdict.REJECTED
    if state == "42601" and not _in_statement(error):
        return Verdict.REJECTED  # the text of a value: jsonpath, tsquery, ltree and hstore have a syntax, too
    return next(_TABLE[state[:n]] for n in range(len(state), -1, -1) if state[:n] in _TABLE)


def _in_statement(error: Exception) -> bool:
    """True if the server says where in a statement, or in a statement of a function, it is wrong."""
    diag = getattr(error, "diag", None)
    return diag is not None and (diag.statement_position or diag.internal_position) is not None


def does_not_fit(found: str, offset: int, about: str = "") -> ConfigError:
    """The error for tables, statements or rights that are wrong whatever an event holds. ``offset``: of the event that
    found it. # G7
    """
    return ConfigError(
        f"Postgres: {found}; found by the event at offset {offset}{about}",
        fix="put the table, its columns and its unique index on the key, the handler's statement, or the role's rights "
        "in order: `logsync schema print SINK` shows what the sink expects",
    )


def verdict_of_connect(error: psycopg.Error) -> Verdict:
    """What an error means that came instead of a connection."""
    if error.sqlstate is not None:
        return verdict(error)
    return Verdict.CONFIG if _SET_UP.search(str(error)) else Verdict.UNAVAILABLE


def describe(error: Exception) -> str:
    """The error in one line: the server's first sentence, cut short, the code, and what it is about.

    Never its DETAIL, which repeats whole rows.
    """
    diag = getattr(error, "diag", None)
    words = (diag and diag.message_primary) or str(error).strip() or type(error).__name__
    parts = [hide(" ".join(str(words).split()))]  # whole: what is left of a secret that was cut is not found any more
    if len(parts[0]) > 200:
        parts[0] = parts[0][:200] + "..."
    if diag is not None:
        about = {"table": diag.table_name, "column": diag.column_name, "constraint": diag.constraint_name}
        parts += [f"{name} {value}" for name, value in about.items() if value]
    if state := getattr(error, "sqlstate", None):
        parts.append(f"SQLSTATE {state}")
    return ", ".join(parts)
