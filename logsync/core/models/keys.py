"""The key of an event is what its JSON says: the text of one value there. # T4

A string's content, the digits of a number, ``true`` or ``false``. So a tombstone, or a writer in another language, that
takes the key out of the JSON gets the same partition and the same order.

| in the model | its key |
|---|---|
| ``str``, an enum of strings, ``UUID``, ``Decimal``, ``datetime``, ``bytes`` | the content of the JSON string |
| ``int``, an enum of integers, ``float``, ``bool`` | the JSON text: ``7``, ``1.5``, ``true`` |
| ``None``, an empty string | refused: the key is what orders events |
| a list, dict, model, set or tuple, NaN, inf | refused: a key is one value |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import from_json, to_json

from logsync.core.models.schema import Node, Schema, complete, config, nodes, written_key
from logsync.errors import AppendRejected, ConfigError

KeyOf = Callable[[Any], str]
"""The key of an event, empty if it has none. Raises AppendRejected, or what the user's code raises."""
_AS_THEY_ARE = frozenset({str, int, UUID})
_MANY = frozenset({"list", "set", "frozenset", "tuple", "dict", "model", "dataclass", "typed-dict", "named-tuple"})
_FIX = 'name a field that holds a str, an int or a UUID, or give a function: key=lambda event: f"{event.a}/{event.b}"'


def by_function(key: Callable[[Any], object]) -> KeyOf:
    """The key that a function takes from the event."""
    return lambda event: text(key(event))


def by_field(event: str, model: type[BaseModel], name: str) -> KeyOf:
    """The key that stands in a field. Raises ConfigError for one that holds many values."""
    take = _taker(event, model, name) if complete(model) else None

    def key(found: Any) -> str:  # an event of a model that was not complete when it was registered
        return _taker(event, model, name)(found)

    return take or key


def text(value: object) -> str:
    """The text of one value as JSON has it; empty for None. Raises AppendRejected for what is not one value."""
    if type(value) in _AS_THEY_ARE:
        return str(value)
    json = to_json(value)
    if json == b"null":
        return ""
    if json[:1] == b'"':
        return str(from_json(json))
    if json[:1] in b"[{" or json in (b"NaN", b"Infinity", b"-Infinity"):
        raise AppendRejected(f"a key is one value, and {type(value).__name__} is not: {_FIX}")
    return json.decode()


def _taker(event: str, model: type[BaseModel], name: str) -> KeyOf:
    schema = Schema.of(model)
    *around, node = _down_to_the_model(schema)
    fields = schema.resolve(node["schema"]).get("fields", {})
    field: Node = fields.get(name, {"schema": {"type": "any"}})
    own = [*around, node, *nodes(field)]
    kind = _kind(schema, field["schema"])
    written_otherwise = any("serialization" in one for one in own) or any(
        option.startswith("ser_json") for option in config(node)
    )
    if written_otherwise or name not in fields:
        return lambda found: text(_standing(found, written_key(name, field, config(node)) if fields else None))
    if kind in _MANY:
        raise ConfigError(f"event {event}: its key is one value, and {model.__name__}.{name} is a {kind}", fix=_FIX)

    def take(found: Any) -> str:
        value = getattr(found, name)
        return value if type(value) is str else text(value)

    return take


def _standing(event: BaseModel, name: str | None) -> Any:
    """What the JSON of the event holds: under a name, or as a whole."""
    value = from_json(event.__pydantic_serializer__.to_json(event))
    return value if name is None else value[name]


def _down_to_the_model(schema: Schema) -> Iterator[Node]:
    node = schema.resolve(schema.root)
    while node["type"] != "model":
        yield node
        node = schema.resolve(node["schema"])
    yield node


def _kind(schema: Schema, node: Node) -> str:
    node = schema.resolve(node)
    return _kind(schema, node["schema"]) if node["type"] in ("default", "nullable") else node["type"]
