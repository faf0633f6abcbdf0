"""The hooks of the contract kit for a server of the devstack: it is killed, hangs and comes back."""

from __future__ import annotations

from typing import ClassVar

import pytest

from logsync.settings import Settings
from logsync.testing.store_contract import StoreContract
from tests.servers import Asked


class OnStack(StoreContract):
    must_prove = True
    server: ClassVar[str]
    """Its name in the stack."""

    @pytest.fixture(autouse=True)
    def _stack(self, stack: Asked, settings: Settings) -> None:
        self.stack, self.real = stack, settings
        self.paused = False

    def settings(self) -> Settings:
        return self.real

    @property
    def address(self) -> str:
        return self.real.address(self.server)

    def pause(self) -> None:
        self.paused = True
        self.stack.pause(self.server)

    def kill(self) -> None:
        self.stack.kill(self.server)

    def restart(self) -> None:
        if self.paused:
            self.paused = False
            self.stack.resume(self.server)
        else:
            self.stack.start(self.server)
