"""A small Hugging Face hub on loopback: the answers that `huggingface_hub` asks for, and faults."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

#: Files of at least so many bytes have a SHA-256, as in large file storage; others git's digest.
LARGE = 1000


@dataclass
class SmallRepository:
    """Files by name, and what goes wrong with them."""

    files: Mapping[str, bytes]
    commit: str = "0" * 39 + "1"
    revisions: tuple[str, ...] = ("main",)
    gated: bool = False
    #: File -> `truncated`, `wrong`, `cut` (once, in the middle), `slow` or `gone`.
    faults: dict[str, str] = field(default_factory=dict)


@dataclass
class SmallHub:
    """The hub: its repositories, and every request as `METHOD /path` with its range."""

    repositories: dict[str, SmallRepository]
    endpoint: str = ""
    requests: list[str] = field(default_factory=list)
    #: Set at the end: a slow answer waits for it.
    closing: threading.Event = field(default_factory=threading.Event)
    #: Set when the middle of a slow file has been sent.
    halfway: threading.Event = field(default_factory=threading.Event)


@contextmanager
def small_hub(repositories: dict[str, SmallRepository]) -> Iterator[SmallHub]:
    """Runs a hub with these repositories; its address is in `endpoint`."""
    hub = SmallHub(repositories)

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: SmallHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        asked = self.headers.get("Range", "")
        self.hub.requests.append(f"{self.command} /{path} {asked}".strip())
        words = path.split("/")
        if words[:2] == ["api", "models"]:
            self._describe("/".join(words[2:4]), words[5] if words[4:5] == ["revision"] else "main")
        elif words[2:3] == ["resolve"]:
            self._resolve("/".join(words[:2]), words[3], "/".join(words[4:]))
        else:
            self._refuse(404, "")

    def _describe(self, name: str, revision: str) -> None:
        found = self.hub.repositories.get(name)
        if found is None:
            self._refuse(401, "RepoNotFound")
        elif revision not in (*found.revisions, found.commit):
            self._refuse(404, "RevisionNotFound")
        else:
            siblings = [
                {"rfilename": file, "size": len(data), **_digests(data)}
                for file, data in found.files.items()
            ]
            facts = {"id": name, "modelId": name, "sha": found.commit, "siblings": siblings}
            self._send(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        found = self.hub.repositories.get(name)
        if found is None:
            self._refuse(401, "RepoNotFound")
            return
        fault = found.faults.get(file, "")
        if found.gated:
            self._refuse(401, "GatedRepo")
        elif revision not in (*found.revisions, found.commit):
            self._refuse(404, "RevisionNotFound")
        elif file not in found.files or fault == "gone":
            self._refuse(404, "EntryNotFound")
        else:
            self._send_file(found, file, fault)

    def _send_file(self, found: SmallRepository, file: str, fault: str) -> None:
        data = found.files[file]
        etag = _sha256(data) if len(data) >= LARGE else _git_digest(data)
        headers = {
            "X-Repo-Commit": found.commit,
            "X-Linked-Size": str(len(data)),
            "X-Linked-Etag": f'"{etag}"',
            "ETag": f'"{etag}"',
            "Accept-Ranges": "bytes",
        }
        if fault == "wrong":
            data = bytes(255 - byte for byte in data)
        status, first = 200, 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            first = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            status = 206
        rest = data[first:]
        if self.command == "HEAD" or not fault or fault == "wrong":
            self._send(status, rest, headers)
        elif fault == "truncated":
            self._send(status, rest[: len(rest) // 2], headers)
        else:
            self._head(status, len(rest), headers)
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            self.close_connection = True
            if fault == "slow":
                self.hub.halfway.set()
                self.hub.closing.wait(60)
            else:  # cut off, once
                del found.faults[file]

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code} if code else {})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._head(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def _digests(data: bytes) -> dict[str, object]:
    if len(data) < LARGE:
        return {"blobId": _git_digest(data)}
    return {"lfs": {"sha256": _sha256(data), "size": len(data), "pointerSize": 1}}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_digest(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
