"""Size, time and memory of the report at scale, and the time until a browser shows it.

    .nox/tests/bin/python -m benchmarks.report            # 710 entries, 10 backends, 200 runs
    .nox/tests/bin/python -m benchmarks.report --quick    # 100 entries, 3 backends, 20 runs

Results are made up: each backend has four precisions, one cell in five fails, one of a hundred
changes from run to run. Prints the size of report.html, the seconds, CPU seconds and memory (in
units of 10^6 bytes) of writing it, and, where Playwright and Chromium are there, the milliseconds
until the page can be used. On a machine that others use too, the CPU seconds say more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import psutil

from harness.results import schema

#: Entries, backends, runs: of the whole benchmark, and of a quick one.
WHOLE, QUICK = (710, 10, 200), (100, 3, 20)

PRECISIONS = ("default", "f32", "f16", "int8")

#: At most: bytes of the page; seconds, CPU seconds and 10^6 bytes to write it; ms to its first use.
LIMITS = {
    "page": 8_000_000,
    "seconds": 30.0,
    "cpu": 30.0,
    "memory": 2_000.0,
    "usable": 1_500.0,
}


def main() -> int:
    """Print the figures; 1 where one is beyond its limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer entries, backends and runs")
    entries, backends, runs = QUICK if parser.parse_args().quick else WHOLE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = sum(_write(folder, f"backend-{at}", entries, runs, at) for at in range(backends))
        print(f"{entries} entries, {backends} backends, {len(PRECISIONS)} precisions, {runs} runs: "
              f"{rows:,} results")  # fmt: skip
        seconds, cpu, memory = _measured(folder)
        found = {
            "page": float((folder / "report.html").stat().st_size),
            "seconds": seconds,
            "cpu": cpu,
            "memory": memory,
        }
        usable = _usable(folder / "report.html")
    if usable is not None:
        found["usable"] = usable
    for key, value in found.items():
        beyond = "  BEYOND THE LIMIT" if value > LIMITS[key] else ""
        print(f"{key:>8} {value:14,.1f}  at most {LIMITS[key]:14,.1f}{beyond}")
    return 1 if any(value > LIMITS[key] for key, value in found.items()) else 0


def _write(folder: Path, backend: str, entries: int, runs: int, seed: int) -> int:
    """The results file of one backend; returns its number of cells."""
    with duckdb.connect(str(folder / f"{backend}.duckdb")) as connection:
        connection.execute(schema.SCHEMA)
        connection.execute("INSERT INTO schema_version VALUES (?)", [schema.SCHEMA_VERSION])
        connection.execute(
            """
            INSERT INTO runs BY NAME
            SELECT 'r' || $seed || '-' || r AS run_id, $backend AS backend,
                TIMESTAMP '2026-01-01' + to_days(r::INT) + to_seconds($seed) AS started_at,
                started_at AS finished_at, 'a device' AS device, false AS emulated,
                '{"torch": "2.' || (r // 40) || '.0"}' AS versions, '' AS lock_sha256,
                '' AS git_commit, 'here' AS host, '[]' AS arguments, 0 AS seed, r + 1 AS sequence
            FROM range($runs) t(r)
            """,
            {"seed": seed, "backend": backend, "runs": runs},
        )
        connection.execute(
            """
            INSERT INTO cells BY NAME
            SELECT 'r' || $seed || '-' || r AS run_id, 'entry_' || e AS entry,
                ['vision', 'speech', 'encoder-only', 'decoder-only'][e % 4 + 1] AS family,
                'type_' || e AS architecture, 'base' AS head, p AS precision,
                CASE WHEN bad THEN 'verify' ELSE 'measure' END AS stage,
                CASE WHEN bad THEN 'fail' ELSE 'pass' END AS outcome,
                CASE WHEN bad THEN 'xfail' ELSE 'ok' END AS verdict,
                CASE WHEN bad THEN 'the output of layer ' || e || ' is off by ' || e / 7
                    ELSE '' END AS reason,
                CASE WHEN bad THEN 'cause ' || (e % 97) ELSE '' END AS cause,
                200000 + e AS parameters, 1.0 + (hash(e, r) % 1000) / 1000 AS seconds,
                400 + (hash(e) % 1000) AS peak_rss_mb, 1.0 AS device_share,
                CASE WHEN bad THEN repeat('a line of the traceback ' || e || chr(10), 20)
                    ELSE '' END AS error,
                1e-7 AS noise_floor, (hash(e, p, $seed) % 10000) / 2500 AS score
            FROM (
                SELECT *, (e * 7 + $seed) % 5 = 0 OR hash(e, p, r // 5, $seed) % 500 = 0 AS bad
                FROM range($entries) t(e), range($runs) u(r), (SELECT unnest($precisions) AS p)
            )
            """,
            {"seed": seed, "entries": entries, "runs": runs, "precisions": list(PRECISIONS)},
        )
        connection.execute(
            "INSERT INTO metrics SELECT run_id, entry, head, precision, 'inference', "
            "(1 + hash(entry, run_id) % 1000) / 1e5, 's' FROM cells WHERE outcome = 'pass'"
        )
    return entries * runs * len(PRECISIONS)


def _measured(folder: Path) -> tuple[float, float, float]:
    """Seconds and CPU seconds of writing the report, and its processes' largest resident memory."""
    command = [sys.executable, "-m", "harness", "report", "--results", str(folder)]
    command += ["--lists", str(_list(folder))]
    began, most, cpu = time.monotonic(), 0, 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                own = psutil.Process(process.pid)
                used = sum(one.memory_info().rss for one in (own, *own.children(recursive=True)))
                most = max(most, used)
                times = [one.cpu_times() for one in (own, *own.children(recursive=True))]
                cpu = max(cpu, sum(spent.user + spent.system for spent in times))
            except psutil.Error:
                pass  # it has just ended
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(
            f"expected the report to be written, found exit status {process.returncode}"
        )
    return time.monotonic() - began, cpu, most / 1e6


def _list(folder: Path) -> Path:
    """A model list of the made-up entries, in a folder of its own."""
    path = folder / "lists" / "vision.toml"
    path.parent.mkdir()
    with duckdb.connect(str(folder / "backend-0.duckdb"), read_only=True) as connection:
        names = connection.execute("SELECT DISTINCT entry FROM cells ORDER BY 1").fetchall()
    path.write_text(
        "".join(f'[{name}]\narchitecture = "{name}"\n' for (name,) in names), encoding="utf-8"
    )
    return path.parent


def _usable(page: Path) -> float | None:
    """Milliseconds until the page can be used; None without Playwright or Chromium."""
    try:
        from playwright.sync_api import sync_playwright

        from backends.webgpu_browser import chromium
        from harness.contract import Unavailable
    except ImportError:
        return None
    try:
        executable = chromium.executable()
    except Unavailable:
        return None
    flags = chromium.flags(has_gpu=True, is_root=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=flags)
        tab = browser.new_page()
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-ready]", state="attached")
        ready = float(tab.evaluate("document.documentElement.dataset.ready"))
        browser.close()
    return ready


if __name__ == "__main__":
    sys.exit(main())
