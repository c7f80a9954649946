"""What the node does at the moment: /health for a supervisor, /metrics for Prometheus, / for people. No names."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bisc.core.errors import InputError

Numbers = Callable[[], dict[str, float]]

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<meta name="viewport" content="width=device-width"><title>bisc_serve</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:32rem;padding:0 1rem}}
:root{{color-scheme:light dark}}
table{{border-collapse:collapse;width:100%}}td{{padding:.3rem 0;border-bottom:1px solid #8884}}
td:last-child{{text-align:right;font-variant-numeric:tabular-nums}}</style>
<h1>bisc_serve</h1><p>{state}. Research use, not a medical device.</p><table>{rows}</table></html>"""


def words(name: str, value: float) -> tuple[str, str]:
    """A metric as a person reads it."""
    told = name.removesuffix("_total").replace("_", " ")
    if name.endswith("_bytes"):
        return told.removesuffix(" bytes"), f"{value / 1e9:,.3f} GB"
    return told, f"{value:,.0f}"


class StatusServer:
    """Three pages on one port."""

    def __init__(self, host: str, port: int, numbers: Numbers, healthy: Callable[[], bool]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health":
                    fine = healthy()
                    self.answer(200 if fine else 503, "application/json", json.dumps({"healthy": fine}))
                elif self.path == "/metrics":
                    lines = (f"bisc_{name} {value:.15g}\n" for name, value in numbers().items())
                    self.answer(200, "text/plain; version=0.0.4", "".join(lines))
                elif self.path == "/":
                    rows = "".join("<tr><td>{}<td>{}".format(*words(*one)) for one in numbers().items())
                    state = "Running" if healthy() else "Not healthy"
                    self.answer(200, "text/html; charset=utf-8", PAGE.format(state=state, rows=rows))
                else:
                    self.answer(404, "text/plain", "/, /health or /metrics\n")

            def answer(self, status: int, kind: str, text: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        try:
            self.server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            found = f"cannot listen ({error.strerror or error})"
            raise InputError(f"{host}:{port}", found, "a free port", "change 'status_port'") from error
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, name="status", daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.server_address[1])

    def start(self) -> None:
        """In a thread of its own."""
        self.thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self.server.shutdown()
        self.server.server_close()
