"""The public surface: what is promised can be imported, and nothing else is re-exported by accident."""

from __future__ import annotations

import importlib
import inspect

import pytest

MODULES = ("logsync", "logsync.stores.postgres", "logsync.stores.redis", "logsync.stores.opensearch", "logsync.testing")


@pytest.mark.parametrize("name", MODULES)
def test_every_promised_name_is_there_and_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for public in module.__all__:
        assert inspect.getdoc(getattr(module, public)), f"{name}.{public} has no docstring"


@pytest.mark.parametrize("name", MODULES)
def test_no_public_class_or_function_is_left_out(name: str) -> None:
    module = importlib.import_module(name)
    here = {
        found
        for found, value in vars(module).items()
        if not found.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
    }
    assert here <= set(module.__all__)
