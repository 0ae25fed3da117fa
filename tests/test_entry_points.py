"""Backends of other distributions are found by their entry points, and checked."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from vendor_package import BACKEND, write_vendor
from workplace import BACKENDS, FAKES, Workplace

from harness.catalog import backends
from harness.commands import coverage, devices, expectations
from harness.contract import Device, HarnessError
from harness.toolkit import checkout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages."""
    made = tmp_path / "site"
    made.mkdir()
    monkeypatch.syspath_prepend(str(made))
    monkeypatch.setattr(sys, "path_importer_cache", {})
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        if name.startswith("acme"):
            del sys.modules[name]


def test_an_entry_point_is_a_backend_beside_ours(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_vendor(folder)
    found = backends.discover()
    assert {"acme-npu", "torch-cpu"} <= found.keys()
    spec = backends.find("ACME_NPU")
    assert spec == found["acme-npu"]
    assert spec.folder == made.resolve()
    assert (spec.package, spec.above) == ("acme_matrix.acme_npu", folder.resolve())
    assert "acme_matrix.acme_npu.backend" not in sys.modules
    parser = argparse.ArgumentParser()
    devices.add_arguments(parser)
    assert devices.main(parser.parse_args([])) == 0
    assert "acme-npu" in capsys.readouterr().out


def test_a_folder_of_ones_own_stands_alone(folder: Path) -> None:
    write_vendor(folder)
    assert "acme-npu" not in backends.discover(FAKES)


def test_a_package_of_one_part(folder: Path) -> None:
    write_vendor(folder, value="acme_npu")
    assert backends.find("acme-npu").package == "acme_npu"
    assert backends.load(backends.find("acme-npu"), {}).probe().name == "ACME NPU"


def test_packages_in_packages(folder: Path) -> None:
    write_vendor(folder, value="acme.matrix.acme_npu")
    spec = backends.find("acme-npu")
    assert (spec.package, spec.above) == ("acme.matrix.acme_npu", folder.resolve())


def test_the_border_sees_its_own_classes(folder: Path) -> None:
    write_vendor(folder)
    assert isinstance(backends.load(backends.find("acme-npu"), {}).probe(), Device)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"toml": "contract = 2"},
            r"acme-matrix 2\.0: entry point acme_npu: .* found contract = 2 in .*Fix: .*--upgrade",
        ),
        ({"toml": ""}, r"found no contract in .*Fix: a newer version of acme-matrix 2.0;"),
        ({"name": "acme"}, r"expected the name of the folder, acme_npu, found .acme.\. Fix: acme_"),
    ],
)
def test_a_wrong_entry_point_says_what_is_wrong(
    folder: Path, changes: dict[str, str], message: str
) -> None:
    write_vendor(folder, **changes)
    with pytest.raises(HarnessError, match=message):
        backends.find(changes.get("name", "acme-npu"))
    with pytest.raises(HarnessError, match=message):
        backends.discover()


def test_an_entry_point_to_nothing(folder: Path) -> None:
    made = write_vendor(folder)
    (made / "backend.toml").unlink()
    with pytest.raises(HarnessError, match=r"expected a package acme_matrix.acme_npu with a back"):
        backends.find("acme-npu")


def test_a_package_above_that_does_not_import(folder: Path) -> None:
    made = write_vendor(folder)
    (made.parent / "__init__.py").write_text("import no_such_sdk")
    with pytest.raises(HarnessError, match=r"ModuleNotFoundError: No module named 'no_such_sdk'"):
        backends.find("acme-npu")
    # A backend of ours is found all the same.
    assert backends.find("mock").name == "mock"


def test_a_package_without_init(folder: Path) -> None:
    made = write_vendor(folder)
    (made.parent / "__init__.py").unlink()
    with pytest.raises(HarnessError, match=r"has no __init__\.py\. Fix: add it"):
        backends.find("acme-npu")


def test_two_of_one_name(folder: Path) -> None:
    write_vendor(folder)
    write_vendor(folder, distribution="other-matrix", value="other_matrix.acme_npu")
    message = "one in acme-matrix 2.0 and one in other-matrix 2.0"
    with pytest.raises(HarnessError, match=message):
        backends.find("acme-npu")
    with pytest.raises(HarnessError, match=message):
        backends.discover()


@pytest.mark.parametrize("command", [devices, coverage, expectations])
def test_a_broken_one_hides_no_other_backend(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: ModuleType
) -> None:
    write_vendor(folder, toml="contract = 2")
    write_vendor(
        folder, name="zeta", value="acme_zeta.zeta", distribution="acme-zeta", toml="contract = 1"
    )
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["--results", str(tmp_path)] if command is coverage else [])
    args.root = checkout.ROOT
    assert command.main(args) == 0
    said = capsys.readouterr()
    assert said.err.startswith("left out: acme-matrix 2.0: entry point acme_npu: expected a back")
    assert "acme-npu" not in said.out
    assert "zeta" in said.out or command is expectations  # it has no rows
    assert "torch-cpu" in said.out


def test_two_of_one_name_hide_no_other_one(folder: Path) -> None:
    write_vendor(folder)
    write_vendor(folder, name="zeta", value="zeta_matrix.zeta", distribution="zeta-matrix")
    write_vendor(folder, distribution="other-matrix", value="other_matrix.acme_npu")
    left_out: list[HarnessError] = []
    found = backends.discover(left_out=left_out)
    assert {"mock", "zeta"} <= found.keys()
    assert "acme-npu" not in found
    assert backends.find("zeta").name == "zeta"
    with pytest.raises(HarnessError, match="expected one backend called acme-npu"):
        backends.find("acme-npu")
    assert ["expected one backend called acme-npu" in str(error) for error in left_out] == [True]


def test_a_name_of_ours_is_taken(folder: Path) -> None:
    write_vendor(folder, name="mock", value="acme_matrix.mock")
    assert backends.find("mock").folder == BACKENDS / "mock"
    with pytest.raises(HarnessError, match=r"found mock = acme_matrix\.mock"):
        backends.discover()


def test_an_unknown_name_is_told_of_it(folder: Path) -> None:
    write_vendor(folder)
    with pytest.raises(HarnessError, match="Did you mean `acme-npu`"):
        backends.find("acme-nup")


def test_a_session_in_a_checkout(workplace: Workplace, folder: Path) -> None:
    write_vendor(folder, backend=f"{BACKEND}\nassert __name__ == 'acme_matrix.acme_npu.backend'\n")
    done = workplace.run(
        "acme-npu",
        f"--lists={BACKENDS.parent / 'model_lists'}",
        "--models=bert",
        backends=BACKENDS,
        PYTHONPATH=str(folder),
    )
    assert "2 of 2 cells passed" in done.stdout, done.stdout
    assert "device: ACME NPU (npu, EMULATED: no hardware result); acme 3.1" in done.stdout
    assert re.search(r"results: \S+acme-npu\.duckdb", done.stdout)
