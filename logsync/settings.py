"""Settings from the environment and ``.env``; nothing else configures logsync globally."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from logsync.errors import ConfigError


class Settings(BaseSettings):
    """Every setting is an environment variable ``LOGSYNC_<NAME>``; ``.env`` in the working directory is read too."""

    model_config = SettingsConfigDict(
        env_prefix="LOGSYNC_", env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    environment: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}$")] = "default"
    """Part of the consumer group's name and stored with the position: a clone cannot follow by mistake (P3)."""
    kafka: str = "127.0.0.1:9092"
    """Kafka's bootstrap servers, host:port, several with commas."""
    kafka_options: dict[str, SecretStr] = {}
    """Any librdkafka key, as a JSON object; those that would break the promise are refused by name."""
    postgres: SecretStr = SecretStr("postgresql://127.0.0.1:5432/postgres")
    redis: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    opensearch: SecretStr = SecretStr("http://127.0.0.1:9200")
    accept_finite_retention: frozenset[str] = frozenset()
    """Topics, by name, whose old events may vanish: a rebuild of a store can then not be complete (L5)."""
    append_timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds that ``Producer.append`` may take, fit for a web request (A3)."""
    batch_records: Annotated[int, Field(ge=1, le=100_000)] = 5_000
    """The most records of one plan: poll takes what is there, up to this (F2)."""
    store_timeout: Annotated[float, Field(gt=0, le=120)] = 30.0
    """Seconds that one call to a store may take."""
    drain_timeout: Annotated[float, Field(gt=0)] = 25.0
    """Seconds from SIGTERM to the end of the process, whatever a store or Kafka does."""

    def address(self, kind: str) -> str:
        """The address of the server for this kind of store, secrets and all."""
        addresses = {"postgres": self.postgres, "redis": self.redis, "opensearch": self.opensearch}
        return addresses[kind].get_secret_value()


def load_settings() -> Settings:
    """Read the settings. Raises ConfigError that names the variable, never its value."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = "LOGSYNC_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"{name}: {first['msg']}", fix="correct it in the environment or in .env") from None
