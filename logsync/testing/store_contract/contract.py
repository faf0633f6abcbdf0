"""All claims together."""

from __future__ import annotations

import pytest

from logsync.testing.store_contract.applying import Applying
from logsync.testing.store_contract.books import Books
from logsync.testing.store_contract.durability import Durability
from logsync.testing.store_contract.laws import Laws
from logsync.testing.store_contract.parking import Parking
from logsync.testing.store_contract.report import register
from logsync.testing.store_contract.viewing import Viewing


class StoreContract(Applying, Books, Parking, Viewing, Laws, Durability):
    """Subclass it as ``TestMyStore``, give what ``Given`` asks for, and run pytest: see the package's docstring."""

    @pytest.fixture(autouse=True)
    def _not_proven_is_shown(self, request: pytest.FixtureRequest) -> None:
        register(request.config)
