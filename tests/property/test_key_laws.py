"""The laws of writes to Redis are what its commands do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given

from logsync.core.write import Write
from logsync.writes.content import Content
from tests.property.redis_model import Server, Wrong, plainly
from tests.property.redis_writes import HISTORY


def text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def shown(server: Server) -> dict[str, Any]:
    """What the model holds, as Content shows it."""
    kinds = {
        "string": lambda held: text(held[b""]),
        "hash": lambda held: {text(name): text(value) for name, value in held.items()},
        "set": lambda held: {text(name) for name in held},
        "zset": lambda held: {text(name): int(value) for name, value in held.items()},
    }
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    values = {key.decode(): kinds[kind](held) for key, (kind, held) in server.values.items()}
    ends = {key.decode(): epoch + timedelta(milliseconds=at) for key, at in server.expiries.items()}
    return {name: found for name, found in (("keys", values), ("expiries", ends)) if found}


@given(HISTORY)
def test_the_laws_of_keys_are_what_the_commands_do(writes: list[Write]) -> None:
    server, content = Server(), Content()
    for write in writes:
        before = Server({key: (kind, {**held}) for key, (kind, held) in server.values.items()}, {**server.expiries})
        try:
            for command in plainly(write):
                server.run(*command[:2], *command[2])
        except Wrong:
            server, refused = before, True
        else:
            refused = False
        try:
            content.carry_out(write)
        except (TypeError, ValueError):
            assert refused, write
        else:
            assert not refused, write
        assert content.plain() == shown(server)
