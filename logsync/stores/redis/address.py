"""The address of a Redis, taken apart. Pure: opens nothing, and no error shows a value, for it may be a secret.

redis-py takes whatever stands in a URL: an option that it does not know ends in a TypeError, `/shop` for a database
means database 0, and `socket_timeout` undoes the bound that the store promises. So each part is read here, and given on
only if the promise holds with it.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from logsync.core.secrets import keep, of_address
from logsync.errors import ConfigError

_SCHEMES = {"redis": "tcp", "valkey": "tcp", "rediss": "tls", "valkeys": "tls", "unix": "unix"}
_WRITE = "LOGSYNC_REDIS=redis://user:password@host:6379/0, with rediss:// for TLS, or unix:///run/redis.sock"
_ENCODE = "percent-encode what a URL cannot hold: @ is %40, / is %2F, ? is %3F, # is %23, : is %3A"
DECIDED = frozenset(
    {
        "protocol", "decode_responses", "encoding", "encoding_errors", "legacy_responses", "retry_on_timeout",
        "retry_on_error", "health_check_interval", "max_connections", "socket_read_size", "lib_name", "lib_version",
    }
)  # fmt: skip
"""Options of redis-py that logsync decides by itself, whatever they say: a URL that web apps share may have them."""


class Address(NamedTuple):
    """Where a Redis is, and how to connect to it. Its ``repr`` may show a password; ``where`` never does."""

    kind: str
    """tcp, tls or unix."""
    where: str
    """For messages: ``redis at host:port``."""
    options: dict[str, Any]
    """For redis-py's connection."""
    timeout: float
    """Seconds: the bound of a call that the URL asks for, or infinity."""


def parse(url: str, named: str = "LOGSYNC_REDIS") -> Address:
    """The address in ``url``; ``named`` is what a person has to correct. Raises ConfigError, which shows no value."""
    keep(of_address(url))
    scheme, found, rest = url.strip().partition("://")
    kind = _SCHEMES.get(scheme.lower())
    if not found or kind is None:
        lower = scheme.lower() if found else ""
        if "sentinel" in lower or "cluster" in lower or "srv" in lower:
            fix = f"name one server, the primary that has the sink's keys: {_WRITE}"
            raise ConfigError(
                f"{named}: logsync talks to one Redis server, not to a cluster or Sentinel address", fix=fix
            )
        raise ConfigError(f"{named}: expected the address of a Redis, found something else", fix=_WRITE)
    login, at, _ = rest.rpartition("@")
    # Of a password that is not encoded a parser makes a host, a path or an option; an error would show a piece of it.
    if "#" in rest or (at and any(sign in login for sign in "/?")):
        raise ConfigError(f"{named}: a user name or password holds a character that a URL cannot hold", fix=_ENCODE)
    try:
        split = urlsplit(f"redis://{rest}")
        host, port, user, password = split.hostname, split.port, split.username, split.password
    except ValueError:
        raise ConfigError(f"{named}: its host or port cannot be read", fix=f"{_WRITE}; {_ENCODE}") from None
    options: dict[str, Any] = {}
    if user:
        options["username"] = unquote(user)
    if password:
        options["password"] = unquote(password)
    asked = _options(split.query, named)
    tls = asked.pop("ssl", None)
    if tls is not None and kind != "unix":
        if not tls and kind == "tls":
            raise ConfigError(f"{named}: rediss:// means TLS and ssl=false means none", fix="leave one of them out")
        kind = "tls" if tls else kind
    if kind == "unix":
        if host or not split.path.startswith("/"):
            raise ConfigError(
                f"{named}: expected the path of a socket", fix="LOGSYNC_REDIS=unix:///run/redis.sock?db=0"
            )
        options["path"] = unquote(split.path)
        where = f"redis at {options['path']}"
    else:
        options["host"], options["port"] = host or "localhost", 6379 if port is None else port
        if not 0 < options["port"] < 65_536:
            raise ConfigError(f"{named}: expected a port from 1 to 65535", fix=_WRITE)
        where = f"redis at {options['host']}:{options['port']}"
        _database(split.path, asked, named)
    if kind != "tls" and (secure := sorted(name for name in asked if name.startswith("ssl_"))):
        raise ConfigError(f"{named}: {', '.join(secure)} needs TLS", fix="begin the address with rediss://")
    bounds = [asked.pop(name, math.inf) for name in ("timeout", "socket_timeout", "socket_connect_timeout")]
    options = {**asked, **options}
    if kind == "tls":
        _secure(options, named)
    return Address(kind, where, options, min(bounds))


