"""What can go wrong with a request to an S3 server, for tests.support.faults.proxy to inject."""

import socket
import struct

from tests.support.faults.proxy import Fault, Request, Rule

ABORT = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close() sends RST instead of FIN


def refuse(status: int, code: str) -> Fault:
    """Return a fault that answers with an S3 error; as with S3, the answer to a HEAD has no body."""
    body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
    return lambda request: request.answer(status, {"Content-Type": "application/xml"}, body, len(body))


def hang(request: Request) -> None:
    """Never answer."""
    request.server.closing.wait()
    request.close_connection = True


def short_body(request: Request) -> None:
    """Announce the whole body, send half of it and close."""
    status, headers, body, length = request.upstream_reply()
    request.answer(status, headers, body[: len(body) // 2], length)
    request.close_connection = True


def stalled_body(request: Request) -> None:
    """Announce the whole body, send half of it and then nothing more."""
    status, headers, body, length = request.upstream_reply()
    request.answer(status, headers, body[: len(body) // 2], length)
    hang(request)


def reset(request: Request) -> None:
    """Reset the connection without passing the request on."""
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    request.rfile.close()  # holds the socket open
    request.connection.close()
    request.close_connection = True


def lose_reply(request: Request) -> None:
    """Let the server execute the request, then reset the connection instead of answering."""
    request.upstream_reply()
    reset(request)


def leave(request: Request) -> None:
    """Stop listening for good, as a server that has been shut down."""
    request.server.shutdown()
    request.server.server_close()
    request.server.rules.append(Rule(reset))  # connections that are open already
    reset(request)
