"""Fixtures that every suite shares: one stack of real servers per test run, and names nobody else uses."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import Stack
from logsync.settings import Settings

INTEGRATION = Path(__file__).parent / "integration"
# Several processes of one run (pytest-xdist) have servers of their own: some tests kill theirs.
STACK = "-".join(filter(None, (os.environ.get("LOGSYNC_TEST_STACK", "tests"), os.environ.get("PYTEST_XDIST_WORKER"))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs servers is marked so; `make check` runs the rest."""
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()) or INTEGRATION in item.path.parents:
            item.add_marker("servers")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The four real servers, started by the first test that asks for them.

    A server that does not start fails the test; nothing is skipped. LOGSYNC_KEEP_STACK=1 leaves them
    running afterwards, which makes the next run start faster.
    """
    stack = Stack(STACK)
    stack.up()
    yield stack
    if os.environ.get("LOGSYNC_KEEP_STACK") != "1":
        stack.down()


@pytest.fixture
def env(stack: Stack, unique: str) -> dict[str, str]:
    """The environment of a worker process of this test alone: its own consumer groups."""
    return {**stack.env(), "LOGSYNC_ENVIRONMENT": unique}


@pytest.fixture
def settings(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith("LOGSYNC_")]:
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


@pytest.fixture
def unique() -> str:
    """A name that no other test uses: for topics, tables, prefixes, indices and environments."""
    return "t" + uuid.uuid4().hex[:10]
