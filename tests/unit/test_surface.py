"""The public surface: what is promised can be imported, and nothing else is re-exported by accident."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

MODULES = (
    "logsync",
    "logsync.outbox",
    "logsync.stores",
    "logsync.stores.postgres",
    "logsync.stores.redis",
    "logsync.stores.opensearch",
    "logsync.testing",
    "logsync.testing.store_contract",
    "logsync.writes.rows",
    "logsync.writes.keys",
    "logsync.writes.docs",
)


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


CLIENTS = {"postgres": "psycopg", "redis": "redis", "opensearch": "opensearchpy"}


@pytest.mark.parametrize(
    ("store", "made"),
    [
        ("postgres", "Postgres(tables=['a'])"),
        ("redis", "Redis(prefix='a:')"),
        ("opensearch", "OpenSearch(indices={'a': {}})"),
    ],
)
def test_a_worker_imports_no_client_but_that_of_its_own_store(store: str, made: str) -> None:
    """Up to the first connection, which fails here: port 9 answers nobody."""
    code = f"""
import sys, logsync
clients = set({list(CLIENTS.values())})
assert not (clients | {{"confluent_kafka"}}) & set(sys.modules), "import logsync"
import logsync.run
from logsync.errors import StoreError
from logsync.settings import Settings
from logsync.stores.{store} import *
there = {{"postgres": "postgresql://u@127.0.0.1:9/d", "redis": "redis://127.0.0.1:9", "opensearch": "http://127.0.0.1:9"}}
try:
    {made}.open("s", Settings(_env_file=None, **there))
except StoreError:
    print(sorted(clients & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == str([CLIENTS[store]])
