from __future__ import annotations

from tests.integration.worker.conftest import case, make_case

__all__ = ["case", "make_case"]
