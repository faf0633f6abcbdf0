"""The shop of examples/shop, started once for all tests that visit it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from devstack import NAMES
from tests.acceptance.shopfront import Shop, Visitor, open_shop
from tests.servers import Servers


@pytest.fixture(scope="package")
def shop(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(
        servers.get(*NAMES).env(), f"shop{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("shop") / "output"
    ) as shop:
        yield shop


@pytest.fixture
def visitor(shop: Shop) -> Visitor:
    return Visitor(shop.address)