def _options(query: str, named: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in DECIDED:
            continue
        read = _READ.get(name)
        if read is None:
            # The name is shown only if it is nearly one that exists: else it may be a piece of a password.
            near = get_close_matches(name, [*_READ, *DECIDED], n=1, cutoff=0.75)
            hint = f"{near[0]} is an option, and is written otherwise" if near else "it has an option that is none"
            raise ConfigError(f"{named}: {hint}", fix=f"options are {', '.join(sorted(_READ))}; {_ENCODE}")
        if name in found:
            raise ConfigError(f"{named}: option {name} stands there twice", fix="leave one of them out")
        try:
            found[name] = read(value)
        except ValueError as error:
            raise ConfigError(f"{named}: option {name}: expected {error}", fix=f"correct it in {named}") from None
    return found


def _database(path: str, asked: dict[str, Any], named: str) -> None:
    text = unquote(path).removeprefix("/")
    if not text:
        return
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"{named}: expected the number of a database after the host, as in /0", fix=_WRITE)
    if asked.setdefault("db", int(text)) != int(text):
        raise ConfigError(f"{named}: its path and its option db name different databases", fix="leave one of them out")


def _secure(options: dict[str, Any], named: str) -> None:
    """Say here what is wrong with files and settings of TLS: redis-py finds it at each connect, as if for an outage."""
    verified = options.setdefault("ssl_cert_reqs", "required") != "none"
    options["ssl_check_hostname"] = options.get("ssl_check_hostname", True) and verified
    options.setdefault("ssl_password", "")  # never a question on the terminal
    names = "ssl_certfile, ssl_keyfile, ssl_password"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if "ssl_certfile" in options or "ssl_keyfile" in options:
            context.load_cert_chain(
                options.get("ssl_certfile", ""), options.get("ssl_keyfile"), password=options["ssl_password"]
            )
        names = "ssl_ca_certs, ssl_ca_path, ssl_ca_data"
        trusted = [options.get(f"ssl_{name}") for name in ("ca_certs", "ca_path", "ca_data")]
        if any(part is not None for part in trusted):
            context.load_verify_locations(*trusted)
        names = "ssl_ciphers"
        if "ssl_ciphers" in options:
            context.set_ciphers(options["ssl_ciphers"])
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        fix = "name files that exist, belong together and can be read here"
        raise ConfigError(f"{named}: {names} cannot be used: {_kind(error)}", fix=fix) from None


def _kind(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, FileNotFoundError | PermissionError) else type(error).__name__


def _whole(value: str) -> int:
    if not (value.isascii() and value.isdecimal()):
        raise ValueError("a whole number from 0 on")
    return int(value)


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError("a number of seconds above 0")
    return seconds


def _truth(value: str) -> bool:
    for answer, words in ((True, ("true", "t", "yes", "y", "on", "1")), (False, ("false", "f", "no", "n", "off", "0"))):
        if value.lower() in words:
            return answer
    raise ValueError("true or false")


def _name(value: str) -> str:
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("printable ASCII without spaces")
    return value


def _text(value: str) -> str:
    if not value:
        raise ValueError("something, and it is empty")
    return value


def _checks(value: str) -> str:
    if value.lower() not in ("required", "optional", "none"):
        raise ValueError("required, optional or none")
    return value.lower()


def _version(value: str) -> ssl.TLSVersion:
    known = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
    wanted = value.lower().replace("tlsv", "").replace("_", ".")
    for text, version in known.items():
        if wanted in (text, str(int(version))):
            return version
    raise ValueError("TLSv1.2 or TLSv1.3")


_READ: dict[str, Callable[[str], Any]] = {
    "db": _whole,
    "username": _text,
    "password": _text,
    "client_name": _name,
    "timeout": _seconds,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _truth,
    "ssl": _truth,
    "ssl_cert_reqs": _checks,
    "ssl_check_hostname": _truth,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_ca_data": _text,
    "ssl_certfile": _text,
    "ssl_keyfile": _text,
    "ssl_password": _text,
    "ssl_min_version": _version,
    "ssl_ciphers": _text,
}
