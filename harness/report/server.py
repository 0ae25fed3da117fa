"""Server of the report, on loopback: the page is written anew when a results file has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.contract import HarnessError
from harness.results import merged

#: The port, if none is asked for.
PORT = 8765

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

    Raises:
        HarnessError: the port is taken.
    """

    def __init__(self, write: Callable[[], str], version: Callable[[], str], port: int) -> None:
        self._write = write
        self._version = version
        self._lock = threading.Lock()
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
        """Answer until Ctrl-C, or until `close`."""
        try:
            self._server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            pass
        finally:
            self._server.server_close()

    def close(self) -> None:
        """End `run`, which another thread is in."""
        self._server.shutdown()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request: the page, or the version of what it would show."""
        host = (request.headers.get("Host") or "").partition(":")[0]
        if host not in _HOSTS:
            request.send_error(HTTPStatus.FORBIDDEN, "this address shows the report to localhost")
        elif request.path == "/":
            self._send(request, self._current().encode(), "text/html; charset=utf-8")
        elif request.path == "/version":
            self._send(request, self._version().encode(), "text/plain; charset=utf-8")
        else:
            request.send_error(HTTPStatus.NOT_FOUND)

    def _current(self) -> str:
        """The page, written anew where the results have changed; the last one where that fails."""
        with self._lock:
            version = self._version()
            if version != self._shown:
                try:
                    self._page = self._write()
                except HarnessError as error:
                    if not self._page:
                        return (
                            f"<!doctype html><title>No report yet</title><pre>{_text(error)}</pre>"
                        )
                self._shown = version
            return self._page

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, kind: str) -> None:
        request.send_response(HTTPStatus.OK)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Cache-Control", "no-store")
        request.send_header("X-Content-Type-Options", "nosniff")
        request.end_headers()
        request.wfile.write(content)


def _text(error: HarnessError) -> str:
    return str(error).replace("&", "&amp;").replace("<", "&lt;")
