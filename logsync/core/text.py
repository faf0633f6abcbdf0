"""Text of strangers, made fit for people: a record holds any bytes, and a terminal obeys some of them."""

from __future__ import annotations

import re

_HIDDEN = re.compile(r"[^ -~]")
"""What may have to be escaped: everything but printable ASCII is looked at one by one."""


def plain(text: str) -> str:
    """``text`` on one line: whatever does not print (line ends, escape sequences, marks that turn the writing round,
    half a surrogate pair) stands as its escape."""
    return text if text.isascii() and text.isprintable() else _HIDDEN.sub(_escape, text)


def indented(text: str, indent: str = "  ") -> str:
    """``text`` with its line ends; every later line is indented, so that none can pass for a line of its own."""
    first, *rest = map(plain, text.split("\n"))
    return "\n".join([first, *(line if line.startswith(indent) else indent + line for line in rest)])


def short(text: str, most: int) -> str:
    """``plain`` text of at most ``most`` characters; what was cut is counted."""
    if len(text) <= most:
        return plain(text)
    return f"{plain(text[:most])}... ({len(text) - most:,} more characters)"


def escaped_json(text: str) -> str:
    """JSON made with ``ensure_ascii=False``, with every character that does not print as its ``\\u`` escape.

    The same value for every reader. Line ends and blanks between the values stay.
    """
    return re.sub(r"[^\n -~]", _unicode, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _unicode(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\u{0xD800 + (code - 0x10000 >> 10):04x}\\u{0xDC00 + (code - 0x10000 & 0x3FF):04x}"
