"""What can be known of a handler before it runs: mistakes that would refuse every event, found at registration. Pure.

A handler is any callable that takes one event. What it returns is known for certain only when it runs; its annotations
and its code tell enough to find what people do get wrong.
"""

from __future__ import annotations

import dis
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, TypeVar

from pydantic import BaseModel

from logsync.core.event import Event
from logsync.core.raised import place
from logsync.core.write import Write
from logsync.errors import ConfigError

_CALLS = frozenset({"CALL", "CALL_KW", "CALL_FUNCTION_EX"})
_NAMES = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
Place = tuple[int, int]
"""Line and column in a source file."""


def check_handler(handler: object, models: Sequence[type[BaseModel]]) -> frozenset[type[Write]]:
    """The write classes that a handler of ``models`` names, in its annotation or its code; it may make others.

    Raises ConfigError for one that could work for no event.
    """
    who = named(handler)
    function = _function(handler)
    if isinstance(function, type) or not callable(handler):
        what = f"the class {who}" if isinstance(function, type) else f"a {who}"
        raise ConfigError(f"expected a function as the handler of {_names(models)}, found {what}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(
            f"the handler {who} is `async def`: a handler is a function of its event and waits for nothing",
            fix="write it with `def`: what it would wait for may differ the next time that the event is applied",
        )
    signature = _signature(handler)
    if signature is not None:
        _check_parameters(who, signature)
        parameter = next(iter(signature.parameters.values()))
        _check_event(who, parameter.name, _resolved(parameter.annotation, function), models)
    declared = frozenset(_writes_in(_resolved(signature.return_annotation, function))) if signature else frozenset()
    code = getattr(function, "__code__", None)
    if code is None:
        return declared
    made = _made(function, code)
    _check_return(who, code, made)
    return declared | frozenset(made.values())


def name(handler: object) -> str:
    """What the handler is called in its source."""
    shown = _function(handler) if isinstance(handler, functools.partial) else handler
    return str(getattr(shown, "__qualname__", None) or type(handler).__qualname__)


def named(handler: object) -> str:
    """The handler for messages: its name, and the file and line in which it is written."""
    code = getattr(_function(handler), "__code__", None)
    return f"{name(handler)} ({place(code.co_filename, code.co_firstlineno)})" if code else name(handler)


def _names(models: Sequence[type[BaseModel]]) -> str:
    return " and ".join(model.__name__ for model in models)


def _function(handler: object) -> Any:
    """The function below methods, partials and objects with ``__call__``. Decorators that wrap stay what they are."""
    while True:
        if isinstance(handler, functools.partial):
            handler = handler.func
        elif isinstance(handler, types.MethodType | staticmethod | classmethod):
            handler = handler.__func__
        elif isinstance(handler, types.FunctionType | type | types.BuiltinFunctionType) or not callable(handler):
            return handler
        else:
            call = type(handler).__call__
            if not isinstance(call, types.FunctionType):
                return handler
            handler = call


def _signature(handler: Callable[..., Any]) -> inspect.Signature | None:
    """None where it cannot be had. A decorator's own, not that of the function that it wraps."""
    try:
        return inspect.signature(handler, follow_wrapped=False)
    except (TypeError, ValueError):
        return None


def _resolved(annotation: object, function: Any) -> object:
    """What an annotation means; ``Any`` if it is a name that only type checkers know."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, getattr(inspect.unwrap(function), "__globals__", {}))
    except Exception:  # noqa: BLE001 - it can be any expression
        return Any


def _check_parameters(who: str, signature: inspect.Signature) -> None:
    try:
        signature.bind(None)
    except TypeError as error:
        method = next(iter(signature.parameters), "") in ("self", "cls")
        raise ConfigError(
            f"the handler {who} cannot be called with one event: {error}",
            fix="register a bound method: sink.on(Model)(thing.method)"
            if method
            else "a handler takes the event and nothing else; give it more by functools.partial",
        ) from None


def _check_event(who: str, parameter: str, annotation: object, models: Sequence[type[BaseModel]]) -> None:
    """Is it annotated as a handler of another type than those that it is registered for?"""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        raise ConfigError(
            f"the handler {who} takes a {annotation.__name__}: a handler gets the Event, and that is its data",
            fix=f"write `{parameter}: Event[{annotation.__name__}]`, and `{parameter}.data` for the model",
        )
    kinds = [kind for each in _alternatives(annotation) for kind in _alternatives(_data(each))]
    for model in models:
        if not any(_takes(kind, model) for kind in kinds):
            written = " | ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
            raise ConfigError(
                f"the handler {who} is registered for {model.__name__} and written for {written}",
                fix=f"annotate it as Event[{model.__name__}], or register it for the other type",
            )


def _alternatives(annotation: object) -> tuple[object, ...]:
    """The members of a union, or the annotation alone."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _data(annotation: object) -> object:
    """What an ``Event[...]`` carries; ``Any`` for other annotations, and for an ``Event`` that does not say."""
    if typing.get_origin(annotation) is not Event:
        return Any
    (data,) = typing.get_args(annotation)
    return data


