"""The page of the backend `webgpu-browser`: its messages, its server, its files and its browser."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import socket
import sys
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from backends.webgpu_browser import chromium, messages, runtime_files
from backends.webgpu_browser.page_server import PageGone, PageServer
from harness.contract import Array, Unavailable


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.bool_])
def test_arrays_survive_a_message(dtype: type) -> None:
    array: Array = np.arange(5).astype(dtype)
    text = b"odd"
    about = messages.described("x", array)
    header, parts = messages.unpack(messages.pack({"feeds": [about]}, [text, array.tobytes()]))
    assert header["feeds"] == [about]
    assert parts[0] == text
    found = messages.array_of(about, parts[1])
    assert found.dtype == array.dtype
    assert (found == array).all()
    found[0] = 1  # it can be written


@pytest.mark.parametrize("name", ["a", "ab", "a" * 7])
def test_parts_lie_at_multiples_of_eight_bytes(name: str) -> None:
    message = messages.pack({"name": name}, [b"x", b"yz"])
    assert message.index(b"x\0") % 8 == message.index(b"yz") % 8 == 0


def test_a_message_that_ends_too_soon() -> None:
    with pytest.raises(ValueError, match="expected a message"):
        messages.unpack(b"")
    with pytest.raises(ValueError, match="expected 9 bytes at 24, found 8"):
        messages.unpack(messages.pack({}, [bytes(9)])[:-8])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    """A server with one file."""
    (tmp_path / "index.html").write_text("a page")
    made = PageServer({"index.html": tmp_path / "index.html"})
    yield made
    made.close()


def requested(server: PageServer, name: str, body: bytes | None = None) -> bytes:
    """The answer to a request of the page."""
    address = server.address.replace("index.html", name)
    with urllib.request.urlopen(urllib.request.Request(address, body)) as answer:
        found: bytes = answer.read()
    return found


def page(server: PageServer, answer: Callable[[bytes], bytes]) -> threading.Thread:
    """Fake page that does one job."""

    def run() -> None:
        requested(server, "result", answer(requested(server, "job", b"")))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_page_gets_its_files_and_does_a_job(server: PageServer) -> None:
    assert requested(server, "index.html") == b"a page"
    thread = page(server, lambda job: job)
    header, parts = server.ask({"action": "echo"}, b"1", b"22")
    thread.join()
    assert header["action"] == "echo"
    assert parts == [b"1", b"22"]


def test_an_error_of_the_page_is_raised(server: PageServer) -> None:
    thread = page(server, lambda _: messages.pack({"error": "device lost"}))
    with pytest.raises(RuntimeError, match="onnxruntime-web: device lost"):
        server.ask({"action": "run"})
    thread.join()


def test_a_page_that_dies_ends_the_wait_for_good(server: PageServer) -> None:
    host, port = server.address.split("/")[2].split(":")
    with socket.create_connection((host, int(port))) as connection:
        path = f"/{server.token}/alive"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b"200" in connection.recv(100)
    for _ in range(2):
        with pytest.raises(PageGone, match="its process is gone"):
            server.ask({"action": "run"})


@pytest.mark.parametrize("name", ["nowhere.html", "../index.html", "%2e%2e/index.html"])
def test_nothing_else_is_served(server: PageServer, name: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        requested(server, name)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        requested(server, name, b"")


def test_without_the_name_of_the_page_nothing_is_served(server: PageServer) -> None:
    address = server.address.replace(server.token, "guessed")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(address)


def test_a_browser_that_ends_is_no_endless_wait() -> None:
    browser = chromium.Browser({}, [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(PageGone, match="ended with exit code 3"):
        browser.server.ask({"action": "adapter"})
    browser.close()


def test_flags_follow_the_machine() -> None:
    plain = chromium.flags(has_gpu=True, is_root=False)
    assert plain == list(chromium.FLAGS)
    assert chromium.flags(has_gpu=False, is_root=True) == [
        *plain, "--use-webgpu-adapter=swiftshader", "--no-sandbox",
    ]  # fmt: skip


def test_no_browser_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Unavailable, match=r"chromium-browser.* Fix: `apt-get install chromium`"):
        chromium.executable()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of npm with the files of onnxruntime-web."""
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in runtime_files.NAMES:
            about = tarfile.TarInfo(f"package/dist/{name}")
            about.size = len(name)
            archive.addfile(about, io.BytesIO(name.encode()))
    return path


def integrity(path: Path) -> str:
    """The digest of a file as npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def test_a_package_with_the_right_digest_is_unpacked(package: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    runtime_files.unpack(package, folder, integrity(package))
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: name for name in runtime_files.NAMES
    }
    found = runtime_files.files(folder)
    assert {*found} == {*runtime_files.NAMES, "index.html", "page.mjs"}
    assert all(path.is_file() for path in found.values())


def test_another_package_is_refused(package: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"with the digest sha512-q0y.*found sha512-"):
        runtime_files.unpack(package, tmp_path / "files")
    assert not (tmp_path / "files").exists()


def test_no_npm_and_an_npm_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Unavailable, match=r"expected npm.*apt-get install npm"):
        runtime_files.files(tmp_path)
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 404 Not Found >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(npm))
    with pytest.raises(Unavailable, match=r"found: 404 Not Found.*npm pack onnxruntime-web"):
        runtime_files.files(tmp_path)
