"""Where one SQL statement ends and the next begins, as Postgres itself reads a text. Pure.

It follows the server's own lexical rules with ``standard_conforming_strings`` on, which every transaction of the store
sets. What is not closed reaches to the end of the text: the server says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# An identifier may begin with any character beyond ASCII, and go on with digits and $: "a$b$c" holds no dollar quote,
# and the E of LIKE'...' begins no text.
_START, _NEXT = r"[A-Za-z_\x80-\U0010ffff]", r"[A-Za-z0-9_$\x80-\U0010ffff]"
_TAG = r"(?:[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?"
# After a line end a text goes on with the next quote, by the rules that it began with.
_GOES_ON = r"(?:[ \t\f\v]|--[^\n\r]*)*[\n\r](?:[ \t\f\v\n\r]|--[^\n\r]*[\n\r])*"
_ESCAPED = r"'(?:''|\\.|[^'\\])*(?:'|\Z)"
_TOKEN = re.compile(
    rf"""
    (?P<space>[ \t\n\r\f\v]+|--[^\n\r]*)
  | (?P<comment>/\*)
  | (?P<text>[eE]{_ESCAPED}(?:{_GOES_ON}{_ESCAPED})*|(?:[bBxXnN]|[uU]&)?'(?:''|[^'])*(?:'|\Z))
  | (?P<name>(?:[uU]&)?"(?:""|[^"])*(?:"|\Z))
  | (?P<dollar>\$(?P<tag>{_TAG})\$)
  | (?P<word>{_START}{_NEXT}*)
  | (?P<number>[0-9][A-Za-z0-9_.$]*)
  | (?P<other>.)
    """,
    re.DOTALL | re.VERBOSE,
)
_COMMENT = re.compile(r"/\*|\*/")


def statements(text: str) -> list[list[str]]:
    """The statements of ``text``, each as its words and signs: words in lower case, and for whatever is quoted one
    ``'``, as the content says nothing about where a statement ends. Comments and empty statements are left out.
    """
    found: list[list[str]] = []
    statement: list[str] = []
    parens = 0
    for token in _tokens(text):
        if token == ";" and parens <= 0 and not _inside_body(statement):
            found.append(statement)
            statement, parens = [], 0
            continue
        parens += (token == "(") - (token == ")")  # CREATE RULE ... DO (one; two)
        statement.append(token)
    return [some for some in [*found, statement] if some]


def _inside_body(statement: list[str]) -> bool:
    """True between BEGIN ATOMIC and its END: the statements there belong to the function."""
    head = [word for word in statement[:4] if word not in ("or", "replace")]
    if head[:1] != ["create"] or head[1:2] not in (["function"], ["procedure"]):
        return False
    depth, before = 0, ""
    for token in statement:
        label = before in (".", "as")  # a column may be called "end" there
        if (token == "atomic" and before == "begin") or (token == "case" and depth and not label):
            depth += 1
        elif token == "end" and depth and not label:
            depth -= 1
        before = token
    return depth > 0


def _tokens(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match  # the last alternative takes anything
        at = match.end()
        kind = match.lastgroup
        if kind == "comment":
            at = _end_of_comment(text, at)
        elif match["dollar"]:
            closed = text.find(match["dollar"], at)
            at = len(text) if closed < 0 else closed + len(match["dollar"])
            yield "'"
        elif kind in ("text", "name"):
            yield "'"
        elif kind != "space":
            yield match[0].lower()


def _end_of_comment(text: str, at: int) -> int:
    """Comments nest: the place behind the ``*/`` that ends the one which began before ``at``."""
    depth = 1
    while depth:
        match = _COMMENT.search(text, at)
        if match is None:
            return len(text)
        depth += 1 if match[0] == "/*" else -1
        at = match.end()
    return at
