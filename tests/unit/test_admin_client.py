"""An administrator's client outlives its questions: freed by its own thread, it would end the process."""

import gc
import time
import weakref

import pytest

from logsync.errors import LogUnavailable
from logsync.log.admin import Kafka
from logsync.settings import Settings

NOBODY = Settings(kafka="127.0.0.1:1")


def test_a_client_is_kept_until_its_questions_are_answered_and_no_longer() -> None:
    kafka = Kafka(NOBODY)
    client = weakref.ref(kafka._admin)
    answer = kafka._ask("", kafka._admin.describe_cluster, 0.5)
    del kafka
    gc.collect()
    assert client() is not None
    while not answer.done():
        time.sleep(0.05)
    other = Kafka(NOBODY)
    other._ask("", other._admin.describe_cluster, 0.1)  # the next question, of any client, lets go
    gc.collect()
    assert client() is None


def test_a_cluster_that_does_not_answer_is_asked_nothing_that_could_end_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be answered when it goes on: by a broker that is fenced for a moment, which librdkafka does not bear."""
    kafka = Kafka(NOBODY, timeout=1)
    asked: list[object] = []
    monkeypatch.setattr(kafka, "_ask", lambda *question: asked.append(question))
    with pytest.raises(LogUnavailable):
        kafka.identify("t")
    assert not asked
