"""What a worker shows of itself: log lines, health for an orchestrator, metrics for Prometheus."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from logsync.errors import ConfigError
from logsync.report import Report, State

STALE = 30.0
"""Seconds without progress, while behind the log's end, after which a worker is not ready."""
_PLAIN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _PLAIN}


class _Human(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        text = f"{moment} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def log_to_stderr(form: Literal["human", "json"]) -> None:
    """Send logsync's log lines to standard error, one line an entry. For the command line; a library user has
    logging set up already."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Human())
    root = logging.getLogger("logsync")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False


def alive(report: Report, now: float, bound: float) -> tuple[bool, str]:
    """Liveness: the loop still turns. A worker that waits for its store is alive; restarting it mends nothing."""
    still = now - report.turned_at
    return still <= bound, f"the loop turned {still:.1f} s ago"


def ready(report: Report, now: float) -> tuple[bool, str]:
    """Readiness: progress against the log's end as the broker tells it, not the worker's own opinion."""
    if report.state is State.STANDBY:
        return True, "no partition is assigned: other workers of the sink hold them all"
    if report.state is not State.RUNNING:
        return False, f"{report.state.value}: {report.reason}"
    if report.positions and now - report.looked_at > STALE:
        return False, f"the log's end was last read {now - report.looked_at:.0f} s ago"
    if report.lag and now - report.moved_at > STALE:
        return False, f"{report.lag} offsets behind and no progress for {now - report.moved_at:.0f} s"
    return True, f"{report.lag} offsets behind the log's end"


def metrics(sink: str, report: Report, now: float) -> str:
    """The report in the Prometheus text format, version 0.0.4."""
    lines: list[str] = []

    def metric(name: str, kind: str, text: str, samples: list[tuple[str, float]]) -> None:
        lines.extend((f"# HELP logsync_{name} {text}", f"# TYPE logsync_{name} {kind}"))
        lines.extend(f'logsync_{name}{{sink="{sink}"{labels}}} {value:g}' for labels, value in samples)

    metric("applied_events_total", "counter", "Events that a handler saw.", [("", report.applied)])
    metric(
        "skipped_events_total",
        "counter",
        "Events passed over by a stated rule.",
        [(f',rule="{rule}"', count) for rule, count in sorted(report.skipped.items())],
    )
    metric("parked_events_total", "counter", "Events that were set aside.", [("", report.parked)])
    metric("drained_events_total", "counter", "Parked events that were applied later.", [("", report.drained)])
    metric("plans_total", "counter", "Plans applied to the store.", [("", report.batches)])
    metric("retries_total", "counter", "Times the worker began again from the store.", [("", report.retries)])
    metric("conflicts_total", "counter", "Positions found moved by somebody else.", [("", report.conflicts)])
    for name, values, text in (
        ("position", report.positions, "Next offset to read, as stored with the data."),
        ("log_end", report.ends, "The log's end, as read from the broker."),
        ("parked_events", report.waiting, "Events that are set aside now."),
    ):
        metric(name, "gauge", text, [(f',partition="{p}"', offset) for p, offset in sorted(values.items())])
    metric("lag", "gauge", "Offsets between the positions and the log's end.", [("", report.lag)])
    metric("ready", "gauge", "1 if the worker is ready.", [("", float(ready(report, now)[0]))])
    return "\n".join(lines) + "\n"


class Health:
    """Serves /live, /ready and /metrics on all interfaces while a worker runs."""

    def __init__(self, sink: str, report: Report, port: int, *, bound: float) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/live":
                    self._say(*alive(report, time.monotonic(), bound))
                elif self.path == "/ready":
                    self._say(*ready(report, time.monotonic()))
                elif self.path == "/metrics":
                    self._send(200, metrics(sink, report, time.monotonic()), "text/plain; version=0.0.4; charset=utf-8")
                else:
                    self._send(404, "use /live, /ready or /metrics\n")

            def _say(self, good: bool, why: str) -> None:
                self._send(200 if good else 503, f"{'ok' if good else 'not ok'}: {why}\n")

            def _send(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass  # a probe every second is not news

        try:
            self._server = ThreadingHTTPServer(("", port), Handler)
        except OSError as error:
            raise ConfigError(f"port {port} for --health cannot be used: {error}", fix="choose another port") from error
        self.port = int(self._server.server_address[1])

    def __enter__(self) -> Health:
        threading.Thread(target=self._server.serve_forever, name="logsync-health", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
