"""Has a sink applied my event, asked of Redis in a MULTI of the app's own, beside the values that it reads."""

from __future__ import annotations

from typing import Any

from logsync.core.sink import Sink
from logsync.core.view import LooksInCommands
from logsync.errors import ConfigError
from logsync.reading import judging
from logsync.reading.brief import own_environment
from logsync.reading.judging import Receipts, asked_for, to_ask
from logsync.reading.seen import Seen


class RedisQuestion:
    """One command, for whichever client the app has, and what its answer says. May be asked more than once."""

    def __init__(self, receipts: Receipts, sink: Sink, environment: str | None) -> None:
        if not isinstance(sink.store, LooksInCommands):
            raise ConfigError(
                f"sink {sink.name} fills a store of kind {sink.store.kind}, which takes no such commands",
                fix="ask with Views, or on a connection to Postgres with seen_on",
            )
        self._sink, self._environment = sink, environment or own_environment()
        self._receipts, self._answer = to_ask(receipts, sink)
        self._look = sink.store.command_look(sink.name, *asked_for(self._receipts))

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the command: it only reads, so a replica takes it, too."""
        return self._look.words

    def seen(self, answer: Any) -> Seen:
        """What the answer to ``command`` says; it may have been decoded or not.

        Raises ConfigError for what a person has to mend, and LogIdentityError for a receipt of a topic of the same name
        that was deleted.
        """
        sight = self._look.sight(answer)
        return self._answer or judging.answer(self._receipts, self._sink, self._environment, sight)


def redis_question(receipts: Receipts, sink: Sink, *, environment: str | None = None) -> RedisQuestion:
    """Ask in the MULTI in which the app reads values of ``sink``: then the answer is about these very values.

    ``receipts``: what ``append`` returned, or several; the answer is about the event that is furthest from APPLIED.
    ``environment`` None: that of the settings, read once per process. Raises ConfigError for receipts of another topic.
    """
    return RedisQuestion(receipts, sink, environment)
