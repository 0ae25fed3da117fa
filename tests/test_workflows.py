"""The scripts of the nightly workflow, with nox and GitHub played by files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from workplace import ROOT, Workplace

pytestmark = pytest.mark.skipif(
    not (shutil.which("jq") and shutil.which("bash")), reason="the workflow's runner has both"
)

LISTED = [
    {"session": "torch-cpu", "call_spec": {"runs_on": "ubuntu-latest"}},
    {"session": "torch-cuda", "call_spec": {}},
    {"session": "mock", "call_spec": {"runs_on": ["self-hosted", "arm"]}},
]


def matrix(folder: Path, sessions: str, shards: int = 2) -> subprocess.CompletedProcess[str]:
    """Run the script of the step `list` in backends.yml; what it hands on ends standard output."""
    text = (ROOT / ".github/workflows/backends.yml").read_text(encoding="utf-8")
    found = re.search(r"- id: list\n(?:.*\n)*?        run: \|\n((?:          .*\n)+)", text)
    assert found is not None
    (folder / "nox").write_text(f"#!/bin/sh\necho '{json.dumps(LISTED)}'\n")
    (folder / "nox").chmod(0o755)
    output = folder / "output"
    output.touch()
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", textwrap.dedent(found[1])],
        env={
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "SESSIONS": sessions,
            "SHARDS": str(shards),
            "GITHUB_OUTPUT": str(output),
        },
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    done.stdout += output.read_text()
    return done


def test_every_backend_with_a_runner_runs_in_every_shard(tmp_path: Path) -> None:
    done = matrix(tmp_path, "")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.removeprefix("include="))
    assert [(row["session"], row["shard"], row["part"]) for row in rows] == [
        ("torch-cpu", "1/2", "1-of-2"), ("torch-cpu", "2/2", "2-of-2"),
        ("mock", "1/2", "1-of-2"), ("mock", "2/2", "2-of-2"),
    ]  # fmt: skip
    assert rows[2]["runs_on"] == ["self-hosted", "arm"]


def test_a_backend_that_was_asked_for_runs_alone(tmp_path: Path) -> None:
    done = matrix(tmp_path, "  mock ", shards=1)
    assert done.returncode == 0, done.stderr
    assert [row["session"] for row in json.loads(done.stdout.removeprefix("include="))] == ["mock"]


@pytest.mark.parametrize(
    ("sessions", "named"),
    [("mock torch-gpu", "torch-gpu"), ("torch-cuda", "torch-cuda"), ("a mock b", "a, b")],
)
def test_a_backend_that_would_not_run_is_an_error(
    tmp_path: Path, sessions: str, named: str
) -> None:
    done = matrix(tmp_path, sessions)
    assert done.returncode == 1
    assert f"found {named}. Fix: nox -t backend -l" in done.stdout
    assert "include=" not in done.stdout


def job(name: str) -> list[dict[str, Any]]:
    """The steps of a job in backends.yml."""
    text = (ROOT / ".github/workflows/backends.yml").read_text(encoding="utf-8")
    steps: list[dict[str, Any]] = yaml.safe_load(text)["jobs"][name]["steps"]
    return steps


def night(folder: Path, history: Path, number: int, scale: float = 1.0, added: str = "") -> str:
    """One run of the scripts of a backend's job in a fresh checkout; returns what they print.

    Args:
        folder: of all nights.
        history: what the cache keeps from one night to the next.
        number: of the night.
        scale: of the backend's outputs: 1 is right.
        added: to the session's options.
    """
    checkout = folder / f"night-{number}"
    checkout.mkdir()
    place = Workplace(checkout)
    command = " ".join(f"'{word}'" for word in place.scaled(scale))
    programs = checkout / "bin"
    programs.mkdir()
    (programs / "nox").write_text(f"#!/bin/sh\n{command} --results=results $ADDED\n", "utf-8")
    (programs / "nox").chmod(0o755)
    python = checkout / ".nox" / "good" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n', "utf-8")
    python.chmod(0o755)
    if history.exists():
        shutil.copytree(history, checkout / "history")
    told = ""
    for step in job("backend"):
        if "name" not in step or "run" not in step:
            continue
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=checkout,
            env=place.environment(
                PATH=f"{programs}{os.pathsep}{os.environ['PATH']}",
                SESSION="good", SHARD="1/1", PART="1-of-1", MODELS="", ADDED=added,
            ),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
        )  # fmt: skip
        told += done.stdout
    shutil.rmtree(history, ignore_errors=True)
    shutil.copytree(checkout / "history", history)
    return told


def test_a_regression_is_called_so_on_the_second_night(tmp_path: Path) -> None:
    history = tmp_path / "cache"
    first = night(tmp_path, history, 1)
    assert "3 ok" in first, first
    second = night(tmp_path, history, 2, scale=1.01)
    assert "3 regressed" in second, second
    before, after = (tmp_path / "night-2" / name for name in ("before", "results"))
    assert [path.name for path in before.iterdir()] == ["good.1-of-1.duckdb"]
    (summarise,) = (step for step in job("report") if step.get("name") == "summarise")
    report = tmp_path / "report"
    for folder in (before, after):
        shutil.copytree(folder, report / folder.name)
    (report / "results" / "report.md").write_text("the report\n", encoding="utf-8")
    python = report / ".nox" / "report" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n', "utf-8")
    python.chmod(0o755)
    subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", summarise["run"]],
        cwd=report,
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(report / "summary.md")},
        timeout=120, check=True,
    )  # fmt: skip
    summary = (report / "summary.md").read_text(encoding="utf-8")
    assert "3 regressed" in summary
    assert summary.endswith("the report\n")


def test_a_first_night_has_no_history(tmp_path: Path) -> None:
    told = night(tmp_path, tmp_path / "cache", 1, scale=1.01)
    assert "3 new" in told, told


@pytest.mark.parametrize("added", ["--nonsense", "--models=nobody"])
def test_a_night_without_a_run_hands_on_no_older_results(tmp_path: Path, added: str) -> None:
    history = tmp_path / "cache"
    night(tmp_path, history, 1)
    night(tmp_path, history, 2, added=added)
    checkout = tmp_path / "night-2"
    assert [path.name for path in (checkout / "results").iterdir()] == [
        "good.1-of-1.nothing-ran.txt"
    ]
    assert not list((checkout / "before").iterdir())  # else its cells would be gone
    assert "3 ok" not in night(tmp_path, history, 3, scale=1.01)
    assert "3 regressed" in night(tmp_path, history, 4, scale=1.01)  # the history was kept
