"""An address is read in one way by everybody, or refused without a word of it being shown."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from logsync.core.addresses import read
from logsync.errors import ConfigError

TORN = ("a@b", "a/b", "a?b", "a#b", "a:b", "a%40b", "12/34", "/b", "b@", "a[b", "a]b", "a\tb", "12?x=y", "/12?a=@")
PASSWORDS = st.sampled_from(TORN) | st.text("ab1%40@/:?#[]&=, \t\\+'\"ä", max_size=8)


def taken(url: str, scheme: str, *, by_libpq: bool = False) -> bool:
    try:
        read(url, schemes=(scheme,), expected="an address", fix="set IT", by_libpq=by_libpq)
    except ConfigError as error:
        return "hunter2" in str(error)  # shown: not refused as it should be
    return True


@given(PASSWORDS)
def test_libpq_reads_what_is_taken_as_it_was_meant(password: str) -> None:
    url = f"postgresql://us:hunter2{password}@db.test:5432/shop"
    if taken(url, "postgresql", by_libpq=True):
        try:
            found = conninfo_to_dict(url)
        except Exception:  # noqa: BLE001 - libpq refuses it as a whole: a % that encodes nothing
            return
        assert (found["user"], found["host"], found["port"], found["dbname"]) == ("us", "db.test", "5432", "shop")


@given(PASSWORDS)
def test_the_client_of_opensearch_reads_what_is_taken_as_it_was_meant(password: str) -> None:
    url = f"https://us:hunter2{password}@db.test:9200"
    if taken(url, "https"):
        found = urlsplit(url)
        assert (found.username, found.hostname, found.port, found.path) == ("us", "db.test", 9200, "")
        assert found.password == "hunter2" + password


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:5432/postgres",
        "postgresql:///shop?host=/var/run/postgresql&user=bob@example",
        "postgresql://us:pa%40ss@a:1,b:2/shop?sslmode=verify-full&password=pa@ss",
        "postgresql://us:pa?s#s:s@%2Fvar%2Frun/shop",
        "postgresql://[::1]:5432/shop",
        "postgresql://",
    ],
)
def test_every_form_that_libpq_documents_is_taken(url: str) -> None:
    conninfo_to_dict(url)
    assert taken(url, "postgresql", by_libpq=True)


@pytest.mark.parametrize(
    "url", ["", "redis", "db.test:6379", "http://db.test", "redis:/db.test", "REDIS//x", "redis://a:b"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    assert not taken(url, "https")
