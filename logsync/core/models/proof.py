"""Which events need no look at their JSON: those whose values say that they come back as they are.

Comparing each event with what its JSON decodes into costs a decoding. For plain models it is not needed: pydantic
writes and reads a ``str`` as itself, an ``int``, a ``datetime`` of whole minutes from UTC, a list of such. What
can still be wrong is a value that validation never saw: assigned later, given to ``model_construct``, or put into a
list. So ``prove`` makes one question about the values, and an event for which the answer is yes is proven: no other
value of its model, validated or not, has the same JSON.

The question is source that is compiled once per model, a line or two per field, as ``dataclasses`` does it:

    if not (type(d['order_id']) is str): return False

Letting pydantic validate the values again takes twice as long, comparing eight times (measured for three fields: 0.12,
0.26 and 0.97 us).

Types are compared exactly, so that no subclass with a mind of its own passes. Every kind of node and every key of it
that is not named here makes the model unproven.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum, Flag
from math import isfinite
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from logsync.core.models.schema import Node, Schema, config, read_keys, written_key

_WHOLE = 10**18
"""Integers below it are read back by every parser of JSON; pydantic's refuses those of more than 4,300 digits."""
_MOST = 1_000
"""Names in one question: models in models, each several times, would make it grow without bound."""
_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_LENGTHS = {"min_length": ">=", "max_length": "<="}
_EVERYWHERE = {"type", "ref", "metadata"}
_DEFAULT = {"schema", "default", "default_factory", "default_factory_takes_data", "copy_default", "validate_default"}
_KEYS: dict[str, set[str]] = {
    "str": {"strict", *_LENGTHS},
    "bytes": {"strict", *_LENGTHS},
    "int": {"strict", *_BOUNDS},
    "float": {"strict", "allow_inf_nan", *_BOUNDS},
    "bool": {"strict"},
    "decimal": set(),
    "uuid": set(),
    "date": set(),
    "time": {"microseconds_precision"},
    "datetime": {"microseconds_precision", "tz_constraint"},
    "enum": {"cls", "members", "sub_type"},
    "literal": {"expected"},
    "nullable": {"schema"},
    "default": _DEFAULT,
    "list": {"items_schema", *_LENGTHS},
    "set": {"items_schema", *_LENGTHS},
    "frozenset": {"items_schema", *_LENGTHS},
    "tuple": {"items_schema", "variadic_item_index"},
    "dict": {"keys_schema", "values_schema", *_LENGTHS},
    "model": {"cls", "schema", "config", "custom_init", "root_model", "post_init", "frozen"},
    "model-fields": {"fields", "model_name", "computed_fields"},
    "model-field": {"schema", "frozen", "validation_alias", "serialization_alias"},
}
_CONFIG = {
    "title", "extra_fields_behavior", "from_attributes", "frozen", "hide_input_in_errors", "loc_by_alias",
    "revalidate_instances", "validate_default", "validation_error_cause", "cache_strings",
    "validate_by_alias", "validate_by_name", "populate_by_name", "serialize_by_alias",
}  # fmt: skip
_CONTAINERS = {"list", "set", "frozenset", "tuple", "dict"}
_EXACT = {"str": str, "bytes": bytes, "bool": bool, "uuid": UUID, "date": date}


def prove(model: type[BaseModel]) -> Callable[[BaseModel], bool] | None:
    """A function that says of an event of ``model`` that its JSON decodes into an equal one, and never says so wrongly.

    None if nothing about the values would prove it.
    """
    schema = Schema.of(model)
    source = _Source(schema)
    try:
        return source.question(schema.resolve(schema.root))
    except (_Unproven, SyntaxError):  # SyntaxError: loops in loops, deeper than Python goes
        return None


class _Unproven(Exception):
    """Nothing is known about a node that proves what it reads."""


