"""`nox -s tests -- --installed`: copies of the tests, those left out, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from workplace import ROOT

from tools import installed_tests

TABLE = """
[[left_out]]
tests = ["test_layout.py", "test_main.py::test_lists"]
reason = "they read the checkout"
"""


def test_every_row_names_a_test_that_there_is() -> None:
    for name in installed_tests.left_out():
        file, _, function = name.partition("::")
        assert (ROOT / file).is_file(), name
        assert not function or function in installed_tests.functions(ROOT / file), name


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with three files of tests, of which one is left out."""
    tests = tmp_path / "checkout" / "tests"
    (tests / "fakes").mkdir(parents=True)
    (tests / "of_a_checkout.toml").write_text(TABLE, "utf-8")
    (tests / "test_layout.py").write_text(
        "def test_a(): ...\nclass TestB:\n    def test_b(self): ...\n"
    )
    (tests / "test_main.py").write_text(
        "from harness import __main__\nfrom backends.mock import backend\n\n"
        'COMMAND = ["python", "-m", "harness", "list"]\nTEXT = "python -m harness: bad"\n'
        "def test_lists(): ...\ndef test_shows(): ...\n"
    )
    (tests / "fakes" / "backend.py").write_text("from harness.contract import Device\n")
    root = tests.parent
    for folder in ("harness", "backends"):
        (root / folder).mkdir()
    for name in ("harness/__main__.py", "harness/contract.py", "harness/plugin.py"):
        (root / name).touch()
    (root / "backends" / "mock").mkdir()
    (root / "pyproject.toml").write_text('[tool.pytest]\naddopts = ["-p", "harness.plugin"]\n')
    return root


def test_the_tests_import_what_is_installed(checkout: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    installed_tests.copy_tests(checkout, place)
    assert sorted(path.name for path in place.iterdir()) == ["pyproject.toml", "tests"]
    assert not (place / "tests" / "test_layout.py").exists()
    text = (place / "tests" / "test_main.py").read_text("utf-8")
    assert "from hf_hardware_matrix import __main__" in text
    assert "from hf_hardware_matrix.backends.mock import backend" in text
    assert '"-m", "hf_hardware_matrix", "list"' in text
    assert "hf_hardware_matrix.contract" in (place / "tests/fakes/backend.py").read_text("utf-8")
    assert "hf_hardware_matrix.plugin" in (place / "pyproject.toml").read_text("utf-8")


def test_what_is_left_out_is_counted_with_its_reason(checkout: Path) -> None:
    assert installed_tests.summary(checkout).splitlines() == [
        "left out, since they look at the checkout: 3 of 4 test functions",
        "  tests/test_layout.py: they read the checkout",
        "  tests/test_main.py::test_lists: they read the checkout",
    ]
