"""The scripts of the templates for GitLab and Jenkins, with nox and runners played by files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from workplace import ROOT, Workplace

pytestmark = pytest.mark.skipif(not shutil.which("sh"), reason="the images' shell is sh")

TEMPLATES = ROOT / "examples" / "ci"
JENKINS = (TEMPLATES / "Jenkinsfile").read_text("utf-8")
GITLAB = yaml.safe_load((TEMPLATES / "gitlab-ci.yml").read_text("utf-8"))

#: Python with the checkout in the place of the installed package.
PYTHON = """#!/bin/sh
if [ "$2" = hf_hardware_matrix ]; then shift 2; set -- -m harness "$@"; fi
PYTHONPATH={root} exec {python} "$@"
"""

#: A session as nox starts it, in a place where it can write.
NOX = """#!/bin/sh
[ -w "$HOME" ] && [ -n "$LOGNAME" ] || exit 9
shift 3
{command} --results=results "$@" $ADDED
"""


def jenkins(label: str) -> str:
    """The script of a step `sh`."""
    (found,) = re.findall(rf"sh label: '{label}', script: '''\n(.*?)'''", JENKINS, re.DOTALL)
    return textwrap.dedent(found)


def on_gitlab(checkout: Path, part: str, run: Callable[..., int]) -> int:
    """A job of GitLab's, but its installation: the scripts in order, the last in any case."""
    index, total = part.split("-of-")
    told = {
        "CI_NODE_INDEX": index,
        "CI_NODE_TOTAL": total,
        "CI_JOB_NAME": f"good {index}/{total}",
        "HOME": str(checkout),
        "LOGNAME": "root",
    }
    job = GITLAB[".matrix"]
    before = [line for line in job["before_script"] if "pip install" not in line]
    status = run("\n".join([*before, *GITLAB["torch-cpu"]["script"]]), told)
    run("\n".join(job["after_script"]), told)
    return status


def on_jenkins(checkout: Path, part: str, run: Callable[..., int]) -> int:
    """The session's step on Jenkins, in a container whose user has neither home nor name."""
    if (checkout / "history" / "good.duckdb").exists():
        pytest.fail("the artefact of every shard needs a name of its own")
    return run(jenkins("session"), {"PART": part, "WORKSPACE": str(checkout)})


def job(
    folder: Path, on: Callable[..., int], part: str, scale: float = 1.0, added: str = ""
) -> tuple[int, str, Path]:
    """One shard of one pipeline in a fresh checkout, with the history that the last one kept.

    Args:
        folder: of all pipelines; `history-PART` is kept between them.
        on: whose scripts.
        part: of the entries, as 1-of-2.
        scale: of the backend's outputs: 1 is right.
        added: to the session's options.

    Returns:
        The exit status, what was printed, and the checkout.
    """
    checkout = folder / f"{part}-{len(list(folder.iterdir()))}"
    checkout.mkdir()
    place = Workplace(checkout)
    command = " ".join(f"'{word}'" for word in place.scaled(scale))
    programs = checkout / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in {
        "nox": NOX.format(command=command),
        "python": PYTHON.format(root=ROOT, python=sys.executable),
    }.items():
        (programs / name).write_text(text, "utf-8")
        (programs / name).chmod(0o755)
    kept = folder / f"history-{part}"
    if kept.exists():
        shutil.copytree(kept, checkout / "history")
    told = ""

    def run(script: str, changes: dict[str, str]) -> int:
        nonlocal told
        environ = place.environment(
            PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", ADDED=added, **changes
        )
        for name in {"HOME", "LOGNAME", "USER"} - set(changes):
            environ.pop(name, None)
        done = subprocess.run(
            ["sh", "-e", "-c", script.replace("torch-cpu", "good")],
            cwd=checkout, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=120, check=False,
        )  # fmt: skip
        told += done.stdout
        return done.returncode

    status = on(checkout, part, run)
    print(told)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(checkout / "history", kept)
    return status, told, checkout


@pytest.mark.parametrize("on", [on_gitlab, on_jenkins])
def test_shards_merge_and_a_regression_is_called_so(tmp_path: Path, on: Callable[..., int]) -> None:
    merged = tmp_path / "merged" / "results"
    merged.mkdir(parents=True)
    for part in ("1-of-2", "2-of-2"):
        status, _, checkout = job(tmp_path, on, part)
        assert status == 0
        for path in (checkout / "results").glob("*.*"):
            assert not (merged / path.name).exists(), f"a second {path.name}"
            shutil.copy(path, merged)
    assert sorted(path.name for path in merged.iterdir()) == [
        "good.1-of-2.duckdb", "good.2-of-2.duckdb",
    ]  # fmt: skip
    status, told, _ = job(tmp_path, on, "1-of-2", scale=1.01)
    assert status == 1
    assert "2 regressed" in told


@pytest.mark.parametrize("on", [on_gitlab, on_jenkins])
def test_a_session_that_never_ran_leaves_no_older_results(
    tmp_path: Path, on: Callable[..., int]
) -> None:
    assert job(tmp_path, on, "1-of-2")[0] == 0
    status, _, checkout = job(tmp_path, on, "1-of-2", added="--nonsense")
    assert status != 0
    assert [path.name for path in (checkout / "results").iterdir()] == ["nothing-ran.1-of-2.txt"]
    assert "2 regressed" in job(tmp_path, on, "1-of-2", scale=1.01)[1]  # the history was kept


def test_jenkins_takes_each_shard_into_the_report() -> None:
    (values,) = re.findall(r"values (.+)", JENKINS)
    parts = re.findall(r"'(.+?)'", values)
    assert parts == [f"{number}-of-{len(parts)}" for number in range(1, len(parts) + 1)]
    (stash,) = re.findall(r'stash name: "(.+?)"', JENKINS)
    unstashed = re.findall(r"unstash '(.+?)'", JENKINS)
    assert unstashed == [stash.replace("${PART}", part) for part in parts]
    (copied,) = re.findall(r'filter: "(.+?)"', JENKINS)
    assert copied.replace("${PART}", "$PART") in jenkins("session")


def test_images_have_git() -> None:
    """The slim ones have none, and the package mostly comes from a repository."""
    images = re.findall(r"image '(.+?)'", JENKINS)
    images += [job["image"] for job in GITLAB.values() if "image" in job]
    assert set(images) == {"python:3.11"}
