"""Quix Streams with its own sink for the store.

A sink gets a batch at each checkpoint. By default that is every five seconds; here it is every 5,000 events, as for
everybody, or half a second. Quix's sinks write what an event says and cannot add, so there are no counters here. Its
Redis sink writes a JSON string per key and no hash. Its Elasticsearch sink does not start: Elastic's client asks the
server who it is and refuses OpenSearch (UnsupportedProductError).
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from quixstreams import Application

from benchmarks.peers.writes import KAFKA, RUN, SESSION_MS, STORE, TOPIC


def sink() -> Any:
    place = urlsplit(os.environ[f"LOGSYNC_{STORE.upper()}"])
    if STORE == "postgres":
        from quixstreams.sinks.community.postgresql import PostgreSQLSink

        return PostgreSQLSink(
            host=place.hostname, port=place.port, dbname=place.path[1:], user=place.username, password="",
            table_name=f"{RUN}_orders", primary_key_columns="order_id", upsert_on_primary_key=True,
            include_metadata=False, schema_auto_update=False,
        )  # fmt: skip
    from quixstreams.sinks.community.redis import RedisSink

    return RedisSink(host=place.hostname, port=place.port, db=0, key_serializer=lambda key, _: f"{RUN}:order:{key}")


app = Application(
    broker_address=KAFKA,
    consumer_group=RUN,
    auto_offset_reset="earliest",
    commit_every=5000,
    commit_interval=0.5,
    auto_create_topics=False,
    loglevel="WARNING",
    consumer_extra_config={"session.timeout.ms": SESSION_MS, "fetch.queue.backoff.ms": 5},
)
app.dataframe(app.topic(TOPIC, key_deserializer="str", value_deserializer="json")).sink(sink())
app.run()
