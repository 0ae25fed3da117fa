"""The scripts of the composite actions, in order, on an installed package and real nox sessions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import documents
import pytest
import uv
import yaml
from installed import environment, wheel
from vendor_package import write_vendor
from workplace import FAKES, ROOT, Workplace

ACTIONS = ROOT / ".github" / "actions"

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

    def session(
        self, scale: float = 1.0, *, probe: str = "", ends: int | None = None, **inputs: str
    ) -> tuple[list[int], str, Path]:
        """Run the action `session` in a fresh checkout of a repository with a backend.

        Args:
            scale: of the backend's outputs: 1 is right.
            probe: statements at the beginning of the backend's `probe`.
            ends: the exit status of a nox that gets no environment; None: it gets one.
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
        text = source.read_text("utf-8").replace("v.astype(", f"{scale} * v.astype(")
        if probe:
            head = "def probe(self) -> Device:\n"
            assert head in text
            text = text.replace(head, f"{head}        {probe}\n")
        source.write_text(text, "utf-8")
        if self.cache.exists():
            shutil.copytree(self.cache, checkout / ".hf-hardware-matrix" / "history")
        given = {"BACKEND": "good", "BACKENDS": "fakes", "LISTS": "model_lists", "SHARD": "1/1"}
        given |= {"MODELS": "", "OPTIONS": "", "GATE": "verdicts", "NAME": "good", **inputs}
        statuses = self.scripts("session", checkout, given, ends)
        shutil.rmtree(self.cache, ignore_errors=True)
        shutil.copytree(checkout / ".hf-hardware-matrix" / "history", self.cache)
        return statuses, (checkout / "summary.md").read_text("utf-8"), checkout

    def scripts(
        self, action: str, checkout: Path, given: dict[str, str], ends: int | None = None
    ) -> list[int]:
        """Run the scripts of an action but the installation; their exit statuses."""
        programs = checkout / "bin"
        programs.mkdir()
        for name, module in {"nox": "-m nox --no-venv", "python": ""}.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
            (programs / name).chmod(0o755)
        if ends is not None:
            (programs / "nox").write_text(f"#!/bin/sh\nexit {ends}\n")
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
        text = (ACTIONS / action / "action.yml").read_text("utf-8")
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
    assert (checkout / "output").read_text() == "part=good.1-of-1\n"


def test_gate_on_changes_lets_an_old_failure_pass(tmp_path: Path, packages: Path) -> None:
    runner = Runner(tmp_path, packages)
    assert runner.session(scale=1.01)[0] == RED
    assert runner.session(scale=1.01, GATE="changes")[0] == GREEN


NO_DEVICE = """\
from hf_hardware_matrix.contract import Unavailable
        raise Unavailable("Expected a Fake 1, found none.", "plug one in.")
"""

#: Sessions that end before their first cell, and what each is given.
ENDED: dict[str, dict[str, Any]] = {
    "usage": {"OPTIONS": "--nonsense"},
    "packages": {"ends": 1},  # nox's, where uv installs nothing
    "device": {"probe": NO_DEVICE},
    "entries": {"MODELS": "nobody"},
}


def test_a_session_that_never_ran_is_red(tmp_path: Path, packages: Path) -> None:
    """Results of an earlier run in results/ are none of this one."""
    runner = Runner(tmp_path, packages)
    assert runner.session()[0] == GREEN
    for given in ENDED.values():
        statuses, summary, checkout = runner.session(GATE="changes", **given)
        assert statuses == RED, given
        assert "good: nothing was run" in summary
        assert "3\xa0/\xa03" not in summary
        assert "nothing changed" not in summary
        told = (checkout / "results" / "nothing-ran.txt").read_text()
        assert told == "good, shard 1/1: nothing was run.\n"
    statuses, summary, _ = runner.session(scale=1.01, GATE="changes")
    assert statuses == RED
    assert "3 regressed" in summary  # the history was kept


def test_a_run_that_is_cut_short_is_red_and_named(tmp_path: Path, packages: Path) -> None:
    runner = Runner(tmp_path, packages)
    assert runner.session(scale=1.01)[0] == RED
    statuses, summary, _ = runner.session(scale=1.01, GATE="changes", OPTIONS="-x")
    assert statuses == RED
    assert "was cut short" in summary


def test_a_report_leaves_out_shards_that_ran_nothing(tmp_path: Path, packages: Path) -> None:
    runner = Runner(tmp_path, packages)
    shards = tmp_path / "report" / "shards"
    runner.session()
    _, _, old = runner.session(OPTIONS="--nonsense")
    shutil.copytree(old / "results", shards / "results.good.1-of-2")
    given = {"NAME": "good", "SHARDS": "shards", "LISTS": ""}
    assert runner.scripts("report", tmp_path / "report", given) == [0, 0]
    summary = (tmp_path / "report" / "summary.md").read_text("utf-8")
    assert "good, shard 1/1: nothing was run." in summary
    assert "No shard has results." in summary
    assert not list((tmp_path / "report" / "results").glob("*.duckdb"))


def test_report_is_one_over_all_shards(tmp_path: Path, packages: Path) -> None:
    runner = Runner(tmp_path, packages)
    shards = tmp_path / "report" / "shards"
    for number in (1, 2):
        _, _, checkout = runner.session(SHARD=f"{number}/2")
        shutil.copytree(checkout / "results", shards / f"results.good.{number}-of-2")
        shutil.rmtree(runner.cache)
    # Of a backend whose name begins with this one's, called in the same run of a workflow.
    shutil.copytree(checkout / "results", shards / "results.good-legacy.1-of-2")
    given = {"NAME": "good", "SHARDS": "shards", "LISTS": ""}
    assert runner.scripts("report", tmp_path / "report", given) == [0, 0]
    kept = sorted(path.name for path in (tmp_path / "report" / "results").glob("*.duckdb"))
    assert kept == ["good.1-of-2.duckdb", "good.2-of-2.duckdb"]
    summary = (tmp_path / "report" / "summary.md").read_text("utf-8")
    assert "3\xa0/\xa03" in summary  # the two shards' cells together
    assert "from 2 results files" in summary