def _takes(kind: object, model: type[BaseModel]) -> bool:
    if isinstance(kind, TypeVar):
        kind = kind.__bound__
    if kind is Any or not isinstance(kind, type):  # or what is not known here
        return True
    return issubclass(model, kind)


def _writes_in(annotation: object) -> Iterator[type[Write]]:
    """The write classes that an annotation names, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, Write) and annotation is not Write:
        yield annotation
    for each in typing.get_args(annotation):
        yield from _writes_in(each)


def _made(function: Any, code: types.CodeType) -> dict[Place, type[Write]]:
    """The write classes that the code calls by name, each with the place of the call."""
    scope = {**getattr(function, "__globals__", {}), **_closed_over(function)}
    named: dict[Place, type[Write]] = {}
    called: set[Place] = set()
    for each in _codes(code):
        module: types.ModuleType | None = None
        for step, at in _placed(each):
            value: object = None
            if step.opname in _NAMES:
                value = scope.get(step.argval)
            elif step.opname in _ATTRIBUTES and module is not None:
                value = getattr(module, step.argval, None)
            elif step.opname in _CALLS:
                called.add(at)
            module = value if isinstance(value, types.ModuleType) else None
            if isinstance(value, type) and issubclass(value, Write):
                named[at] = value
    return {at: kind for at, kind in named.items() if at in called}


def _closed_over(function: Any) -> dict[str, object]:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    filled = {}
    for free, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        with suppress(ValueError):  # not assigned yet
            filled[free] = cell.cell_contents
    return filled


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code, and that of the functions and comprehensions in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _codes(each)


def _placed(code: types.CodeType) -> Iterator[tuple[dis.Instruction, Place]]:
    """The instructions that know where in the source they begin: a call begins where the name that it calls does."""
    for step in dis.get_instructions(code):
        line, column = (step.positions.lineno, step.positions.col_offset) if step.positions else (None, None)
        if line is not None and column is not None:
            yield step, (line, column)


def _check_return(who: str, code: types.CodeType, made: Mapping[Place, type[Write]]) -> None:
    """Does it keep its writes to itself?"""
    nothing = _returns_nothing(code)
    if code.co_flags & inspect.CO_GENERATOR:
        if not nothing:
            raise ConfigError(
                f"the handler {who} yields writes and returns a value as well, which is lost",
                fix="`yield` or `yield from` what it returns",
            )
    elif made and nothing:
        classes = ", ".join(sorted({kind.__name__ for kind in made.values()}))
        raise ConfigError(
            f"the handler {who} makes writes ({classes}) and returns none of them",
            fix="return the write, or a list of them, or `yield` each",
        )
    for each in _codes(code):
        for (step, at), (following, _) in pairwise(_placed(each)):
            if step.opname in _CALLS and following.opname == "POP_TOP" and at in made:
                raise ConfigError(
                    f"the handler {who} makes a write in line {at[0]}, {made[at].__name__}, and drops it",
                    fix="return it, or `yield` it",
                )


def _returns_nothing(code: types.CodeType) -> bool:
    """True if every way out of the function returns the constant None."""
    before: dis.Instruction | None = None
    for step in dis.get_instructions(code):
        if step.opname == "RETURN_CONST" and step.argval is not None:
            return False
        if step.opname == "RETURN_VALUE":
            constant = before is not None and before.opname == "LOAD_CONST" and before.argval is None
            if not constant or step.is_jump_target:
                return False
        before = step
    return True
