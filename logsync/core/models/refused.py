"""Models that cannot be events whatever their values are: refused when they are registered.

Only what is sure: a field that its own JSON never gives back, and a check against the clock. Custom validators and
serializers may mend or break anything, so nothing is said about what stands under one; each event of such a model is
compared when it is appended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from logsync.core.models.schema import Node, Schema, config, is_fresh, nodes, read_keys, written_key
from logsync.errors import ConfigError

_SECRETS = (SecretStr, SecretBytes, Secret)
_NOT_JSON = {"is-instance": "an object", "is-subclass": "a class", "callable": "a function", "generator": "an iterator"}
_THROUGH = ("nullable", "default", "list", "set", "frozenset", "tuple", "dict", "function-after")
_ALIASES = "set serialize_by_alias=True in model_config to write the alias, or validate_by_name=True to read the name"


def refuse(event: str, model: type[BaseModel]) -> None:
    """Raises ConfigError if no ``model`` could be the event ``event``. ``model`` is complete."""
    _Look(event, model).at_all()


class _Look:
    def __init__(self, event: str, model: type[BaseModel]) -> None:
        self._event = event
        self._model = model
        self._schema = Schema.of(model)
        self._seen: set[type] = set()

    def at_all(self) -> None:
        for node in nodes(self._schema.root):
            if node.get("now_op"):
                raise self._refusal(
                    f"compares a {node['type']} with the clock, so the same record is an event today and none tomorrow",
                    f"use {node['type']} in the model, and check it before appending",
                )
            if node["type"] == "dataclass-field" and _makes_anew(node["schema"]):
                raise self._refusal(
                    f"the field {node['name']} of a dataclass has a default_factory that makes another value at each "
                    f"decoding of a record without it",
                    "make the dataclass a pydantic model, or the default a constant",
                )
        self._node(self._schema.root, self._model.__name__, {}, repairs=False)

    def _refusal(self, what: str, fix: str) -> ConfigError:
        return ConfigError(f"event {self._event}: {self._model.__name__} cannot be an event: {what}", fix=fix)

    def _node(self, node: Node, at: str, settings: Mapping[str, Any], *, repairs: bool) -> None:
        """``settings``: of the model that it belongs to. ``repairs``: a validator may give a lost value back."""
        node = self._schema.resolve(node)
        kind = node["type"]
        if kind in _NOT_JSON:
            raise self._refusal(f"{at} is {_NOT_JSON[kind]}, and no JSON gives it back", "use a type that is JSON")
        if any(_is_secret(below) for below in _python_side(node)) and not _by_user(node):
            raise self._refusal(
                f"{at} is secret: what is written is ****", "keep secrets out of the log, or encrypt them into a str"
            )
        if _by_user(node):
            return
        if kind == "json":
            raise self._refusal(f"{at} is written as its content and read from a string", "use the content's own type")
        if kind == "bytes" and settings.get("ser_json_bytes", "utf8") != settings.get("val_json_bytes", "utf8"):
            raise self._refusal(
                f"{at} is written by ser_json_bytes and read by another val_json_bytes",
                "set both to the same in model_config",
            )
        if kind == "model":
            self._a_model(node, repairs=repairs)
        elif kind == "lax-or-strict":
            self._node(node["lax_schema"], at, settings, repairs=repairs)
        elif kind == "json-or-python":
            self._node(node["json_schema"], at, settings, repairs=repairs)
        elif kind in _THROUGH:
            below = (node.get("schema"), node.get("items_schema"), node.get("values_schema"))
            for found in below:
                for one in found if isinstance(found, list) else (found,):
                    if one is not None:
                        self._node(one, at, settings, repairs=repairs or kind == "function-after")

    def _a_model(self, node: Node, *, repairs: bool) -> None:
        cls, settings = node["cls"], config(node)
        if cls in self._seen or node.get("custom_init"):  # its __init__ may rename what it gets
            return
        self._seen.add(cls)
        repairs = repairs or (bool(node.get("post_init")) and not _is_pydantic(cls.model_post_init))
        if not repairs:
            self._private(cls)
        fields = self._schema.resolve(node["schema"])
        while fields["type"] == "function-after":
            fields, repairs = self._schema.resolve(fields["schema"]), True
        if fields["type"] == "model-fields":
            self._fields(cls, fields, settings, repairs=repairs)
        elif node.get("root_model"):
            self._node(fields, cls.__name__, settings, repairs=repairs)

    def _private(self, cls: type[BaseModel]) -> None:
        for name, private in cls.__private_attributes__.items():
            if private.default_factory is not None and is_fresh(private.default_factory):
                raise self._refusal(
                    f"{cls.__name__}.{name} is not written, and its default_factory makes it anew at each decoding",
                    "make it a field, or its default a constant",
                )

    def _fields(self, cls: type, node: Node, settings: Mapping[str, Any], *, repairs: bool) -> None:
        fields = node["fields"]
        computed = [one.get("alias", one["property_name"]) for one in node.get("computed_fields") or ()]
        written = {written_key(name, field, settings) for name, field in fields.items()} | set(computed)
        read = {name: read_keys(name, field, settings) for name, field in fields.items()}
        for name, field in fields.items():
            at = f"{cls.__name__}.{name}"
            if read[name] & written:
                self._node(field["schema"], at, settings, repairs=repairs)
            elif not _comes_back_anyway(self._schema, field["schema"], repairs=repairs):
                key = written_key(name, field, settings)
                if key is None:
                    raise self._refusal(f"{at} is excluded from the JSON, so it is lost", "remove exclude=True")
                raise self._refusal(
                    f"{at} is written as {key!r} and read as {' or '.join(map(repr, sorted(read[name])))}",
                    _ALIASES if key == name else f"give it the alias {key!r} for reading, too: Field(alias={key!r})",
                )
        forbids = settings.get("extra_fields_behavior") == "forbid"
        strange = [key for key in computed if not any(key in keys for keys in read.values())]
        if forbids and strange:
            raise self._refusal(
                f"{cls.__name__} writes the computed field {strange[0]!r} and forbids it when it reads",
                "set extra='ignore' in model_config",
            )


def _comes_back_anyway(schema: Schema, node: Node, *, repairs: bool) -> bool:
    """True if the value of a field that is never read may be right all the same."""
    if node["type"] != "default":
        return False
    only = schema.resolve(node["schema"])
    return (
        repairs
        or bool(node.get("validate_default") or node.get("default_factory_takes_data"))
        or (only["type"] == "literal" and len(only["expected"]) == 1)
    )


def _makes_anew(node: Node) -> bool:
    factory = node.get("default_factory")
    return factory is not None and is_fresh(factory, takes_data=bool(node.get("default_factory_takes_data")))


def _by_user(node: Node) -> bool:
    """True if a function of the user's writes it."""
    serialization = node.get("serialization") or {}
    return bool(serialization) and not _is_pydantic(serialization.get("function"))


def _is_pydantic(function: object) -> bool:
    return getattr(function, "__module__", "").split(".")[0] == "pydantic"


def _python_side(node: Node) -> list[Node]:
    if node["type"] == "lax-or-strict":
        return _python_side(node["lax_schema"])
    return list(nodes(node["python_schema"])) if node["type"] == "json-or-python" else []


def _is_secret(node: Node) -> bool:
    return node["type"] == "is-instance" and isinstance(node["cls"], type) and issubclass(node["cls"], _SECRETS)