def test_documented_callers_name_inputs_that_there_are() -> None:
    """The reusable workflow is called with inputs of its own, and hands each on to the action."""
    callers = [
        caller
        for block in documents.code_blocks(ROOT / "docs" / "ci.md")
        if block.language == "yaml"
        for caller in yaml.safe_load(block.text)["jobs"].values()
    ]
    assert len(callers) == 2
    for caller in callers:
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


PIP = """#!/bin/sh
shift 2
printf '%s\\n' "$@" > pip.txt
exec {uv} pip "$1" -q --python {python} --no-deps --target site -r .hf-hardware-matrix.packages.txt
"""


def test_a_backend_of_another_distribution_is_installed_beside_nox(
    tmp_path: Path, packages: Path
) -> None:
    """By `packages`, with paths from the checkout; the sessions then know it by its entry point."""
    checkout = tmp_path / "checkout"
    write_vendor(checkout / "site")
    info = checkout / "site" / "acme_matrix-2.0.dist-info"
    wheel_of(checkout / "site", info, checkout / "acme_matrix-2.0-py3-none-any.whl")
    shutil.rmtree(checkout / "site")
    (checkout / "ci.txt").write_text("./acme_matrix-2.0-py3-none-any.whl\n")
    given = {"PACKAGES": "# ours\n-r ci.txt\n", "GITHUB_ACTION_PATH": "/a/b/c"}
    (checkout / "bin").mkdir()
    (checkout / "bin" / "python").write_text(PIP.format(uv=uv.find_uv_bin(), python=sys.executable))
    (checkout / "bin" / "python").chmod(0o755)
    step = step_of("install")
    path = os.pathsep.join([str(checkout / "bin"), os.environ["PATH"]])
    subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=checkout, env={**environment(), **given, "PATH": path}, timeout=120, check=True,
    )  # fmt: skip
    asked = (checkout / "pip.txt").read_text().splitlines()
    assert asked[:3] == ["install", "nox[uv]", "/a/b/c/../../.."]
    (checkout / "noxfile.py").write_text(
        "from hf_hardware_matrix.nox_sessions import add_sessions\nadd_sessions(['acme-npu'])\n"
    )
    listed = subprocess.run(
        [sys.executable, "-m", "nox", "-l"],
        cwd=checkout, capture_output=True, text=True, timeout=120, check=False,
        env={**environment(), "PYTHONPATH": f"{packages}{os.pathsep}{checkout / 'site'}"},
    )  # fmt: skip
    assert "acme-npu [backend] -> ACME's NPU: ready" in listed.stdout, listed.stdout + listed.stderr


def wheel_of(folder: Path, info: Path, path: Path) -> None:
    """Pack a folder with a distribution's modules and metadata as a wheel."""
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "RECORD").touch()
    with zipfile.ZipFile(path, "w") as packed:
        for file in sorted(folder.rglob("*")):
            packed.write(file, file.relative_to(folder))


@pytest.mark.parametrize("name", ["two words", "a/b", "a.b", ""])
def test_a_name_that_no_artefact_can_have_is_refused(tmp_path: Path, name: str) -> None:
    given = {"NAME": name, "SHARD": "1/2", "BACKEND": "good", "BACKENDS": "", "LISTS": ""}
    done = prepared(tmp_path, given)
    assert done.returncode == 1
    assert done.stdout.startswith("::error::Expected a name of letters, digits, - and _, found")


def prepared(folder: Path, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the action's script `prepare` in a folder, which gets the file `output`."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step_of("prepare")["run"]],
        cwd=folder, env={**environment(), **given, "GITHUB_OUTPUT": str(folder / "output")},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip


def step_of(name: str) -> dict[str, Any]:
    """A step of the action `session`, by its name."""
    text = (ACTIONS / "session" / "action.yml").read_text("utf-8")
    found: list[dict[str, Any]] = yaml.safe_load(text)["runs"]["steps"]
    (step,) = (step for step in found if step.get("name") == name)
    return step


def test_a_report_downloads_the_artefacts_of_its_call_only(tmp_path: Path) -> None:
    steps = yaml.safe_load((ACTIONS / "session" / "action.yml").read_text("utf-8"))["runs"]["steps"]
    (upload,) = (s["with"]["name"] for s in steps if "upload-artifact" in s.get("uses", ""))
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "session.yml").read_text("utf-8"))
    downloads = jobs["jobs"]["report"]["steps"]
    (download,) = (s["with"]["pattern"] for s in downloads if "download" in s["uses"])
    asked = "${{ inputs.name || inputs.backend }}"
    assert step_of("prepare")["env"]["NAME"] == asked
    part = "${{ steps.prepare.outputs.part }}"
    for path in (name for name in steps if "cache/" in name.get("uses", "")):
        assert f"-{part}-" in path["with"]["key"]

    def artefact(name: str) -> str:
        output = tmp_path / "output"
        output.unlink(missing_ok=True)
        given = {"NAME": name, "SHARD": "1/2", "BACKEND": "x", "BACKENDS": "", "LISTS": ""}
        assert prepared(tmp_path, given).returncode == 0
        return str(upload).replace(part, output.read_text("utf-8").strip().removeprefix("part="))

    names = ["onnxruntime", "onnxruntime-hf", "onnxruntime_2"]
    for name in names:
        pattern = download.replace(asked, name)
        assert [other for other in names if fnmatch(artefact(other), pattern)] == [name]
