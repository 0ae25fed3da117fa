"""The examples work from a copy in an empty folder, by the commands of their READMEs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import documents
import pytest
import uv
from installed import environment, wheel

pytest.importorskip("torch")
pytest.importorskip("transformers")

EXAMPLES = documents.ROOT / "examples"

#: Commands that stay out, by their first words, with the reason.
LEFT_OUT: Mapping[str, str] = {
    "python -m pip install": "the fixture installs the same, without PyTorch's gigabyte",
    "nox -s lock": "resolves packages at a registry",
    ".nox/torch-cpu/bin/python -m hf_hardware_matrix size": "tests/test_model_size.py runs it",
    ".nox/torch-cpu/bin/python -m hf_hardware_matrix show": "tests/test_show.py runs it",
    "nox -s acme-npu -- --models smoke": "30 models",
    "nox -s acme-npu -- --precision all": "16 cells",
    "nox -s acme-npu -- --update-expectations": "writes what the run before has shown",
}

#: Options that make a command cheap: fewer models, and points of the contract.
CHEAPER: Mapping[str, str] = {
    "nox -s acme-npu": "-- --models distilbert,mixtral",
    "check-backend acme-npu": "--models distilbert --points refusal",
}


def copied(name: str, folder: Path) -> Path:
    """A copy of an example, without what its sessions have written."""
    written = shutil.ignore_patterns(".nox", "results", "checkpoints", "__pycache__")
    return shutil.copytree(EXAMPLES / name, folder / name, ignore=written)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel and the vendor's two distributions."""
    folder = tmp_path_factory.mktemp("packages")
    vendor = copied("vendor-backend", folder)
    install = [uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    target = folder / "site"
    sources = [str(wheel()), str(vendor / "acme-sdk")]
    command = [*install, "--python", sys.executable, "--target", str(target), *sources]
    subprocess.run(command, check=True, env=environment())
    return target


def ran(
    command: str, folder: Path, packages: Path, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of a README in a folder, in this Python and without making environments."""
    words = shlex.split(command)
    if words[0] == "nox":
        words = [sys.executable, "-m", "nox", "--no-venv", *words[1:]]
    else:
        words = [sys.executable, *words[1:]]
    paths = os.pathsep.join([str(packages), *filter(None, [changes.pop("PYTHONPATH", "")])])
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        words,
        cwd=folder,
        env={**environment(), "PYTHONPATH": paths, "PATH": programs, **changes},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )


def cheap(command: str) -> str:
    """A command with the options that make it cheap."""
    more = next((o for part, o in CHEAPER.items() if command.endswith(part)), "")
    more = more or next((o for part, o in CHEAPER.items() if f"{part} " in command), "")
    return f"{command} {more}".strip()


@pytest.mark.parametrize("name", ["vendor-backend", "own-models"])
def test_a_readme_from_top_to_bottom(name: str, tmp_path: Path, packages: Path) -> None:
    folder = copied(name, tmp_path)
    said = {}
    for command in documents.commands(folder / "README.md"):
        if any(command.startswith(left_out) for left_out in LEFT_OUT):
            continue
        done = ran(cheap(command), folder, packages)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        said[command] = done.stdout
    assert (folder / "results" / "report.html").is_file()
    if name == "own-models":
        assert "6 ok; 6 cells" in said["nox -s torch-cpu"]
    else:
        assert "1 ok, 1 xfail; 2 cells" in said["nox -s acme-npu"]


def test_the_conformance_run_sees_what_the_readme_says(tmp_path: Path, packages: Path) -> None:
    folder = copied("vendor-backend", tmp_path)
    source = folder / "acme_matrix" / "acme_npu" / "backend.py"
    text = source.read_text("utf-8")
    copy = "name: np.array(array) for"
    assert copy in text
    source.write_text(text.replace(copy, "name: array for"), "utf-8")
    options = "--backends-dir acme_matrix --models distilbert --points aliasing"
    done = ran(f"python -m hf_hardware_matrix check-backend acme-npu {options}", folder, packages)
    assert done.returncode == 1, done.stdout
    assert "aliasing  NO   aliased outputs: last_hidden_state: expected arrays that" in done.stdout


def test_the_vendors_backend_is_found_by_its_entry_point(tmp_path: Path, packages: Path) -> None:
    metadata = tmp_path / "acme_matrix-1.0.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-matrix\nVersion: 1.0.0\n")
    project = (EXAMPLES / "vendor-backend" / "pyproject.toml").read_text("utf-8")
    assert 'acme_npu = "acme_matrix.acme_npu"' in project
    (metadata / "entry_points.txt").write_text(
        "[hf_hardware_matrix.backends]\nacme_npu = acme_matrix.acme_npu\n"
    )
    shutil.copytree(EXAMPLES / "vendor-backend" / "acme_matrix", tmp_path / "acme_matrix")
    done = ran("python -m hf_hardware_matrix devices", tmp_path, packages, PYTHONPATH=str(tmp_path))
    assert "\nacme-npu  " in done.stdout, done.stdout
