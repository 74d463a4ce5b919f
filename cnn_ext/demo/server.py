"""The server of the page: for this machine alone, and with a bound on all that a client may ask of it."""

from __future__ import annotations

import io
import json
import re
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from ..errors import CnnExtError
from .reading import BadDrawing, Reader

ADDRESS = "127.0.0.1"
MAX_BODY = 1 << 19
"""Bytes; a drawing of the page has at most 80,000."""
MAX_CONNECTIONS = 32
SECONDS = 10.0
"""In which a client must have sent its whole request, and then have taken the answer."""
LINGER_BYTES, LINGER_SECONDS = 1 << 20, 1.0
"""How much of a refused body is still taken, so that the client comes to read the refusal."""

PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refusal(Exception):
    """A request that is answered by an error's status and one line."""

    def __init__(self, status: HTTPStatus, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status: HTTPStatus = status
        self.headers: dict[str, str] = headers


class DemoServer(ThreadingHTTPServer):
    """The page and its answers on 127.0.0.1.

    Parameters
    ----------
    reader : Reader
    port : int
        0 for any that is free; `server_port` tells which.

    Raises
    ------
    OSError
        The port is taken, or not to be had.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = MAX_CONNECTIONS
    request_seconds = SECONDS

    def __init__(self, reader: Reader, port: int = 0) -> None:
        super().__init__((ADDRESS, port), Handler)
        self.reader = reader
        folder = files("cnn_ext.demo")
        self.pages: dict[str, tuple[bytes, str]] = {
            path: (folder.joinpath(name).read_bytes(), kind) for path, (name, kind) in PAGES.items()
        }
        names = [f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")]
        if self.server_port == 80:
            names += [ADDRESS, "localhost"]
        self.own_hosts: frozenset[str] = frozenset(names)
        self.own_origins: frozenset[str] = frozenset(f"http://{name}" for name in names)
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)

    @property
    def address(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client that went away is no news
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request, one answer, one connection."""

    server: DemoServer  # pyright: ignore[reportIncompatibleVariableOverride]
    rfile: io.BufferedIOBase

    def setup(self) -> None:
        super().setup()
        deadline = time.monotonic() + self.server.request_seconds
        self.rfile = io.BufferedReader(_UntilDeadline(self.connection, deadline))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # the base class looks for a method of each verb
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        """Answer the request whose head has been read."""
        self._body_is_read = self.headers.get("Content-Length", "0") == "0" and "Transfer-Encoding" not in self.headers
        try:
            status, headers = HTTPStatus.OK, {}
            content, kind = self._content()
        except Refusal as refusal:
            status, headers = refusal.status, refusal.headers
            content, kind = f"{refusal}\n".encode(), "text/plain; charset=utf-8"
        except TimeoutError:
            status, headers = HTTPStatus.REQUEST_TIMEOUT, {}
            content, kind = b"the request took too long\n", "text/plain; charset=utf-8"
        self.connection.settimeout(self.server.request_seconds)
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        if not self._body_is_read:
            self._linger()

    def _content(self) -> tuple[bytes, str]:
        """Return the answer to the request and its type."""
        self._check_sender()
        url = urlsplit(self.path)
        reader = self.server.reader
        if self.path in self.server.pages:
            self._check_method("GET", "HEAD")
            return self.server.pages[self.path]
        if self.path == "/api/about":
            self._check_method("GET", "HEAD")
            return _as_json(reader.about())
        if url.path == "/api/sample" and self.path.startswith("/api/sample"):
            self._check_method("GET", "HEAD")
            found = re.fullmatch(r"n=([0-9]{1,9})", url.query)
            if found is None or int(found[1]) >= reader.n_samples:
                raise Refusal(HTTPStatus.BAD_REQUEST, f"n=NUMBER wanted, from 0 to {reader.n_samples - 1}")
            return _as_json(reader.sample(int(found[1])))
        answers = {"/api/read": reader.read, "/api/explain": reader.explain}
        if self.path in answers:
            self._check_method("POST")
            try:
                return _as_json(answers[self.path](self._body()))
            except BadDrawing as error:
                raise Refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
            except CnnExtError as error:  # scores that are not finite, say
                raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"the network fails: {error}") from error
        raise Refusal(HTTPStatus.NOT_FOUND, "there is no such page")

    def _check_sender(self) -> None:
        """Refuse what pages of other origins send here, also under a name of theirs that leads to this machine."""
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.own_hosts:
            raise Refusal(HTTPStatus.FORBIDDEN, "the Host must be the address that the demo printed")
        if any(origin.lower() not in self.server.own_origins for origin in origins):
            raise Refusal(HTTPStatus.FORBIDDEN, "requests of other pages are not answered")

    def _check_method(self, *allowed: str) -> None:
        if self.command not in allowed:
            wanted = ", ".join(allowed)
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"the method must be {wanted}", Allow=wanted)

    def _body(self) -> bytes:
        """Return the body of a request of JSON, as long as it says it is."""
        if self.headers.get_content_type() != "application/json" or len(self.headers.get_all("Content-Type", [])) != 1:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the Content-Type must be application/json")
        lengths = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers or not lengths:
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is required")
        if len(lengths) != 1 or re.fullmatch(r"[0-9]{1,20}", lengths[0]) is None:
            raise Refusal(HTTPStatus.BAD_REQUEST, "the Content-Length must be one number")
        length = int(lengths[0])
        if length > MAX_BODY:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body must have at most {MAX_BODY} bytes")
        body = self.rfile.read(length)
        self._body_is_read = True
        if len(body) < length:
            raise Refusal(HTTPStatus.BAD_REQUEST, f"the body ended after {len(body)} of {length} bytes")
        return body

    def _linger(self) -> None:
        """Take some of what is still coming: closed at once, the connection might be reset with the answer unread."""
        self.connection.shutdown(socket.SHUT_WR)
        self.rfile = io.BufferedReader(_UntilDeadline(self.connection, time.monotonic() + LINGER_SECONDS))
        try:
            for _ in range(LINGER_BYTES >> 16):
                if not self.rfile.read1(1 << 16):
                    break
        except OSError:
            pass

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        return "cnn_ext"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep silent: the terminal is the user's."""


class _UntilDeadline(io.RawIOBase):
    """What a socket receives, with a TimeoutError when it is not all there in time, however it trickles."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


def _as_json(answer: dict[str, Any]) -> tuple[bytes, str]:
    return json.dumps(answer, allow_nan=False).encode(), "application/json"
