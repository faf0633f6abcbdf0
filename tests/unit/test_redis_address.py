"""Every part of a Redis URL is taken so that the promise holds, or refused by the variable's name."""

from __future__ import annotations

import math
import ssl
from pathlib import Path
from typing import Any

import pytest

from logsync.errors import ConfigError
from logsync.stores.redis.address import DECIDED, parse
from logsync.stores.redis.client import RedisClient

HERE = {"host": "h", "port": 6379}


@pytest.mark.parametrize(
    ("url", "kind", "options", "timeout"),
    [
        ("redis://h", "tcp", HERE, math.inf),
        (" REDIS://h:1/ \n", "tcp", {"host": "h", "port": 1}, math.inf),
        ("redis:///3", "tcp", {"host": "localhost", "port": 6379, "db": 3}, math.inf),
        ("valkey://h/0", "tcp", {**HERE, "db": 0}, math.inf),
        ("redis://[::1]:7/2?db=2", "tcp", {"host": "::1", "port": 7, "db": 2}, math.inf),
        ("redis://u%40x:p%2Fw%3F@h", "tcp", {**HERE, "username": "u@x", "password": "p/w?"}, math.inf),
        ("redis://u:p@w@h", "tcp", {**HERE, "username": "u", "password": "p@w"}, math.inf),
        ("redis://h?username=u&password=p&client_name=shop", "tcp",
         {**HERE, "username": "u", "password": "p", "client_name": "shop"}, math.inf),
        ("redis://h?socket_timeout=2.5&socket_connect_timeout=9&timeout=4", "tcp", HERE, 2.5),
        ("redis://h?socket_keepalive=True", "tcp", {**HERE, "socket_keepalive": True}, math.inf),
        ("redis://h?decode_responses=True&protocol=3&max_connections=10&retry_on_timeout=1&health_check_interval=30",
         "tcp", HERE, math.inf),
        ("unix:///tmp/r%20s.sock?db=4", "unix", {"path": "/tmp/r s.sock", "db": 4}, math.inf),
        ("unix://u:p@/r", "unix", {"path": "/r", "username": "u", "password": "p"}, math.inf),
    ],
)  # fmt: skip
def test_an_address_is_taken_apart(url: str, kind: str, options: dict[str, Any], timeout: float) -> None:
    found = parse(url)
    assert (found.kind, found.options, found.timeout) == (kind, options, timeout)
    RedisClient(url, 10.0)  # and redis-py takes it


@pytest.mark.parametrize("scheme", ["rediss://h?", "valkeys://h?", "redis://h?ssl=true&"])
def test_tls_verifies_certificate_and_name_unless_the_url_says_otherwise(scheme: str) -> None:
    found = parse(f"{scheme}ssl_min_version=TLSv1_2")
    assert found.kind == "tls"
    assert found.options["ssl_cert_reqs"] == "required"
    assert found.options["ssl_check_hostname"] is True
    assert found.options["ssl_min_version"] is ssl.TLSVersion.TLSv1_2
    loose = parse(f"{scheme}ssl_cert_reqs=none&ssl_check_hostname=yes")
    assert (loose.options["ssl_cert_reqs"], loose.options["ssl_check_hostname"]) == ("none", False)
    RedisClient(f"{scheme}ssl_cert_reqs=optional&ssl_ciphers=HIGH", 10.0)


SECRET = "s3cr3t"
BAD = [
    "", "localhost:6379", f"u:{SECRET}@h", f"http://u:{SECRET}@h", f"redis://u:{SECRET}", f"redis://u:1/{SECRET}@h",
    f"redis://u:1?{SECRET}@h", f"redis://u:1?a={SECRET}@h", f"redis://u:1#{SECRET}@h", f"redis://h#{SECRET}",
    f"redis://h?{SECRET}", f"redis://h?{SECRET}=1", f"redis://h/{SECRET}", "redis://h/0/1", "redis://h/-1",
    "redis://h/0?db=1", f"redis://h?db={SECRET}", "redis://h?db=-1", "redis://h?db=0&db=0", "redis://h:0", "redis://h:99999",
    "redis://a:1,b:2", "redis://[::1", f"redis+sentinel://:{SECRET}@a:1/mymaster", f"redis+cluster://:{SECRET}@a:1",
    "redis+srv://h", "redis://h?socket_timeout=0", "redis://h?socket_timeout=-1", "redis://h?socket_timeout=nan",
    "redis://h?socket_timeout=inf", f"redis://h?socket_timeout={SECRET}", "redis://h?timeout=", "redis://h?socket_keepalive=maybe",
    "redis://h?client_name=a%20b", "redis://h?client_name=", "redis://h?host=other", "redis://h?path=/x", "redis://h?port=1",
    "redis://h?ssl_cert_reqs=required", "redis://h?ssl_ca_certs=/x", "rediss://h?ssl=false", f"rediss://h?ssl_cert_reqs={SECRET}",
    "rediss://h?ssl_ca_certs=/no/such/file", "rediss://h?ssl_ca_path=", "rediss://h?ssl_certfile=/no/such", "rediss://h?ssl_keyfile=/no",
    "rediss://h?ssl_min_version=TLSv1", "rediss://h?ssl_ciphers=none-such", "rediss://h?ssl_validate_ocsp=true",
    "unix://relative/path", "unix://h/path", "unix://", "redis://h?credential_provider=x", "redis://h?connection_class=x",
    f"rediss://h?ssl_password={SECRET}&ssl_certfile=/no/such", "redis://h?DB=1", "redis://h?socket_timout=1",
]  # fmt: skip


@pytest.mark.parametrize("url", BAD)
def test_what_cannot_be_taken_is_refused_by_name_and_shows_nothing_of_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisClient(url, 10.0)
    assert "LOGSYNC_REDIS" in str(caught.value)
    assert caught.value.fix
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None  # nor in a traceback


@pytest.mark.parametrize(
    ("written", "meant"), [("socket_timout", "socket_timeout"), ("max_conections", "max_connections")]
)
def test_an_option_that_is_nearly_one_is_named(written: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"{meant} is an option"):
        parse(f"redis://h?{written}=1")


def test_a_url_of_the_sink_s_own_is_named_as_such() -> None:
    with pytest.raises(ConfigError, match="the url of Redis"):
        RedisClient("redis://h/x", 10.0, "the url of Redis(...), given for LOGSYNC_REDIS")


def test_where_shows_host_and_port_and_nothing_else() -> None:
    assert parse(f"redis://u:{SECRET}@h:1/2?client_name=x").where == "redis at h:1"
    assert parse(f"unix://u:{SECRET}@/run/r").where == "redis at /run/r"


def test_a_file_that_is_no_certificate_is_found_before_the_first_connect(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("nothing of the kind")
    with pytest.raises(ConfigError, match="ssl_ca_certs"):
        parse(f"rediss://h?ssl_ca_certs={wrong}")


def test_no_option_of_a_url_changes_what_logsync_decides() -> None:
    url = "redis://h?" + "&".join(f"{name}=1" for name in sorted(DECIDED))
    assert parse(url).options == HERE


def test_a_url_shortens_the_bound_of_a_call_and_never_stretches_it() -> None:
    assert RedisClient("redis://h?socket_timeout=2", 10.0)._timeout == 2.0
    assert RedisClient("redis://h?socket_timeout=600", 10.0)._timeout == 10.0
    assert RedisClient("redis://h", 10.0)._timeout == 10.0
