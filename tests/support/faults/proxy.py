"""A door to an S3 or MLflow server that breaks on purpose: a request that a rule matches meets the rule's fault.

Faults of HTTP, such as a reply that is lost after the request was executed, cannot be injected by proxies that know
TCP only.
"""

import http.client
import re
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Fault = Callable[["Request"], None]
NOT_ASKED = {"expect", "transfer-encoding", "content-length"}
NOT_PASSED_ON = {"connection", "content-length", "transfer-encoding"}


@dataclass(frozen=True)
class Rule:
    """Which requests meet a fault: `times` of those with `request`, a regular expression, in "METHOD /path?query"."""

    fault: Fault
    request: str = ""
    times: int = 1_000_000  # for ever
    skip: int = 0  # so many matching requests pass before


class Proxy(ThreadingHTTPServer):
    """Passes requests on to `upstream` unless a rule matches."""

    request_queue_size = 64

    def __init__(self, upstream: str, rules: Sequence[Rule]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.upstream, self.rules = urlsplit(upstream), [*rules]
        self.lock, self.closing, self.met = threading.Lock(), threading.Event(), 0
        self.matched = Counter[Rule]()

    def fault(self, line: str) -> Fault | None:
        """Return the fault that this request meets."""
        with self.lock:
            for rule in (rule for rule in self.rules if re.search(rule.request, line)):
                number = self.matched[rule]
                self.matched[rule] += 1
                if rule.skip <= number < rule.skip + rule.times:
                    self.met += 1
                    return rule.fault
        return None

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are what this is about."""


class Request(BaseHTTPRequestHandler):
    """One request, signed for this address: the upstream server sees the same Host header."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def handle_any(self) -> None:
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        self.body = self._chunks() if chunked else self.rfile.read(int(self.headers.get("Content-Length", 0)))
        (self.server.fault(f"{self.command} {self.path}") or pass_on)(self)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

    def _chunks(self) -> bytes:
        """Return a body of chunks, as requests sends an empty file."""
        blocks = []
        while size := int(self.rfile.readline(), 16):
            blocks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(blocks)

    def upstream_reply(self) -> tuple[int, dict[str, str], bytes, int]:
        """Return the server's status, headers, body and announced length."""
        connection = http.client.HTTPConnection(self.server.upstream.netloc, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_ASKED}
        connection.request(self.command, self.path, self.body, headers)
        reply = connection.getresponse()
        body = reply.read()
        length = int(reply.headers.get("Content-Length", len(body)))
        connection.close()
        return reply.status, dict(reply.headers), body, length

    def answer(self, status: int, headers: Mapping[str, str], body: bytes, length: int) -> None:
        """Send a reply whose body is announced with `length`."""
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def pass_on(request: Request) -> None:
    """Do what a proxy does."""
    request.answer(*request.upstream_reply())


@contextmanager
def proxy(upstream: str, rules: Sequence[Rule], tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, Proxy]]:
    """Serve on a free port, over HTTPS with `tls`; yields the endpoint and the proxy."""
    server = Proxy(upstream, rules)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}", server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
