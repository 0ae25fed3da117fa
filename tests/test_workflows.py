"""The script of a workflow that chooses what to run, with nox and GitHub played by files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
from workplace import ROOT

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
