"""What one test of the suite leaves on a server must not fill it: OpenSearch takes 1,000 shards and no more."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from logsync.settings import Settings


@pytest.fixture(autouse=True)
def no_indices_left(request: pytest.FixtureRequest, unique: str) -> Iterator[None]:
    if "opensearch" not in request.node.name:
        yield
        return
    settings: Settings = request.getfixturevalue("settings")
    yield
    url = settings.opensearch.get_secret_value()
    for name in httpx.get(f"{url}/{unique}-*").raise_for_status().json():
        httpx.delete(f"{url}/{name}").raise_for_status()
