"""What must never be shown: known secrets, and how a text is freed of them.

A client library repeats what it did not understand, and a parser cuts an address in its own way: of
``postgresql://u:pa@ss@host/db`` libpq takes ``ss@host`` for the host, and says so. So a secret is known in every form
and part that it may come back in, and every text that leaves is freed of all of them: the message of each error of
logsync, each log line, what the command line prints when it fails. This module looks at text; it reads no settings.

Limits: parts of fewer than three characters are not looked for, and neither is a password that is one of the words that
logsync's own messages are made of (``postgres``, ``password``): hiding those would make every message unreadable and
tell by its holes what the password is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from threading import Lock
from urllib.parse import quote, unquote, unquote_plus

HIDDEN = "***"
_SHORTEST = 3
_ANYWHERE = 6
"""Parts of this length are hidden inside longer words as well; shorter ones only where they stand alone."""
_PUBLIC = re.compile(
    r"admin|default|host|https?|kafka|key|localhost|logsync|none|null|opensearch|pass|password|plaintext|port|postgres"
    r"(?:ql)?|rediss?|root|sasl|server|ssl|store|test|topic|true|false|user|username|value",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[\s@:/?#&=,;%\[\](){}<>\"'`\\|+$!*^~]+")
_ARMOUR = re.compile(r"-----[A-Z0-9 ]+-----")
_NEXT_URL = re.compile(r",(?=\w+://)")
_OPTIONS = re.compile(r"\?(?:\w+=[^&#]*(?:&|$))*$")
# An @ is at home in few options, and what stands behind it there is no address.
_FREE = r"(?:user|username|application_name|client_name|password)=[^/:&#]*"
_NO_ADDRESS = re.compile(rf"\?(?:(?:{_FREE}|\w+=[^@&#]*)(?:&|$))*")
_PASSWORD = re.compile(r"://[^/@]*:(?!\d*(?:/|$))|://[^@]*:[^@]*@")  # a colon that stands before no port
_QUERY = re.compile(r"[?&]([^=&#]*)=([^&#]*)")
_SECRET_NAME = re.compile(r"passw(?:or)?d|passphrase|secret|token|credential|api_?key|\.pem$|key_?data", re.IGNORECASE)
_NO_SECRET_NAME = re.compile(r"\.(?:url|file|location)$", re.IGNORECASE)
_WORDS = re.compile(r"(\w+)\s*=\s*('(?:\\.|[^'\\])*'|(?:\\.|\S)*)", re.DOTALL)


class Secrets:
    """A set of known secrets. Safe for threads; what was kept is never forgotten."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._forms: frozenset[str] = frozenset()
        self._lowered: tuple[str, ...] = ()
        self._pattern: re.Pattern[str] | None = None

    def keep(self, secrets: Iterable[str]) -> None:
        """Know these from now on, in every form and part."""
        new = {form for secret in secrets for form in _forms(secret)} - self._forms
        if not new:
            return
        with self._lock:
            self._forms |= new
            self._lowered = tuple({form.lower() for form in self._forms})
            longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(_found, longest_first)), re.IGNORECASE)

    def hide(self, text: str) -> str:
        """The text with ``***`` in place of whatever of a known secret it holds."""
        if self._pattern is None:
            return text
        lowered = text.lower()  # a hundred thousand parked events make as many errors: most texts end here
        if not any(form in lowered for form in self._lowered):
            return text
        return self._pattern.sub(HIDDEN, text)


def of_address(address: str) -> Iterator[str]:
    """The secrets of a URL, or of a connection string in libpq's ``name=value`` form; of both if it is hard to tell."""
    bare = _OPTIONS.sub("", address)
    readings = [bare]
    options = address[len(bare) :]
    if "@" in options and (_PASSWORD.search(bare) or not _NO_ADDRESS.fullmatch(options)):
        # A password with a raw question mark: what looks like options may be the rest of it, and what looks like a
        # port and a database its beginning.
        readings = [bare, address] if "@" in bare else [address]
    for url in [url for reading in readings for url in _NEXT_URL.split(reading)]:
        _, mark, rest = url.partition("://")
        userinfo, at, _ = rest.partition("/")[0].rpartition("@")
        if "@" in rest[len(userinfo) + len(at) :]:
            # A password with a raw slash: where it ends is a guess, so it is all that it could be.
            userinfo = rest.rpartition("@")[0]
        if mark:
            yield userinfo.partition(":")[2]
    for name, value in _QUERY.findall(address):
        if secret_name(name):
            yield value
    if "://" not in address:
        for name, value in _WORDS.findall(address):
            if secret_name(name):
                yield value.strip("'")


def secret_name(name: str) -> bool:
    """True if a setting of this name holds something that must not be shown."""
    return _SECRET_NAME.search(name) is not None and not _NO_SECRET_NAME.search(name)


def _forms(secret: str) -> Iterator[str]:
    """Everything by which a client may name the secret, or a part of it."""
    secret = _ARMOUR.sub(" ", secret)
    plain = {secret, unquote(secret), unquote_plus(secret)}
    whole = {form for text in plain for form in (text, quote(text, "", errors="replace"), repr(text)[1:-1])}
    whole |= {form.replace("%20", "+") for form in whole}
    parts = {part for text in plain for part in _SEPARATORS.split(text)}
    return (form for form in whole | parts if len(form) >= _SHORTEST and not _PUBLIC.fullmatch(form))


def _found(form: str) -> str:
    text = re.escape(form)
    return text if len(form) >= _ANYWHERE else rf"(?<![^\W_]){text}(?![^\W_])"


_KNOWN = Secrets()
keep = _KNOWN.keep
hide = _KNOWN.hide
