"""What user SQL may not do: end the transaction that holds its writes and the position together. # I4 G3"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from logsync.stores.postgres.coalesce import RowsRefused
from logsync.stores.postgres.lexer import statements

if TYPE_CHECKING:
    from psycopg import Cursor

_ENDS = {"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "prepare"}
# These change the session: a later plan would meet another time zone, or a commit that is not durable. COPY
# changes the conversation: the server would wait for data that nobody sends.
_SESSION = {"set", "reset", "discard", "listen", "unlisten", "deallocate", "copy"}


@lru_cache(maxsize=1024)
def check_statement(text: str) -> None:
    """Raise RowsRefused unless ``text`` is one statement that leaves transaction and session alone."""
    if "\0" in text:
        raise RowsRefused("a statement holds the character NUL (0x00): the server would read it up to there only")
    found = statements(text)
    if len(found) != 1:
        raise RowsRefused(f"expected one SQL statement, found {len(found)}")
    check_words(found[0])
    if "set_config" in found[0]:
        raise RowsRefused("set_config in a sink: what the writes after it mean would depend on how the log is cut")


def check_words(statement: Sequence[str]) -> None:
    """Raise RowsRefused if one statement, as :func:`statements` gives it, is about the transaction or the session."""
    word = statement[0]
    if word in _ENDS:
        raise RowsRefused(f"{word.upper()} in a sink: the writes and the position end in one transaction, by logsync")
    if word in _SESSION:
        raise RowsRefused(
            f"{word.upper()} in a sink: it would change the session for the plans that follow, or wait for the client"
        )


class GuardedCursor:
    """What ``InTransaction.run`` gets: queries inside the open transaction, and nothing else.

    Works until ``run`` returns. Statements take ``%s`` or ``%(name)s``; the percent sign itself is ``%%``.
    """

    def __init__(self, cursor: Cursor[Any]) -> None:
        self.__cursor: Cursor[Any] | None = cursor

    def execute(self, statement: str, params: Mapping[str, Any] | Sequence[Any] = ()) -> GuardedCursor:
        """Run one statement. Raises psycopg's errors; catching one does not save the transaction."""
        check_statement(statement)
        self._open().execute(statement.encode(), params)
        return self

    def fetchone(self) -> Any:
        return self._open().fetchone()

    def fetchmany(self, size: int = 0) -> list[Any]:
        return self._open().fetchmany(size)

    def fetchall(self) -> list[Any]:
        return self._open().fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._open())

    @property
    def rowcount(self) -> int:
        return self._open().rowcount

    @property
    def columns(self) -> list[str]:
        """The names of the columns of the last result."""
        return [column.name for column in self._open().description or ()]

    def _open(self) -> Cursor[Any]:
        if self.__cursor is None:
            raise RowsRefused("the cursor was used after its InTransaction handler had returned")
        return self.__cursor

    def _end(self) -> None:
        self.__cursor = None
