"""The report's server: on loopback, renewed as a session writes, and for this machine only."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from stored_results import NIGHT, NOON, cell, run_info, session

from harness.contract import HarnessError
from harness.report.server import ReportServer, seen
from harness.results import merged
from harness.results.snapshots import Snapshots


@pytest.fixture
def pages() -> Iterator[tuple[ReportServer, list[str]]]:
    """A server of the first text of a list."""
    texts = ["one"]
    server = ReportServer(lambda: texts[0], lambda: texts[0], 0, interval=3600.0)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server, texts
    server.close()
    thread.join()


def get(server: ReportServer, path: str, host: str = "localhost") -> tuple[int, str]:
    port = int(server.address.rstrip("/").rsplit(":", 1)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_the_page_is_that_of_the_newest_results(pages: tuple[ReportServer, list[str]]) -> None:
    server, texts = pages
    assert server.address.startswith("http://127.0.0.1:")
    assert get(server, "/") == (200, "one")
    texts[0] = "two"
    assert get(server, "/version") == (200, "one")  # of the page that is served meanwhile
    server.renew()
    assert get(server, "/version") == (200, "two")
    assert get(server, "/") == (200, "two")


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/", "evil.example", 403), ("/../report.md", "localhost", 404), ("/x", "127.0.0.1:1", 404)],
)
def test_nothing_else_is_served(
    pages: tuple[ReportServer, list[str]], path: str, host: str, status: int
) -> None:
    assert get(pages[0], path, host)[0] == status


def test_a_taken_port_is_said(pages: tuple[ReportServer, list[str]]) -> None:
    port = int(pages[0].address.rstrip("/").rsplit(":", 1)[1])
    with pytest.raises(HarnessError, match=rf"expected port {port} .*--serve PORT"):
        ReportServer(lambda: "", lambda: "", port)


def test_a_file_that_is_being_written_is_read_from_a_copy(tmp_path: Path) -> None:
    folder, copies = tmp_path / "results", tmp_path / "copies"
    busy = session(folder / "busy.duckdb", run_info("a", "cpu", NOON), cell("bert"))
    snapshots = Snapshots(folder, copies)
    snapshots.refresh()
    before = seen(folder)
    write = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); "
        "c.execute(\"UPDATE cells SET reason = 'from the log'\"); print('written', flush=True); "
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", write, str(busy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        assert merged.gather([busy], None).left_out  # it is locked
        assert seen(folder) != before
        snapshots.refresh()
        with merged.gather(merged.find(copies), None).connection as connection:
            assert connection.execute("SELECT reason FROM latest").fetchall() == [("from the log",)]
        writer.communicate(b"")


def test_a_copy_that_cannot_be_read_leaves_the_one_before(tmp_path: Path) -> None:
    folder, copies = tmp_path / "results", tmp_path / "copies"
    path = session(folder / "cpu.duckdb", run_info("a", "cpu", NOON), cell("bert"))
    snapshots = Snapshots(folder, copies)
    snapshots.refresh()
    whole = path.read_bytes()
    path.write_bytes(whole[:9000])
    snapshots.refresh()
    assert (copies / "cpu.duckdb").read_bytes() == whole
    path.write_bytes(whole)
    session(path, run_info("b", "cpu", NIGHT), cell("bert"))
    snapshots.refresh()
    with merged.gather(merged.find(copies), None).connection as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(2,)]
    path.unlink()
    snapshots.refresh()
    assert merged.find(copies) == []
