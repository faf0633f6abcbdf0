"""Addresses of servers as people write them: one that can be read in two ways is refused before a client reads it.

A raw ``@``, ``/``, ``?`` or ``#`` in a password ends it for one parser and not for the other. What is left over becomes
a host, a port or the name of a database: at best an error that shows a piece of the password, at worst a connection to
somewhere else. So a raw character that could be read both ways must be percent-encoded.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from logsync.errors import ConfigError

_HOST = r"(?:\[[0-9A-Fa-f:.]+(?:%25?\w+)?\]|[^\s@/:\[\],?#]*)"
_PLACE = rf"{_HOST}(?::(?:[1-9]\d{{0,4}})?)?"
_PLACES = re.compile(rf"{_PLACE}(?:,{_PLACE})*")
_UNREADABLE = re.compile(r"[\x00-\x20\x7f]")


class Address(NamedTuple):
    """The parts of a URL as they are written, percent-encoded."""

    scheme: str
    userinfo: str | None
    places: str
    """``host:port``, several with commas."""
    path: str
    query: str


def read(url: str, *, schemes: tuple[str, ...], expected: str, fix: str, by_libpq: bool = False) -> Address:
    """Take a URL apart. Raises ConfigError if it is none, or if it could be read in another way, too.

    The error is made of ``expected`` and ``fix`` and shows nothing of the URL. ``by_libpq``: a user and password end at
    the first ``@``, and may hold ``?`` and ``#``; for everybody else they end at the last one before the path.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme not in schemes:
        raise ConfigError(f"expected {expected}, found something else", fix=fix)
    authority = rest.partition("/")[0] if by_libpq else re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, _ = authority.partition("@") if by_libpq else authority.rpartition("@")
    left = rest[len(user) + len(at) :]
    head, _, query = left.partition("?")
    places, slash, path = head.partition("/")
    torn = "@" in path or (not by_libpq and _torn(user, left))
    if torn or _UNREADABLE.search(rest) or not _PLACES.fullmatch(places):
        raise ConfigError(
            f"expected {expected}, found characters that can be read in two ways",
            fix=f"{fix}; in a user name or password, write @ as %40, / as %2F, : as %3A, ? as %3F, # as %23, % as %25",
        )
    return Address(scheme, user if at else None, places, slash + path, query)


def _torn(user: str, left: str) -> bool:
    """True if a part of the password may stand behind its place, or if brackets keep a parser from finding it."""
    return "@" in left or "#" in left or "[" in user or "]" in user
