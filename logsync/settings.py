"""Settings from the environment and ``.env``; nothing else configures logsync globally."""

from __future__ import annotations

import difflib
import io
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from logsync import written
from logsync.core import secrets
from logsync.errors import ConfigError

log = logging.getLogger("logsync.settings")
_PREFIX = "LOGSYNC_"
_FILE = ".env"
_DAY = 86_400.0
_LIKE = 0.84
"""How much a name must look like one of ours to be taken for it; other programs have names of their own."""

_Address = Annotated[SecretStr, BeforeValidator(written.address)]


class Settings(BaseSettings):
    """Every setting is an environment variable ``LOGSYNC_<NAME>``; ``.env`` in the working directory is read too."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=_FILE,
        env_file_encoding="utf-8-sig",  # with the mark that Windows' editors put before the first line, or without
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    environment: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}$")] = "default"
    """Part of the consumer group's name and stored with the position: a clone cannot follow by mistake (P3)."""
    kafka: Annotated[str, AfterValidator(written.servers)] = "127.0.0.1:9092"
    """Kafka's bootstrap servers, host:port, several with commas."""
    kafka_options: Annotated[dict[str, SecretStr], NoDecode, BeforeValidator(written.options)] = {}
    """Any librdkafka key, as a JSON object; those that would break the promise are refused by name."""
    postgres: _Address = SecretStr("postgresql://127.0.0.1:5432/postgres")
    redis: _Address = SecretStr("redis://127.0.0.1:6379/0")
    opensearch: _Address = SecretStr("http://127.0.0.1:9200")
    accept_finite_retention: Annotated[frozenset[str], NoDecode, BeforeValidator(written.topics)] = frozenset()
    """Topics, by name, whose old events may vanish: a rebuild of a store can then not be complete (L5)."""
    append_timeout: Annotated[float, Field(gt=0, le=_DAY)] = 5.0
    """Seconds that ``Producer.append`` may take, fit for a web request (A3)."""
    batch_records: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    """The most records of one plan: poll takes what is there, up to this (F2)."""
    store_timeout: Annotated[float, Field(gt=0, le=120)] = 30.0
    """Seconds that one call to a store may take."""
    drain_timeout: Annotated[float, Field(gt=0, le=_DAY)] = 25.0
    """Seconds from SIGTERM to the end of the process, whatever a store or Kafka does."""
    membership: Literal["auto", "stay", "leave", "dynamic"] = "auto"
    """What a worker is to its consumer group, and what becomes of its place when it is stopped (F3)."""

    def address(self, kind: str) -> str:
        """The address of the server for this kind of store, secrets and all."""
        addresses = {"postgres": self.postgres, "redis": self.redis, "opensearch": self.opensearch}
        return addresses[kind].get_secret_value()

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        return written.plain(value)

    @model_validator(mode="after")
    def _keep_secrets(self) -> Settings:
        """Whatever says something from here on says it without these."""
        for address in (self.postgres, self.redis, self.opensearch):
            secrets.keep(secrets.of_address(address.get_secret_value()))
        options = self.kafka_options.items()
        secrets.keep(option.get_secret_value() for name, option in options if secrets.secret_name(name))
        return self


VARIABLES = frozenset(_PREFIX + name.upper() for name in Settings.model_fields)


def load_settings() -> Settings:
    """Read the settings. Raises ConfigError that names the variable, or ``.env``, never a value."""
    names = _names_in_file(Path(_FILE))
    _warn_of_others([*os.environ, *names])
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = _PREFIX + "_".join(map(str, first["loc"][:1])).upper()
        raise ConfigError(f"{name}: {first['msg']}", fix=f"correct {name} in the environment or in {_FILE}") from None
    except SettingsError:  # its message names the field; what it wraps may hold the value
        raise ConfigError(f"a variable {_PREFIX}... cannot be read", fix=f"correct it, or {_FILE}") from None


def _names_in_file(path: Path) -> list[str]:
    """The names that ``.env`` sets. Raises ConfigError where it, or a line that is meant for logsync, cannot be read:
    a worker would go on with a server on its own machine."""
    if path.is_fifo() or (path / "pyvenv.cfg").is_file():  # read once only; a virtual environment of this name
        return []
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        if path.is_symlink():
            raise _unreadable("the link leads nowhere") from None
        return []
    except UnicodeDecodeError:
        raise _unreadable("it is not UTF-8") from None
    except OSError as error:
        raise _unreadable(error.strerror or type(error).__name__) from None
    names = []
    for line in parse_stream(io.StringIO(text)):
        if _PREFIX in line.original.string.upper() and (line.error or (line.key and line.value is None)):
            raise _unreadable(
                f"line {line.original.line} sets nothing; expected NAME=value, with quotes that are closed"
            )
        names.append(line.key or "")
    return names


def _unreadable(why: str) -> ConfigError:
    return ConfigError(f"{Path(_FILE).absolute()} cannot be read: {why}", fix=f"correct {_FILE}, or take it away")


_warned: set[str] = set()


def _warn_of_others(names: Iterable[str]) -> None:
    """Warn, once, of a name that looks like one of ours and is none: what it sets would be ignored silently."""
    for name in {name.upper() for name in names} - VARIABLES - _warned:
        meant = _meant(name)
        if meant:
            _warned.add(name)
            log.warning("%s is no setting of logsync and changes nothing; did you mean %s?", name, meant)


def _meant(name: str) -> str | None:
    if not name.startswith(_PREFIX) or len(name) < len(_PREFIX) + 3:
        return None
    near = [known for known in sorted(VARIABLES) if name.startswith(known + "_") or known.startswith(name)]
    return next(iter([*near[-1:], *difflib.get_close_matches(name, VARIABLES, 1, _LIKE)]), None)
