"""A secret is hidden in every form and part in which a client may repeat it, and nothing else is."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logsync.core.addresses import read
from logsync.core.secrets import Secrets, of_address, secret_name
from logsync.errors import ConfigError

SEPARATORS = "@:/?#&=,; %[]()"


def hidden(address: str, text: str) -> str:
    secrets = Secrets()
    secrets.keep(of_address(address))
    return secrets.hide(text)


def test_a_password_that_looks_like_options_is_one() -> None:
    assert list(of_address("postgresql://us:hun?ter=2@db.test:1/x")) == ["hun?ter=2"]
    assert "a@b?c=hunter2" in list(of_address("postgresql://us:a@b?c=hunter2@db.test:1/x"))
    assert "a/b?c=hunter2" in list(of_address("postgresql://us:a/b?c=hunter2@db.test:1/x"))
    assert list(of_address("postgresql://db.test:1/x?user=me@here")) == [""]


@pytest.mark.parametrize("password", ["5432/s3cr3t", "5432/s3cr3t?sslmode=require", "5432?x=s3cr3t", "1/2?user=s3cr3t"])
@pytest.mark.parametrize("user", ["us", "us@realm", ""])
def test_a_password_that_looks_like_a_port_is_one(user: str, password: str) -> None:
    """Its beginning could be the port and the database of an address that names no user."""
    said = f"could not translate host name, port or option: {password}"
    assert "s3cr3t" not in hidden(f"postgresql://{user}:{password}@db.test:1/x", said)


@given(
    st.lists(st.sampled_from(["s3cr3t", "hunter2", "Passphrase9", "Xy%41z0", "543210"]), min_size=1, max_size=4),
    st.data(),
)
def test_no_part_of_a_password_is_shown_whatever_a_parser_makes_of_it(words: list[str], data: st.DataObject) -> None:
    password = words[0] + "".join(data.draw(st.sampled_from(SEPARATORS)) + word for word in words[1:])
    for scheme, raw in (("postgresql", password), ("redis", quote(password, safe="")), ("https", quote_plus(password))):
        address = f"{scheme}://us:{raw}@db.test:1/x"
        secrets = Secrets()
        secrets.keep(of_address(address))
        for cut in range(len(address)):
            for text in (address[:cut], address[cut:]):
                # A piece that a cut made shorter than a part is no part that a parser could find.
                shown = secrets.hide(text)
                assert not [word for word in words if word.lower() in shown.lower()]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://u:pa@s3cr3t@127.0.0.1:1/x", "failed to resolve host 's3cr3t@127.0.0.1'"),
        ("postgresql://u:12345/s3cr3t@h/x", "connection to h, port 12345, database s3cr3t@h"),
        ("redis://:pa/s3cr3t@h:1/0", "Port could not be cast to integer value as 'pa/s3cr3t'"),
        ("https://u:S3CR3T@h:1", "host s3cr3t"),
        ("host=h password=s3cr3t user=u", "s3cr3t"),
        ("host=h password='s3cr3t it is' user=u", "s3cr3t it is"),
        ("postgresql://h/x?user=u&password=s3cr3t", "s3cr3t"),
        ("redis://h/0?username=u&password=pa%40s3cr3t", "pa@s3cr3t and s3cr3t"),
        ("rediss://h/0?ssl_password=s3cr3t", "s3cr3t"),
        ("https://u:pw12@a:1,https://u:s3cr3t@b:1", "s3cr3t, pw12"),
    ],
)
def test_what_clients_say_of_an_address_shows_nothing_of_its_password(address: str, said: str) -> None:
    shown = hidden(address, said)
    assert "***" in shown
    for part in ("s3cr3t", "12345", "pw12"):
        assert part not in shown


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://postgres:postgres@127.0.0.1:5432/postgres",
        "postgresql://logsync@db.test:5432/shop?application_name=x@y",
        "redis://user:password@host:6379/0",
        "https://admin:admin@db.test:9200",
        "host=db.test port=5432 user=logsync",
    ],
)
def test_words_that_messages_are_made_of_stay(address: str) -> None:
    said = "cannot connect to Postgres at db.test:5432 as logsync: set LOGSYNC_POSTGRES=postgresql://user:password@host"
    assert hidden(address, said) == said


def test_a_short_password_is_hidden_where_it_stands_alone() -> None:
    assert hidden("redis://:abc@h", "user abc, abcdef, x_abc") == "user ***, abcdef, x_***"


def test_a_key_in_pem_form_is_hidden_and_its_armour_is_not() -> None:
    secrets = Secrets()
    secrets.keep(["-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n-----END PRIVATE KEY-----\n"])
    assert secrets.hide("BEGIN of the key: BgkqhkiG9w0B") == "BEGIN of the key: ***"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("sasl.password", True),
        ("ssl.key.password", True),
        ("ssl.key.pem", True),
        ("ssl.keystore.password", True),
        ("sasl.oauthbearer.client.secret", True),
        ("sasl.oauthbearer.assertion.private.key.passphrase", True),
        ("sasl.oauthbearer.token.endpoint.url", False),
        ("ssl.key.location", False),
        ("sasl.username", False),
        ("compression.type", False),
    ],
)
def test_an_option_is_secret_by_its_name(name: str, secret: bool) -> None:
    assert secret_name(name) is secret


@pytest.mark.parametrize("url", ["postgresql://u:12345/s3cr3t@h/x", "postgresql://h:5432/d@other:1/x"])
def test_a_password_with_a_raw_slash_is_not_read_as_a_port_and_a_database(url: str) -> None:
    """libpq ends the host at the first slash: it would connect to a host that is named after the user."""
    with pytest.raises(ConfigError, match="an address, found characters that can be read in two ways"):
        read(url, schemes=("postgresql",), expected="an address", fix="", by_libpq=True)
