"""A decoded event is a function of its record, also where the record lacks what the model has gained since. # I5

A field that was added with ``default_factory=uuid4`` would get another value at each decoding, in each store. So what
was decoded is looked at once more: a field that such a factory filled makes the record undecodable, and says so. It
costs nothing for models without such factories, and nothing is asked of new events: they hold the value that the
factory gave when they were made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from logsync.core.models.schema import Node, Schema, is_fresh, nodes

Decode = Callable[[bytes], BaseModel]


class MadeAnew(Exception):
    """A value of the event does not come from its record."""


def decoder(model: type[BaseModel]) -> Decode:
    """The function from JSON to an event of ``model``. Raises ValidationError, or MadeAnew. # T5"""
    decode: Decode = model.__pydantic_validator__.validate_json
    root = Schema.of(model).root
    models: dict[type[BaseModel], Node] = {node["cls"]: node for node in nodes(root) if node["type"] == "model"}
    fresh = {cls: names for cls in models if (names := _fresh_fields(cls))}
    if not fresh:
        return decode
    return lambda value: _from_the_record(decode(value), fresh)


def _fresh_fields(model: type[BaseModel]) -> frozenset[str]:
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if field.default_factory is not None
        and is_fresh(field.default_factory, takes_data=bool(field.default_factory_takes_validated_data))
    )


def _from_the_record(data: BaseModel, fresh: Mapping[type[BaseModel], frozenset[str]]) -> BaseModel:
    made = _made(data, fresh)
    if made is not None:
        raise MadeAnew(
            f"no {made}, whose default_factory makes another value at each decoding; give it a constant default, or a "
            f"factory that takes the validated data, or register the model under a new version"
        )
    return data


def _made(value: Any, fresh: Mapping[type[BaseModel], frozenset[str]]) -> str | None:
    """The first field in or below ``value`` that a factory filled."""
    below: Iterable[Any] = ()
    if isinstance(value, BaseModel):
        for name in sorted(fresh.get(type(value), frozenset()) - value.__pydantic_fields_set__):
            return f"{type(value).__name__}.{name}"
        below = (*value.__dict__.values(), *(value.__pydantic_extra__ or {}).values())
    elif isinstance(value, dict):
        below = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        below = value
    elif is_dataclass(value):
        below = (getattr(value, field.name, None) for field in fields(value))
    return next((made for one in below if (made := _made(one, fresh)) is not None), None)
