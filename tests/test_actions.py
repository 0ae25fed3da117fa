"""The scripts of the composite actions, in order, on an installed package and real nox sessions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import documents
import pytest
import uv
import yaml
from installed import environment, wheel
from workplace import FAKES, ROOT, Workplace

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="the actions' shell is bash")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel."""
    target = tmp_path_factory.mktemp("site")
    command = [uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    subprocess.run([*command, str(wheel())], check=True, env=environment())
    return target


class Runner:
    """A runner of GitHub's, as far as the scripts see it: a checkout, a cache, a summary.

    Args:
        folder: of all runs.
        packages: with the installed wheel.
    """

    def __init__(self, folder: Path, packages: Path) -> None:
        self.folder = folder
        self.packages = packages
        self.cache = folder / "cache"
        self.runs = 0

    def session(self, scale: float = 1.0, **inputs: str) -> tuple[list[int], str, Path]:
        """Run the action `session` in a fresh checkout of a repository with a backend.

        Args:
            scale: of the backend's outputs: 1 is right.
            inputs: of the action, as its scripts name them.

        Returns:
            The exit status of each script, the step summary, and the checkout.
        """
        self.runs += 1
        checkout = self.folder / f"run-{self.runs}"
        place = Workplace(checkout)
        checkout.mkdir()
        place.write(encoder_only="bert albert esm")
        shutil.copytree(FAKES / "good", checkout / "fakes" / "good")
        shutil.copy(FAKES / "_numpy_case.py", checkout / "fakes")
        for path in (checkout / "fakes").rglob("*.py"):
            text = path.read_text("utf-8").replace("from harness.", "from hf_hardware_matrix.")
            path.write_text(text, "utf-8")
        source = checkout / "fakes" / "good" / "backend.py"
        source.write_text(source.read_text("utf-8").replace("v.astype(", f"{scale} * v.astype("))
        if self.cache.exists():
            shutil.copytree(self.cache, checkout / ".hf-hardware-matrix" / "history")
        given = {"BACKEND": "good", "BACKENDS": "fakes", "LISTS": "model_lists", "SHARD": "1/1"}
        given |= {"MODELS": "", "OPTIONS": "", "GATE": "verdicts", **inputs}
        statuses = self.scripts("session", checkout, given)
        shutil.rmtree(self.cache, ignore_errors=True)
        shutil.copytree(checkout / ".hf-hardware-matrix" / "history", self.cache)
        return statuses, (checkout / "summary.md").read_text("utf-8"), checkout

    def scripts(self, action: str, checkout: Path, given: dict[str, str]) -> list[int]:
        """Run the scripts of an action but the installation; their exit statuses."""
        programs = checkout / "bin"
        programs.mkdir()
        for name, module in {"nox": "-m nox --no-venv", "python": ""}.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
            (programs / name).chmod(0o755)
        (checkout / "summary.md").touch()
        told = {
            **environment(),
            **given,
            "PYTHONPATH": os.pathsep.join([str(self.packages), str(checkout)]),
            "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
            "GITHUB_OUTPUT": str(checkout / "output"),
            "GITHUB_STEP_SUMMARY": str(checkout / "summary.md"),
            "HARNESS_CACHE": str(checkout / ".hf-hardware-matrix" / "cache"),
        }
        text = (ROOT / ".github" / "actions" / action / "action.yml").read_text("utf-8")
        steps: list[dict[str, Any]] = yaml.safe_load(text)["runs"]["steps"]
        statuses = []
        for step in steps:
            if "run" not in step or step["name"] == "install":
                continue
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=checkout, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, timeout=120, check=False,
            )  # fmt: skip
            print(done.stdout)
            statuses.append(done.returncode)
        return statuses


#: The exit statuses of the scripts prepare, history, run and summarise.
GREEN, RED = [0, 0, 0, 0], [0, 0, 1, 0]


def test_regression_is_red_and_named(tmp_path: Path, packages: Path) -> None:
    runner = Runner(tmp_path, packages)
    first, summary, _ = runner.session()
    assert first == GREEN
    assert "good" in summary
    second, summary, checkout = runner.session(scale=1.01)
    assert second == RED
    assert "3 regressed" in summary
    assert (checkout / "output").read_text() == "part=1-of-1\n"


def test_gate_on_changes_lets_an_old_failure_pass(tmp_path: Path, packages: Path) -> None:
    runner = Runner(tmp_path, packages)
    assert runner.session(scale=1.01)[0] == RED
    assert runner.session(scale=1.01, GATE="changes")[0] == GREEN


def test_report_is_one_over_all_shards(tmp_path: Path, packages: Path) -> None:
    runner = Runner(tmp_path, packages)
    shards = tmp_path / "report" / "shards"
    for number in (1, 2):
        _, _, checkout = runner.session(SHARD=f"{number}/2")
        shutil.copytree(checkout / "results", shards / f"results-good-{number}-of-2")
        shutil.rmtree(runner.cache)
    given = {"BACKEND": "good", "SHARDS": "shards", "LISTS": ""}
    assert runner.scripts("report", tmp_path / "report", given) == [0, 0]
    kept = sorted(path.name for path in (tmp_path / "report" / "results").glob("*.duckdb"))
    assert kept == ["good.1-of-2.duckdb", "good.2-of-2.duckdb"]
    summary = (tmp_path / "report" / "summary.md").read_text("utf-8")
    assert "3\xa0/\xa03" in summary  # the two shards' cells together
    assert "from 2 results files" in summary


def test_documented_caller_names_inputs_that_there_are() -> None:
    """The reusable workflow is called with inputs of its own, and hands each on to the action."""
    (block,) = (
        block.text
        for block in documents.code_blocks(ROOT / "docs" / "ci.md")
        if block.language == "yaml"
    )
    (caller,) = yaml.safe_load(block)["jobs"].values()
    workflow = caller["uses"].partition("/.github/")[2].partition("@")[0]
    called = yaml.safe_load((ROOT / ".github" / workflow).read_text("utf-8"))
    inputs = called[True]["workflow_call"]["inputs"]  # YAML takes `on` for a truth value
    assert set(caller["with"]) <= set(inputs)
    required = {name for name, said in inputs.items() if said.get("required")}
    assert required <= set(caller["with"])
    (step,) = (s for s in called["jobs"]["session"]["steps"] if s["uses"].startswith("$/"))
    action = yaml.safe_load((ROOT / step["uses"].removeprefix("$/") / "action.yml").read_text())
    assert set(step["with"]) <= set(action["inputs"])
    assert set(inputs) - {"runs-on", "shards"} <= set(step["with"])
