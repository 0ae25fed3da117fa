"""HTTP server on loopback that gives a page its jobs and takes the results.

The page asks for the next job and waits; so no driver of browsers is needed, and bytes travel as
bytes. All addresses lie below a random name, which other users of the machine do not know.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backends.webgpu_browser import messages

_TYPES = {".html": "text/html", ".mjs": "text/javascript", ".wasm": "application/wasm"}


class PageGone(RuntimeError):
    """The page or its browser has ended: its process was killed, or it ran out of memory."""


class PageServer:
    """The server of one page.

    Args:
        files: the name of each file that the page loads -> its path.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files
        self.token = secrets.token_urlsafe(16)
        self._jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self._http.server_port}/{self.token}/index.html"

    def ask(self, header: Mapping[str, Any], *parts: bytes) -> tuple[dict[str, Any], list[bytes]]:
        """Have the page do a job; returns the header and the parts of its answer.

        Raises:
            PageGone: the page ended before it answered.
            RuntimeError: the page raised an error.
        """
        self._jobs.put(messages.pack(header, parts))
        answer = self._answers.get()
        if isinstance(answer, str):
            self._answers.put(answer)  # for whoever asks next
            raise PageGone(answer)
        said, found = messages.unpack(answer)
        if "error" in said:
            raise RuntimeError(f"onnxruntime-web: {said['error']}")
        return said, found

    def page_is_gone(self, reason: str) -> None:
        """Tell whoever waits for an answer that there will be none."""
        self._answers.put(reason)

    def close(self) -> None:
        """Serve no longer."""
        self._http.shutdown()
        self._http.server_close()

    def _handler(server: PageServer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            """The answers to the page's requests."""

            def do_GET(self) -> None:
                name = self._name()
                if name == "alive":
                    with contextlib.suppress(OSError):  # a connection that is reset is at its end
                        self._answer(b"", length=1)  # which never comes
                        self.connection.recv(1)
                    server.page_is_gone("the browser's page has ended: its process is gone")
                elif name in server.files:
                    path = server.files[name]
                    self._answer(path.read_bytes(), _TYPES[path.suffix])
                else:
                    self.send_error(404)

            def do_POST(self) -> None:
                name = self._name()
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if name == "job":
                    self._answer(server._jobs.get())
                elif name == "result":
                    server._answers.put(body)
                    self._answer(b"")
                else:
                    self.send_error(404)

            def _name(self) -> str:
                return self.path.removeprefix(f"/{server.token}/")

            def _answer(
                self, body: bytes, kind: str = "application/octet-stream", length: int | None = None
            ) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            def log_message(self, *_: Any) -> None:
                """Nothing: requests are no news."""

        return Handler
