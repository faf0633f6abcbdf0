"""A model as pydantic has compiled it: its core schema, a tree of dicts, and how the files beside this one read it.

https://docs.pydantic.dev/latest/internals/architecture/ describes the form. What is not known here is never taken
for harmless: a kind of node or a key that a later pydantic adds makes a model unproven, and an unproven model is
compared event by event.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple, get_origin

from pydantic import BaseModel

Node = Mapping[str, Any]

# They hold values of the user, which may look like nodes.
_VALUES = frozenset({"default", "metadata", "expected", "members"})
_CONSTANT = frozenset(
    {list, dict, set, frozenset, tuple, str, int, float, bool, bytes, complex}
    | {Decimal, timedelta, deque, OrderedDict, Counter}
)


class Schema(NamedTuple):
    """The core schema of one model, with what its references name."""

    root: Node
    definitions: Mapping[str, Node]

    @classmethod
    def of(cls, model: type[BaseModel]) -> Schema:
        """``model`` must be complete: all that its annotations name is defined."""
        root: Node = model.__pydantic_core_schema__
        found = {node["ref"]: node for node in nodes(root) if "ref" in node}
        return cls(root, found)

    def resolve(self, node: Node) -> Node:
        """``node`` itself, or what it refers to."""
        while node["type"] in ("definitions", "definition-ref"):
            node = node["schema"] if node["type"] == "definitions" else self.definitions[node["schema_ref"]]
        return node


def complete(model: type[BaseModel]) -> bool:
    """True if all that the model's annotations name is defined by now."""
    if not model.__pydantic_complete__:
        model.model_rebuild(raise_errors=False)
    return bool(model.__pydantic_complete__)


def nodes(value: Any) -> Iterator[Node]:
    """All nodes below ``value``, itself among them. References are not followed."""
    if isinstance(value, Mapping):
        # Without a type of its own it holds nodes by name: the fields of a model, the choices of a tagged union.
        is_node = isinstance(value.get("type"), str)
        if is_node:
            yield value
        for name, below in value.items():
            if not is_node or name not in _VALUES:
                yield from nodes(below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from nodes(below)


def config(node: Node) -> Mapping[str, Any]:
    """The configuration of a model's node."""
    return node.get("config") or {}


def read_keys(name: str, field: Node, settings: Mapping[str, Any]) -> set[str]:
    """The keys of a JSON object under which a field is looked for; of a path, its first step."""
    alias = field.get("validation_alias")
    by_name = settings.get("validate_by_name", settings.get("populate_by_name", False))
    keys = {name} if alias is None or by_name else set[str]()
    if alias is None or not settings.get("validate_by_alias", True):
        return keys
    # One name, one path (a list of steps), or several paths.
    paths = [[alias]] if isinstance(alias, str) else alias if isinstance(alias[0], list) else [alias]
    return keys | {str(path[0]) for path in paths}


def written_key(name: str, field: Node, settings: Mapping[str, Any]) -> str | None:
    """The key of a JSON object under which a field is written; None if it is not."""
    if field.get("serialization_exclude"):
        return None
    alias = field.get("serialization_alias")
    return alias if alias is not None and settings.get("serialize_by_alias", False) else name


def is_fresh(factory: Callable[..., object], *, takes_data: bool = False) -> bool:
    """True if two calls of a default_factory may give two values; one that takes the data is believed. # I5"""
    if takes_data or (get_origin(factory) or factory) in _CONSTANT:
        return False
    if isinstance(factory, type) and issubclass(factory, BaseModel):
        fields = factory.model_fields.values()
        return factory.__pydantic_post_init__ is not None or any(
            field.default_factory is not None
            and is_fresh(field.default_factory, takes_data=bool(field.default_factory_takes_validated_data))
            for field in fields
        )
    if isinstance(factory, type) and is_dataclass(factory):
        return hasattr(factory, "__post_init__") or any(
            callable(field.default_factory) and is_fresh(field.default_factory)
            for field in factory.__dataclass_fields__.values()
        )
    return True
