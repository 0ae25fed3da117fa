"""`add_sessions` in somebody else's noxfile: sessions, pins, environments, their own lists."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from installed import Installation, installation
from vendor_package import write_vendor
from workplace import ROOT

from harness.environments import installed_copy
from harness.nox_sessions import add_sessions, backend_folder

NOXFILE = """\
from hf_hardware_matrix.nox_sessions import add_sessions
add_sessions(["backends", "mock"], lists="models.toml")
"""

MODELS = """\
[bert]
architecture = "bert"
family = "encoder-only"
"""

PINS = ROOT / "backends" / "mock" / "requirements.txt"


@pytest.fixture(scope="module")
def nox(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An environment with nox and the wheel."""
    return installation(tmp_path_factory.mktemp("nox") / "venv", ["nox[uv]"])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A vendor's repository, with a backend in a folder and a list of models."""
    made = write_vendor(tmp_path / "site")
    folder = tmp_path / "repository"
    shutil.copytree(made, folder / "backends" / "acme_npu")
    (folder / "backends" / "acme_npu" / "__init__.py").unlink()
    (folder / "backends" / "acme_npu" / "requirements.txt").unlink()
    (folder / "backends" / "acme_npu" / "requirements.in").write_text("# nothing\n")
    (folder / "noxfile.py").write_text(NOXFILE, encoding="utf-8")
    (folder / "models.toml").write_text(MODELS, encoding="utf-8")
    return folder


def test_two_lines_give_sessions_with_pins(nox: Installation, repository: Path) -> None:
    def run(*words: str) -> str:
        return nox.run("-m", "nox", *words, folder=repository).stdout

    listed = run("-l")
    marked = {line.split()[1] for line in listed.splitlines() if line[:2] in {"* ", "- "}}
    assert marked == {"acme-npu", "mock", "measure", "report", "lock"}
    assert "* acme-npu [backend] -> ACME's NPU: ready" in listed

    assert (
        "Expected the pins in backends/acme_npu/requirements.txt, found no such file. "
        "Fix: nox -s lock -- acme-npu"
    ) in run("-s", "acme-npu").replace("\\", "/")

    shutil.copy(PINS, repository / "backends" / "acme_npu" / "requirements.txt")
    first = run("-s", "acme-npu")
    assert "device: ACME NPU" in first, first
    assert "entries: 1 of 1" in first
    assert "1 passed" in first
    assert (repository / "results" / "acme-npu.duckdb").is_file()
    again = run("-s", "acme-npu", "--", "-k", "bert", "-q")
    assert "Reusing existing virtual environment" in again
    assert "1 passed" in again

    changed = run("-s", "acme-npu", "--", "--with", "packaging==26.2", "-q")
    assert "+ packaging==26.2" in changed
    assert "arguments -k bert -> --with packaging==26.2\n" in changed
    assert "1 common cell, of which 1 passed and 1 pass: nothing changed" in changed
    assert (repository / "results" / "with-packaging-26.2" / "acme-npu.duckdb").is_file()


def test_entry_points_give_sessions(nox: Installation, tmp_path: Path) -> None:
    write_vendor(tmp_path / "site")
    (tmp_path / "noxfile.py").write_text(NOXFILE.replace('["backends", "mock"], ', ""))
    site = {"PYTHONPATH": str(tmp_path / "site")}
    done = nox.run("-m", "nox", "-l", folder=tmp_path, **site)
    assert "- acme-npu [backend]" in done.stdout, done.stdout
    assert "- torch-cpu [backend]" in done.stdout


def test_a_name_that_is_none(nox: Installation, tmp_path: Path) -> None:
    (tmp_path / "noxfile.py").write_text(NOXFILE.replace("backends", "mok", 2))
    done = nox.run("-m", "nox", "-l", folder=tmp_path)
    assert "found 'mok'. Fix: correct it" in done.stdout


def test_a_checkout_has_its_own_noxfile() -> None:
    with pytest.raises(SystemExit, match="expected an installed package, found a checkout"):
        add_sessions()


def test_an_entry_point_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_vendor(tmp_path, value="acme_nowhere.acme_npu")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [backend.name for backend in backend_folder.named_backends()] == ["acme-npu"]
    (made / "backend.toml").unlink()
    with pytest.raises(SystemExit, match=r"expected a package acme_nowhere.acme_npu with a back"):
        backend_folder.named_backends()


# ---- the copy of a distribution


def distribution(folder: Path, **files: str) -> Distribution:
    """A distribution with one module, and these files of metadata."""
    (folder / "thing.py").write_text("")
    metadata = folder / "thing-1.0.dist-info"
    metadata.mkdir()
    told = {
        "METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
        "RECORD": "thing.py,,\nthing-1.0.dist-info/METADATA,,\nthing-1.0.dist-info/WHEEL,,\n"
        "../../bin/thing,,\nthing-1.0.dist-info/RECORD,,\n__pycache__/thing.pyc,,\n",
        **files,
    }
    for name, text in told.items():
        (metadata / name).write_text(text, encoding="utf-8")
    return Distribution.at(metadata)


def test_a_wheel_is_what_was_installed(tmp_path: Path) -> None:
    made = installed_copy.wheel(distribution(tmp_path), tmp_path)
    assert made.name == "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(made) as archive:
        assert set(archive.namelist()) == {
            "thing.py",
            "thing-1.0.dist-info/METADATA",
            "thing-1.0.dist-info/WHEEL",
            "thing-1.0.dist-info/RECORD",
        }
        assert b"thing.py,sha256=" in archive.read("thing-1.0.dist-info/RECORD")


def test_an_editable_install_is_linked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = {"url": (tmp_path / "there").as_uri(), "dir_info": {"editable": True}}
    distribution(tmp_path, **{"direct_url.json": json.dumps(url)})
    monkeypatch.syspath_prepend(str(tmp_path))
    linked = installed_copy.requirement("thing", tmp_path)
    assert linked == ["-e", str(tmp_path / "there")]


def test_what_cannot_be_copied_is_said(tmp_path: Path) -> None:
    found = distribution(tmp_path)
    (tmp_path / "thing-1.0.dist-info" / "WHEEL").unlink()
    with pytest.raises(installed_copy.NotCopied, match="found it without RECORD or WHEEL"):
        installed_copy.wheel(found, tmp_path)
    with pytest.raises(installed_copy.NotCopied, match=r"found none\. Fix: .* -m pip install"):
        installed_copy.requirement("no-such-distribution", tmp_path)


def test_another_build_of_one_version_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    installed_copy.fingerprint.cache_clear()
    before = installed_copy.fingerprint("thing")
    (tmp_path / "thing-1.0.dist-info" / "RECORD").write_text("thing.py,sha256=other,1\n")
    installed_copy.fingerprint.cache_clear()
    assert installed_copy.fingerprint("thing") != before
    assert sys.modules.get("thing") is None
