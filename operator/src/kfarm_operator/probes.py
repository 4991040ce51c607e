"""``/healthz``, ``/readyz`` and ``/metrics`` over HTTP, from a thread of their own."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from kfarm_operator.health import Finding, report
from kfarm_operator.service import Service

METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; charset=utf-8"
CLIENT_TIMEOUT_S = 10.0
Answer = tuple[int, str, bytes]


def answer(service: Service, target: str) -> Answer:
    """Status, content type and body for a request."""
    split = urlsplit(target)
    verbose = "verbose" in parse_qs(split.query, keep_blank_values=True)
    if split.path == "/metrics":
        return 200, METRICS_TYPE, service.instruments.text()
    if split.path == "/healthz":
        return _probe("healthz", service.alive(), service.findings(), verbose=verbose)
    if split.path == "/readyz":
        return _probe("readyz", service.ready.is_set(), service.informed(), verbose=verbose)
    return 404, PLAIN, b"there are /healthz, /readyz and /metrics\n"


def _probe(name: str, good: bool, findings: list[Finding], *, verbose: bool) -> Answer:
    verdict = f"{name} check {'passed' if good else 'failed'}\n"
    text = report(findings) + verdict if verbose or not good else "ok\n"
    return (200 if good else 503), PLAIN, text.encode()


def serve(address: str, service: Service) -> ThreadingHTTPServer:
    """Serve on host:port; port 0 takes a free one."""
    split = urlsplit(f"//{address}")

    class Handler(BaseHTTPRequestHandler):
        """Answers a probe or a scrape; a client that says nothing is dropped."""

        timeout = CLIENT_TIMEOUT_S

        def do_GET(self) -> None:
            """Answer 200, 404 or 503."""
            status, kind, body = answer(service, self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not logged."""

    server = ThreadingHTTPServer((split.hostname or "127.0.0.1", split.port or 0), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server
