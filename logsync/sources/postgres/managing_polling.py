"""What people do to a polled outbox: the Manager of ``Polling``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from importlib import resources
from typing import TYPE_CHECKING

from logsync.errors import ConfigError
from logsync.outbox import DDL
from logsync.settings import Settings
from logsync.sources.contract import Ledger
from logsync.sources.managing import Look
from logsync.sources.postgres import ledger, polling, setup
from logsync.sources.postgres.database import Database
from logsync.sources.postgres.managing import see_outbox, see_row

if TYPE_CHECKING:
    from logsync.sources.postgres.polling import Polling


class PollingManager:
    """Each method connects and lets go again. See ``Manager``."""

    def __init__(self, origin: Polling) -> None:
        self._origin = origin

    def create(
        self,
        source: str,
        settings: Settings,
        *,
        failover: bool | None = None,
        anew: bool = False,  # noqa: ARG002
    ) -> list[str]:
        if failover:
            raise ConfigError(
                f"the source {source} polls an outbox: there is no slot that could follow to a standby",
                fix="create it without --failover: what a standby has of the outbox is relayed from there",
            )
        with self._connected(source, settings) as db:
            polling.create(db, source)
        return ["logsync.outbox, with what numbers its rows as they are seen"]

    def drop(self, source: str, settings: Settings) -> None:
        with self._connected(source, settings) as db:
            setup.drop(db, source)

    def look(self, source: str, settings: Settings) -> Look:
        look = Look()
        with self._connected(source, settings) as db:
            with db.call("look at the source") as link:
                row = ledger.find(link, source)
                look.held_by = polling.holder(link)
            if row is None or row.slot != polling.SLOT:
                look.error = ConfigError(
                    f"the source {source} was never created in this database, or for its write-ahead log",
                    fix="`logsync source create SOURCE`",
                )
                return look
            see_row(look, row)
            see_outbox(look, db)
        return look

    def skip(self, source: str, settings: Settings, at: str, reason: str) -> None:
        with self._connected(source, settings) as db:
            setup.skip(db, source, at, reason=reason)

    def adopt(self, source: str, settings: Settings, begins: Ledger, reason: str, known: Collection[str] = ()) -> None:
        with self._connected(source, settings) as db, db.transaction("adopt the database") as link:
            row = setup.created(link, source)
            entry = ledger.entry("adopt", reason=reason, topic=begins.log.topic, floor=begins.floor)
            ledger.write(link, source, row.slot, row.made, entry)
            ledger.replace(link, source, begins)
            link.ask("DELETE FROM logsync.outbox WHERE id = ANY(%s)", list(known))

    def seed(  # there is nothing to seed
        self,
        source: str,
        settings: Settings,  # noqa: ARG002
        tables: Sequence[str],  # noqa: ARG002
        *,
        chunk: int,  # noqa: ARG002
        told: Callable[[str, int], None],  # noqa: ARG002
    ) -> None:
        raise ConfigError(
            f"the source {source} polls an outbox, and knows no tables",
            fix="append what stands in a table by Producer.append_many(events, source=..., places=...)",
        )

    def ddl(self) -> str:
        return DDL + ledger.ddl() + resources.files("logsync.sources.postgres").joinpath("polling.sql").read_text()

    def _connected(self, source: str, settings: Settings) -> closing[Database]:
        return closing(self._origin.connect(source, settings))
