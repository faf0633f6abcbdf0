"""Settings as people write them: from a variable's text to its value, or to a sentence that says what was expected.

Pure functions for ``logsync.settings``. No sentence holds any part of a value: it may be a secret, or stand beside one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticCustomError

_SERVER = re.compile(
    r"(?:(?:plaintext|ssl|sasl_plaintext|sasl_ssl)://)?(?:\[[0-9a-f:.]+\]|(?!\d+(?::|$))\w[\w.-]*)(?::\d{1,5})?",
    re.IGNORECASE,
)
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_JSON_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}


def plain(value: Any) -> Any:
    """A text without blanks around it, and without quotes around all of it: Docker's ``--env-file`` leaves them in."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text[0] not in text[1:-1]:
        return text[1:-1].strip()
    return text


def options(value: Any) -> Any:
    """The options of the Kafka client: a JSON object; each value a text, a number, true or false."""
    if isinstance(value, str):
        value = _json_object(value) if value else {}
    if not isinstance(value, Mapping):
        raise wrong(f"expected a JSON object, found {_kind(value)}")
    found = {name: _option(name, given) for name, given in value.items()}
    if any("\0" in name or "\0" in secret.get_secret_value() for name, secret in found.items()):
        raise wrong("expected texts without NUL: Kafka's client ends them there")
    return found


def topics(value: Any) -> Any:
    """Names of topics, with commas or blanks between them, or as a JSON list."""
    if not isinstance(value, str):
        return value
    names: Any = re.split(r"[,;\s]+", value.strip(",; "))
    if value.startswith("["):
        names = _loads(value)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise wrong("expected names of topics, found a list of something else")
    for name in filter(None, names):
        if not _TOPIC.fullmatch(name):
            raise wrong("expected names of topics: orders, or orders,payments")
    return frozenset(filter(None, names))


def servers(value: Any) -> Any:
    """Kafka's servers: ``host:port``, several with commas or blanks between them."""
    if not isinstance(value, str):
        return value
    if "@" in value:
        raise wrong(
            "expected host:port; a user and password go into LOGSYNC_KAFKA_OPTIONS (sasl.username, sasl.password)"
        )
    found = re.split(r"[,;\s]+", value)
    if not all(_SERVER.fullmatch(server) for server in found):
        raise wrong("expected host:port, several with commas")
    return ",".join(found)


def address(value: Any) -> Any:
    """The address of a store. An empty one is refused: it cannot mean the default on this machine."""
    if value == "":
        raise wrong("it is set and empty: expected an address (unset, it means a server on this machine)")
    return value


def wrong(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("logsync", "{sentence}", {"sentence": sentence})


def _json_object(text: str) -> Any:
    example = """expected a JSON object: {"security.protocol": "SASL_SSL", "sasl.username": "..."}"""
    if not text.startswith("{"):
        raise wrong(example)
    return _loads(text, example)


def _loads(text: str, expected: str = "expected JSON") -> Any:
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_no_number, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:  # its message says where, and shows nothing of the text
        raise wrong(f"{expected}; found at character {error.pos + 1}: {error.msg}") from None
    except RecursionError:
        raise wrong(f"{expected}; found one that is nested too deeply") from None


def _no_number(name: str) -> None:
    raise wrong(f"expected a number that Kafka's client can take, found {name}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise wrong(f"{next(name for name in names if names.count(name) > 1)} stands there twice")
    return found


def _option(name: str, value: Any) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    if isinstance(value, bool):
        return SecretStr(str(value).lower())
    if isinstance(value, float | Decimal):
        number = Decimal(str(value))
        if not number.is_finite() or abs(number) > 2**63:
            raise wrong(f"{name}: expected a number that Kafka's client can take")
        return SecretStr(f"{number:f}" if number % 1 else str(int(number)))
    if isinstance(value, str | int):
        return SecretStr(str(value))
    raise wrong(f"{name}: expected a text, a number, true or false, found {_kind(value)}")


def _kind(value: object) -> str:
    return _JSON_NAMES.get(type(value), "a number" if isinstance(value, int | float | Decimal) else "something else")
