"""Models for tests of events: made for one field, or named."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    create_model,
)

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def made(annotation: Any, default: Any = ..., *, config: ConfigDict | None = None, **more: Any) -> type[BaseModel]:
    """A model with an id and one field."""
    return create_model("Made", __config__=config, id=(str, ...), x=(annotation, default), **more)


class Pet(BaseModel):
    name: str


class Color(str, Enum):  # noqa: UP042 - the older form, whose str() is not its value
    RED = "red"
