"""Server of the report, on loopback: the page is written anew when a results file has changed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.contract import HarnessError
from harness.results import merged

#: The port, if none is asked for.
PORT = 8765

#: Seconds between two looks at the results files.
INTERVAL = 1.0

#: Names of this machine that a browser may have in a request. Another one is that of a website
#: whose name leads here (DNS rebinding), and gets nothing.
_HOSTS = ("127.0.0.1", "localhost")


def seen(folder: Path) -> str:
    """Text that changes with the results files of a folder: their names, times and sizes."""
    told = []
    for path in merged.find(folder):
        for each in (path, Path(f"{path}.wal")):
            try:
                found = each.stat()
            except OSError:
                continue
            told.append(f"{each.name} {found.st_mtime_ns} {found.st_size}")
    return "\n".join(told)


class ReportServer:
    """HTTP server of one page, which nothing but this machine reaches.

    Args:
        write: gives the page.
        version: gives a text that changes with what the page shows.
        port: of 127.0.0.1; 0 takes a free one.
        interval: seconds between two looks at the results.

    Raises:
        HarnessError: the port is taken.
    """

    def __init__(
        self,
        write: Callable[[], str],
        version: Callable[[], str],
        port: int,
        interval: float = INTERVAL,
    ) -> None:
        self._write = write
        self._version = version
        self._interval = interval
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._shown: str | None = None
        self._page = ""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing: the terminal is for the address."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise HarnessError(
                f"expected port {port} of this machine to be free, found {error.strerror}. Fix: "
                "--serve PORT with another one"
            ) from error
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    def run(self) -> None:
        """Answer until Ctrl-C, or until `close`; the page is renewed beside that."""
        renewing = threading.Thread(target=self._renew_again, daemon=True)
        renewing.start()
        try:
            self._server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
        finally:
            self._ended.set()
            self._server.server_close()

    def renew(self) -> None:
        """Write the page anew where the results have changed; the last one stays where that fails.

        What is served meanwhile is the page before.
        """
        with self._lock:
            version = self._version()
            if version == self._shown:
                return
            try:
                self._page = self._write()
            except HarnessError as error:
                told = str(error).replace("&", "&amp;").replace("<", "&lt;")
                page = f"<!doctype html><title>No report</title><pre>{told}</pre>"
                self._page = self._page or page
            self._shown = version

    def _renew_again(self) -> None:
        self.renew()
        while not self._ended.wait(self._interval):
            self.renew()

    def close(self) -> None:
        """End `run`, which another thread is in."""
        self._server.shutdown()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request: the page, or the version of what it would show."""
        host = (request.headers.get("Host") or "").partition(":")[0]
        if host not in _HOSTS:
            request.send_error(HTTPStatus.FORBIDDEN, "this address shows the report to localhost")
        elif request.path == "/":
            if self._shown is None:
                self.renew()
            self._send(request, self._page.encode(), "text/html; charset=utf-8")
        elif request.path == "/version":
            self._send(request, (self._shown or "").encode(), "text/plain; charset=utf-8")
        else:
            request.send_error(HTTPStatus.NOT_FOUND)

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, kind: str) -> None:
        request.send_response(HTTPStatus.OK)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Cache-Control", "no-store")
        request.send_header("X-Content-Type-Options", "nosniff")
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # the browser has left the page
            request.wfile.write(content)
