"""The store of examples/store_sqlite keeps the contract; its tests stand beside it."""

import pytest

from examples.store_sqlite.test_store import *  # noqa: F403 - every test of it

pytestmark = pytest.mark.processes
