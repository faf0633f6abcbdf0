"""Fixtures that every suite shares: the real servers that a test asks for, and names that nobody else uses."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from logsync.core import secrets
from logsync.settings import Settings
from tests.servers import Asked, Servers, asked

# No test asserts a time: a busy machine is not a fault of the code.
hypothesis.settings.register_profile("busy", deadline=None)
hypothesis.settings.load_profile("busy")
HERE = Path(__file__).parent
INTEGRATION = HERE / "integration"
LONGEST = (
    "integration/kafka/test_cluster.py",
    "faults/test_faults.py",
    "acceptance/test_demo.py",
    "integration/worker/test_parking.py",
    "integration/kafka/test_unclean.py",
    "integration/sources/test_debezium.py",
    "integration/worker/test_weathers_log.py",
    "integration/reading/test_states.py",
    "contract/test_contract_opensearch.py",
    "integration/reading/test_webservers.py",
    "integration/cli/test_position.py",
    "integration/cli/test_commands.py",
    "integration/cli/test_bad_input.py",
    "integration/worker/test_kill.py",
    "integration/test_devstack.py",
    "integration/kafka/test_long_find.py",
    "integration/kafka/test_unreadable.py",
    "integration/worker/test_weathers_store.py",
    "integration/redis/test_error_table.py",
    "integration/cli/test_rebuild_trial.py",
    "acceptance/test_shop.py",
)
"""Files that take longest. They are begun first: several processes share the files, and the last one to end is waited
for. pytest-xdist's own order, by the number of tests, begins them last (the Makefile turns it off)."""
# Several processes of one run (pytest-xdist) have servers of their own: some tests kill theirs.
STACK = "-".join(filter(None, (os.environ.get("LOGSYNC_TEST_STACK", "tests"), os.environ.get("PYTEST_XDIST_WORKER"))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs servers is marked so; `make check` runs the rest. The longest files come first."""
    first = {HERE / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))
    for item in items:
        uses = {"stack", "servers"} & set(getattr(item, "fixturenames", ()))
        if (uses or INTEGRATION in item.path.parents) and item.get_closest_marker("servers") is None:
            item.add_marker(pytest.mark.servers(*asked(item)))


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The real servers of this run; ``servers.get("kafka")`` starts what does not run yet.

    A server that does not start fails the test; nothing is skipped. LOGSYNC_KEEP_STACK=1 leaves them
    running afterwards, which makes the next run start faster.
    """
    servers = Servers(STACK)
    yield servers
    if os.environ.get("LOGSYNC_KEEP_STACK") != "1":
        servers.down()


@pytest.fixture
def stack(servers: Servers, request: pytest.FixtureRequest) -> Asked:
    """The servers that this test asks for, running: see ``tests/servers.py``. It may kill and pause them."""
    return servers.get(*asked(request.node))


@pytest.fixture
def env(stack: Asked, unique: str) -> dict[str, str]:
    """The environment of a worker process of this test alone: its own consumer groups."""
    return {**stack.addresses(), "LOGSYNC_ENVIRONMENT": unique}


@pytest.fixture
def settings(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in [name for name in os.environ if name.startswith("LOGSYNC_")]:
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return Settings(_env_file=None)


@pytest.fixture(autouse=True)
def _no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process once knows to be secret it hides from then on; a word of one test is none in the next."""
    monkeypatch.setattr(secrets._KNOWN, "_forms", frozenset())
    monkeypatch.setattr(secrets._KNOWN, "_lowered", ())
    monkeypatch.setattr(secrets._KNOWN, "_pattern", None)


@pytest.fixture(autouse=True)
def logger_as_it_was() -> Iterator[None]:
    """A command of the test may have set up logsync's log lines for its own process: the next test has its own."""
    logger = logging.getLogger("logsync")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def unique() -> str:
    """A name that no other test uses: for topics, tables, prefixes, indices and environments."""
    return "t" + uuid.uuid4().hex[:10]
