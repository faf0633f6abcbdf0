"""Tables and columns as a sink's DDL declares them, for tests without a server. Pure.

A reader that knows CREATE TABLE and ADD COLUMN, and says nothing of a table that it is not sure of.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?\*/|(?P<text>[eE]?'(?:''|\\.|[^'])*'|(?P<tag>\$[A-Za-z_]*\$).*?(?P=tag))"""
    r"""|"(?P<quoted>(?:""|[^"])*)"|(?P<word>[A-Za-z_][\w$]*)|(?P<mark>[^\s])""",
    re.DOTALL,
)
_NOT_A_COLUMN = frozenset({"CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE"})
_AFTER_TYPE = frozenset({
    "NOT", "NULL", "DEFAULT", "PRIMARY", "UNIQUE", "CHECK", "REFERENCES", "CONSTRAINT", "GENERATED", "COLLATE",
    "STORAGE", "COMPRESSION", ",", ")",
})  # fmt: skip
_MAKES_NO_TABLE = frozenset({
    "INDEX", "UNIQUE", "EXTENSION", "TYPE", "DOMAIN", "SEQUENCE", "SCHEMA", "FUNCTION", "PROCEDURE", "TRIGGER",
})  # fmt: skip


@dataclass
class Declared:
    """The tables of a DDL, each with its columns and their types; None for one of which too little is understood."""

    tables: dict[str, dict[str, str] | None] = field(default_factory=dict)
    whole: bool = True
    """False: a statement may have made a table that is not among them."""

    def columns(self, table: str) -> dict[str, str] | None:
        """The columns of a table as handlers name it, with its schema or without; None: not known."""
        last = table.rpartition(".")[2]
        same = [name for name in self.tables if name in (table, last) or (table == last and name.endswith("." + last))]
        return self.tables[same[0]] if len(same) == 1 else None

    def has(self, table: str) -> bool:
        return table.rpartition(".")[2] in {name.rpartition(".")[2] for name in self.tables}


class _Reader:
    """The tokens of one statement. A word is upper case where it stands for itself, and a name as Postgres folds it."""

    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self._tokens, self._at = tokens, 0

    def word(self) -> str:
        """The next token, if it is a keyword or a mark; empty at the end, for a text and for a quoted name."""
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        return text.upper() if kind in ("word", "mark") else ""

    @property
    def ended(self) -> bool:
        return self._at >= len(self._tokens)

    def take(self, *words: str) -> bool:
        """Go past the words if they are next."""
        held = self._at
        for word in words:
            if self.word() != word:
                self._at = held
                return False
            self._at += 1
        return True

    def step(self) -> str:
        kind, text = self._tokens[self._at]
        self._at += 1
        return text.lower() if kind == "word" else text

    def name(self) -> str:
        """A name, with its schema if it has one."""
        found = self.step()
        while self.take("."):
            found += "." + self.step()
        return found

    def past(self) -> None:
        """Go past the rest of this element of a list in parentheses."""
        depth = 0
        while not self.ended:
            if depth == 0 and self.word() in (",", ")"):
                return
            depth += {"(": 1, ")": -1}.get(self.word(), 0)
            self._at += 1

    def type(self) -> str:
        found = ""
        while not self.ended and self.word() not in _AFTER_TYPE:
            if self.take("("):
                self.past()
                while self.take(","):
                    self.past()
                self.take(")")
            else:
                found += self.step() + " "
        return found.replace("[ ]", "[]").strip()


def declared_in(ddl: str) -> Declared:
    """What the DDL declares, as far as it can be told."""
    found = Declared()
    statement: list[tuple[str, str]] = []
    for match in [*_TOKEN.finditer(ddl), None]:
        if match is None or match["mark"] == ";":
            if statement:
                _read(_Reader(statement), found)
            statement = []
        elif kind := next((kind for kind in ("text", "quoted", "word", "mark") if match[kind] is not None), ""):
            text = match[kind]
            statement.append((kind, text.replace('""', '"') if kind == "quoted" else text))
    return found


def _read(reader: _Reader, found: Declared) -> None:
    if reader.take("ALTER", "TABLE"):
        _alter(reader, found)
    elif reader.take("CREATE"):
        while reader.word() in ("UNLOGGED", "GLOBAL", "LOCAL", "OR", "REPLACE"):
            reader.step()
        if reader.take("TABLE"):
            reader.take("IF", "NOT", "EXISTS")
            name = reader.name()
            found.tables[name] = _body(reader)
        elif reader.word() not in _MAKES_NO_TABLE:
            found.whole = False
    elif reader.word() not in ("COMMENT", "GRANT", "REVOKE", "INSERT", "UPDATE", "DELETE"):
        found.whole = False
        if reader.word() == "DROP":
            found.tables = dict.fromkeys(found.tables)


def _body(reader: _Reader) -> dict[str, str] | None:
    columns: dict[str, str] = {}
    if not reader.take("("):
        return None  # AS, OF, PARTITION OF
    while not reader.ended and not reader.take(")"):
        if reader.word() == "LIKE":
            return None
        if reader.word() not in _NOT_A_COLUMN:
            name = reader.step()
            columns[name] = reader.type()
        reader.past()
        reader.take(",")
    while not reader.ended:
        if reader.word() == "INHERITS":
            return None
        reader.step()
    return columns


def _alter(reader: _Reader, found: Declared) -> None:
    reader.take("IF", "EXISTS")
    reader.take("ONLY")
    name = reader.name()
    columns = found.tables.get(name)
    while not reader.ended:
        if reader.take("ADD") and reader.word() not in _NOT_A_COLUMN:
            reader.take("COLUMN")
            reader.take("IF", "NOT", "EXISTS")
            column = reader.step()
            if columns is not None:
                columns[column] = reader.type()
        elif reader.word() not in _NOT_A_COLUMN:
            found.tables[name] = None  # RENAME, DROP, SET SCHEMA, ...
            found.whole = found.whole and reader.word() not in ("RENAME", "SET")
            return
        reader.past()
        reader.take(",")
