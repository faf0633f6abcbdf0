"""What doctor finds in OpenSearch: each finding is provoked, and nothing else is found with it."""

from __future__ import annotations

import json
from typing import Any
from urllib.request import Request, urlopen

import pytest

from ..conftest import Deploy, Shell, Topic
from .clinic import FRAIL, Clinic, doctor

pytestmark = pytest.mark.servers("kafka", "postgres", "opensearch")


def test_several_partitions_for_a_store_that_takes_one(search: Clinic, shell: Shell, deploy: Deploy) -> None:
    wide = Topic(shell.env["LOGSYNC_KAFKA"], deploy.topic + "wide", partitions=2).create()
    shell.env["LOGSYNC_ENVIRONMENT"] += "wide"
    deploy(topic=wide.name)
    found = doctor(shell, "search")
    assert found["topic.partitions"]["severity"] == "error"
    assert "use a topic with 1 partition" in found["topic.partitions"]["fix"]


def put(shell: Shell, path: str, body: dict[str, Any]) -> None:
    url = f"{shell.env['LOGSYNC_OPENSEARCH']}/{path}"
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(url, json.dumps(body).encode(), headers, method="PUT"), timeout=30):
        pass


LOOSE = [
    ("index.translog.durability", "async", "request", "opensearch.durability", "error"),
    ("index.refresh_interval", "-1", "1s", "opensearch.refresh_interval", "warning"),
]


def test_an_index_that_loses_or_hides(search: Clinic, unique: str) -> None:
    path = f"{unique}--e1/_settings"
    for setting, value, sound, check, severity in LOOSE:
        put(search.shell, path, {setting: value})
        search.finds(check, severity, "curl -X PUT", path, setting)
        put(search.shell, path, {setting: sound})
    search.is_well()


def test_replicas_that_are_missing_are_told_from_those_that_nobody_asked_for(search: Clinic, unique: str) -> None:
    assert "has no replica" in doctor(search.shell, "search")["opensearch.number_of_replicas"]["found"]
    put(search.shell, f"{unique}--e1/_settings", {"index.number_of_replicas": 1})
    assert "replicas are missing" in doctor(search.shell, "search")["opensearch.number_of_replicas"]["found"]


def test_indices_that_make_themselves(search: Clinic) -> None:
    try:
        put(search.shell, "_cluster/settings", {"persistent": {"action.auto_create_index": "true"}})
        search.finds("opensearch.auto_create_index", "warning", "_cluster/settings")
    finally:
        put(search.shell, "_cluster/settings", {"persistent": {"action.auto_create_index": None}})
    search.is_well()


def test_a_name_that_leads_to_the_index_of_somebody_else(search: Clinic, unique: str) -> None:
    put(search.shell, unique + "foreign", {"aliases": {unique: {}}})
    search.finds("opensearch.names", "error", f"{unique}foreign", "another index name")


def test_an_index_that_was_deleted(search: Clinic, unique: str) -> None:
    with urlopen(Request(f"{search.shell.env['LOGSYNC_OPENSEARCH']}/{unique}--e1", method="DELETE"), timeout=30):
        pass
    found = doctor(search.shell, "search")
    assert set(found) == FRAIL | {"opensearch.index", "sink.position"}
    assert "logsync rebuild" in found["opensearch.index"]["fix"]
