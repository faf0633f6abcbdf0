"""One guard, and the tests that miss it."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

CORE = (
    "tests/unit/test_worker.py",
    "tests/unit/test_worker_resume.py",
    "tests/unit/test_worker_types.py",
    "tests/unit/test_parking.py",
    "tests/unit/test_parking_retries.py",
    "tests/unit",
    "tests/property",
    "tests/contract",
)


class Guard(NamedTuple):
    """``old`` stands exactly once in ``file``; with ``new`` in its place the guard is gone."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = CORE
    servers: str = ""
    """The stores that the tests need, as an expression for ``pytest -k``; empty: none."""


class Tests(TypedDict):
    """What fails without a guard of a store."""

    tests: tuple[str, ...]
    servers: str


SAID = ("tests/unit/test_no_secret_leaves.py", "tests/unit/test_secrets.py", "tests/unit/test_addresses.py")
MODELS = ("tests/unit/test_models.py",)
OUTBOX: Tests = {"tests": ("tests/integration/outbox/test_refusals.py",), "servers": "outbox"}
SQLITE: tuple[str, ...] = ("tests/contract/test_contract_sqlite.py",)
SIMULATED: tuple[str, ...] = ("tests/property/test_opensearch_parking.py",)


def contract(store: str) -> Tests:
    return {"tests": ("tests/contract", f"tests/integration/{store}"), "servers": f"{store} or not contract"}


def parking(store: str) -> Tests:
    return {**contract(store), "tests": (f"tests/integration/{store}/test_parking.py", *contract(store)["tests"])}


def postgres(module: str) -> Tests:
    return {"tests": (f"tests/integration/postgres/{module}.py",), "servers": "postgres or not contract"}
