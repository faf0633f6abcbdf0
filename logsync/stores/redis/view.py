"""One look at a sink in Redis: a script that only reads, so it is of one moment, and a replica runs it, too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from logsync.core.view import NO_RETRIES, CommandLook, Place, Retried, Sight
from logsync.stores.redis.kept import Kept

if TYPE_CHECKING:
    from logsync.stores.redis.client import Script
    from logsync.stores.redis.connection import Connection


def command_look(kept: Kept, asked: Collection[Place], retried: Mapping[Place, Retried]) -> CommandLook:
    """See ``logsync.core.view.LooksInCommands``. The script goes along: an EVALSHA may fail, and a MULTI with it."""
    places = list(asked)
    script = files("logsync.stores.redis").joinpath("look.lua").read_text(encoding="utf-8")
    keys, args = ([word.decode() for word in words] for words in kept.look(places, retried))
    return CommandLook(
        ("EVAL_RO", script, str(len(keys)), *keys, *args), lambda answer: kept.sight(places, _undecoded(answer))
    )


def _undecoded(answer: Any) -> Any:
    """As it was on the wire: the app's client may decode what it reads."""
    if isinstance(answer, list | tuple):
        return [_undecoded(item) for item in answer]
    return answer.encode() if isinstance(answer, str) else answer


class RedisView:
    """See ``logsync.core.view.View``. What was evicted it does not see: workers halt at that. # R2"""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._here: Connection | None = None
        self._script: Script | None = None

    def look(self, asked: Collection[Place], retried: Mapping[Place, Retried] = NO_RETRIES) -> Sight:
        here = self._here = self._here or self._connect()
        if self._script is None:
            from logsync.stores.redis.client import Script

            self._script = Script("look.lua")
        places = list(asked)
        return here.sight(places, here.client.ask(self._script, *here.look(places, retried)))

    def close(self) -> None:
        here, self._here = self._here, None
        if here is not None:
            here.close()
