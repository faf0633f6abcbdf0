"""What `logsync doctor` finds about a source's replication slot: what is kept for it, and how long it will be."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from logsync.core.inspection import Finding, Severity

if TYPE_CHECKING:
    from logsync.stores.postgres.link import Link

# What older servers do not have is NULL. standbys: who streams from this server and reads no logical slot.
_FACTS = """
SELECT s.wal_status, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::bigint,
       (SELECT CASE WHEN setting = '-1' THEN NULL ELSE setting::bigint * 1048576 END
        FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'),
       (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'idle_replication_slot_timeout'),
       (to_jsonb(s) ->> 'failover')::boolean,
       pg_catalog.current_setting('synchronized_standby_slots', true),
       (SELECT count(*) FROM pg_catalog.pg_stat_replication AS r
        WHERE state IN ('catchup', 'streaming') AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_replication_slots AS l WHERE l.active_pid = r.pid AND l.slot_type = 'logical'))
FROM pg_catalog.pg_replication_slots AS s WHERE s.slot_name = %s
"""
_AGAIN = "then `SELECT pg_reload_conf()`"


class Facts(NamedTuple):
    """A slot and the settings of its server."""

    wal_status: str | None
    retained: int | None
    """Bytes that are kept for it."""
    limit: int | None
    """Bytes after which it is cut off (``max_slot_wal_keep_size``); None: never."""
    idle: int | None
    """Seconds without a reader after which it is cut off (Postgres 18); 0: never."""
    failover: bool | None
    """Does it follow to standbys? None: the server knows nothing of that (before Postgres 17)."""
    waits_for: str | None
    """``synchronized_standby_slots``."""
    standbys: int
    """That stream from this server now."""


def facts(link: Link, slot: str) -> Facts | None:
    """Of this slot; None if there is none."""
    found = link.ask(_FACTS, slot).fetchone()
    return None if found is None else Facts(*found)


def judge(slot: str, seen: Facts) -> list[Finding]:
    """Findings about a slot that is there and not lost: one that is keeps a relay from running."""
    findings = []
    retained, limit = seen.retained or 0, seen.limit
    if seen.wal_status == "unreserved":
        findings.append(
            Finding(
                Severity.ERROR, "source.slot", f"the replication slot {slot} is about to be cut off: {retained:,} "
                f"bytes are kept for it, and max_slot_wal_keep_size is {limit or 0:,}",
                "what is not relayed by then is lost for the log", "run the relay, or raise max_slot_wal_keep_size now",
            )
        )  # fmt: skip
    elif limit is not None and retained > limit // 2:
        findings.append(
            Finding(
                Severity.WARNING, "source.slot", f"{retained:,} bytes are kept for the replication slot {slot}, and it "
                f"is cut off at {limit:,} (max_slot_wal_keep_size)",
                "what is not relayed by then is lost for the log", "run the relay, or raise the limit",
            )
        )  # fmt: skip
    else:
        bound = "without a limit" if limit is None else f"and {limit:,} at most"
        findings.append(
            Finding(
                Severity.NOTE, "source.slot", f"{retained:,} bytes are kept for the replication slot {slot}, {bound}"
            )
        )
    if seen.idle:
        findings.append(
            Finding(
                Severity.WARNING, "source.idle_timeout", f"a slot that nobody reads for {seen.idle:,} s is cut off",
                "an outage of the relay that is longer loses what was not relayed",
                f"`ALTER SYSTEM SET idle_replication_slot_timeout = 0`, {_AGAIN}",
            )
        )  # fmt: skip
    return findings + _of_standbys(slot, seen)


def _of_standbys(slot: str, seen: Facts) -> list[Finding]:
    if seen.failover is False and seen.standbys:
        return [
            Finding(
                Severity.WARNING, "source.failover", f"{seen.standbys} standbys stream from this server, and the slot "
                f"{slot} does not follow to them", "after a failover the relay halts, and what it has not relayed has "
                "to be brought by hand", "`logsync source create SOURCE --failover`; docs/operate-sources.md has more",
            )
        ]  # fmt: skip
    if seen.failover and not seen.waits_for:
        return [
            Finding(
                Severity.WARNING, "source.failover", "synchronized_standby_slots is empty",
                "the relay may be given what a standby does not have yet: after a failover the log has facts that the "
                "database has lost, and the relay halts",
                f"`ALTER SYSTEM SET synchronized_standby_slots = '...'` with the standby's own slot, {_AGAIN}",
            )
        ]  # fmt: skip
    return []
