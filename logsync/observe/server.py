"""The small server that tells an orchestrator of a worker's health, and Prometheus of its metrics."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from logsync.errors import ConfigError
from logsync.observe.health import alive, ready
from logsync.observe.metrics import metrics
from logsync.worker_status import WorkerStatus


class Health:
    """Serves /live, /ready and /metrics on all interfaces while a worker runs."""

    def __init__(self, sink: str, report: WorkerStatus, port: int, *, bound: float) -> None:
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