class _Source:
    """A function in the making, line by line, and the values that it names."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._lines = ["def fits(event):", "    try:"]
        self._names: dict[str, Any] = {"whole_minutes": _whole_minutes, "isfinite": isfinite}
        self._open: set[type] = set()
        self._count = 0

    def question(self, node: Node) -> Callable[[BaseModel], bool]:
        """Raises _Unproven."""
        self._model(node, "event", 2)
        # A KeyError: of a field that the event was made without.
        self._lines += ["        return True", "    except KeyError:", "        return False"]
        exec("\n".join(self._lines), self._names)  # names of fields stand in it as literals, nothing else of the user's
        found: Callable[[BaseModel], bool] = self._names["fits"]
        return found

    def _write(self, depth: int, line: str) -> None:
        self._lines.append("    " * depth + line)

    def _unless(self, depth: int, condition: str) -> None:
        self._write(depth, f"if not ({condition}): return False")

    def _model(self, node: Node, event: str, depth: int) -> None:
        """Ask about the fields of ``event``, an expression whose class is asked already."""
        cls: type[BaseModel] = node.get("cls", BaseModel)
        _only_known(node, "model")
        settings = config(node)
        plain = (
            not (node.get("custom_init") or node.get("root_model") or node.get("post_init"))
            and settings.keys() <= _CONFIG
            and settings.get("extra_fields_behavior", "ignore") in ("ignore", "forbid")
            and cls.__eq__ is BaseModel.__eq__
            and not cls.__private_attributes__
            and cls not in self._open  # a model that contains itself may be deeper than a parser goes
        )
        fields = self._schema.resolve(node["schema"])
        _only_known(fields, "model-fields")
        if not plain or fields.get("computed_fields"):
            raise _Unproven
        _each_reads_what_it_wrote(fields["fields"], settings)
        self._open.add(cls)
        values = self._named("d", None)
        self._write(depth, f"{values} = {event}.__dict__")
        for name, field in fields["fields"].items():
            _only_known(field, "model-field")
            self._ask(field["schema"], f"{values}[{name!r}]", depth)
        self._open.discard(cls)

    def _ask(self, node: Node, value: str, depth: int) -> None:
        """Ask whether ``value``, an expression, comes back as it is."""
        node = self._schema.resolve(node)
        kind = node["type"]
        _only_known(node, kind)
        if kind in _EXACT and not node.keys() - _EVERYWHERE - {"strict"}:
            self._unless(depth, f"type({value}) is {self._named('T', _EXACT[kind])}")
        elif kind == "default":
            self._ask(node["schema"], value, depth)
        else:
            found = self._named("v", None)
            self._write(depth, f"{found} = {value}")
            if kind == "nullable":
                self._write(depth, f"if {found} is not None:")
                self._ask(node["schema"], found, depth + 1)
            elif kind == "model":
                self._unless(depth, f"type({found}) is {self._named('T', node['cls'])}")
                self._model(node, found, depth)
            elif scalar := self._scalar(kind, node, found):
                self._unless(depth, f"type({found}) is {scalar}")
            else:
                self._container(kind, node, found, depth)

    def _scalar(self, kind: str, node: Node, v: str) -> str:
        """What must follow ``type(v) is``; empty for what is no scalar."""
        if kind in ("str", "bytes"):
            return self._named("T", _EXACT[kind]) + self._limits(node, f"len({v})", _LENGTHS)
        if kind == "int":
            return f"int and {-_WHOLE} < {v} < {_WHOLE}" + self._limits(node, v, _BOUNDS)
        if kind == "float":
            return f"float and isfinite({v})" + self._limits(node, v, _BOUNDS)
        if kind == "decimal":
            return f"{self._named('T', Decimal)} and {v}.is_finite()"
        if kind == "time":
            return f"{self._named('T', time)} and {v}.tzinfo is None"
        if kind == "datetime":
            zone, utc, asked = self._named("v", None), self._named("T", UTC), node.get("tz_constraint")
            if asked not in (None, "aware", "naive"):
                raise _Unproven
            known = f"({zone} := {v}.tzinfo) is {utc}"
            zones = {
                "aware": f"{known} or whole_minutes({v})",
                "naive": f"{v}.tzinfo is None",
                None: f"{known} or {zone} is None or whole_minutes({v})",
            }
            return f"{self._named('T', datetime)} and ({zones[asked]})"
        if kind == "enum":
            return self._named("T", _plain_enum(node["cls"]))
        if kind == "literal":
            expected = frozenset(node["expected"])
            types = {type(one) for one in expected}
            if types not in ({str}, {int}):
                raise _Unproven
            return f"{types.pop().__name__} and {v} in {self._named('T', expected)}"
        return ""

    def _container(self, kind: str, node: Node, v: str, depth: int) -> None:
        if kind not in _CONTAINERS:
            raise _Unproven
        self._unless(depth, f"type({v}) is {kind}" + self._limits(node, f"len({v})", _LENGTHS))
        if kind == "dict":
            keys = self._schema.resolve(node.get("keys_schema") or {"type": "any"})
            if keys["type"] != "str":  # others are written as text and read as what they may be
                raise _Unproven
            self._each(keys, v, depth)
            self._each(node.get("values_schema"), f"{v}.values()", depth)
        elif kind == "tuple" and node.get("variadic_item_index") is None:
            items = node["items_schema"]
            self._unless(depth, f"len({v}) == {len(items)}")
            for at, item in enumerate(items):
                self._ask(item, f"{v}[{at}]", depth)
        elif kind == "tuple":
            self._each(node["items_schema"][0] if len(node["items_schema"]) == 1 else None, v, depth)
        else:
            self._each(node.get("items_schema"), v, depth)

    def _each(self, node: Node | None, values: str, depth: int) -> None:
        if node is None:
            raise _Unproven
        one = self._named("v", None)
        self._write(depth, f"for {one} in {values}:")
        self._ask(node, one, depth + 1)

    def _limits(self, node: Node, number: str, signs: Mapping[str, str]) -> str:
        limits = {name: node[name] for name in signs if node.get(name) is not None}
        if not all(type(limit) in (int, float) and isfinite(limit) for limit in limits.values()):
            raise _Unproven
        return "".join(f" and {number} {signs[name]} {limit!r}" for name, limit in limits.items())

    def _named(self, prefix: str, value: Any) -> str:
        """A new name, for ``value`` if it is one."""
        self._count += 1
        if self._count > _MOST:
            raise _Unproven
        name = f"{prefix}{self._count}"
        if value is not None:
            self._names[name] = value
        return name


def _only_known(node: Node, kind: str) -> None:
    if node["type"] != kind or not node.keys() <= _KEYS.get(kind, set()) | _EVERYWHERE or kind not in _KEYS:
        raise _Unproven


def _each_reads_what_it_wrote(fields: Mapping[str, Node], settings: Mapping[str, Any]) -> None:
    read = set[str]()
    for name, field in fields.items():
        keys = read_keys(name, field, settings)
        paths = not isinstance(field.get("validation_alias", ""), str)
        if paths or keys & read or written_key(name, field, settings) not in keys:
            raise _Unproven
        read |= keys


def _plain_enum(cls: type[Enum]) -> type[Enum]:
    """``cls``, if JSON holds the value of each member as itself, and reading finds the member by it."""
    types = {type(member.value) for member in cls}
    plain = (
        types in ({str}, {int})
        and not issubclass(cls, Flag)  # its members may be added up to what is no member
        and cls._missing_.__func__ is Enum._missing_.__func__  # type: ignore[attr-defined]
        and all(abs(member.value) < _WHOLE for member in cls if isinstance(member.value, int))
    )
    if not plain:
        raise _Unproven
    return cls


def _whole_minutes(value: datetime) -> bool:
    """True if JSON, which writes an offset as +01:00, holds the one that ``value`` has from UTC."""
    offset = value.utcoffset()
    return offset is not None and not offset.seconds % 60 and not offset.microseconds
