"""The digest of a model's code follows from each file that computes it, and from no other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.models import library_code
from harness.toolkit.source_files import SourceFiles, package_folder

FILES = {
    "__init__.py": "",
    "core.py": "WIDTH = 8\n",
    "models/__init__.py": "",
    "models/ours.py": (
        "import torchlike.models.shared as shared\n"
        "from torchlike.models.parts import Part\n\n"
        "class Config: ...\n\n"
        "class Model:\n"
        "    config = Config()\n"
        "    def modules(self): return [self, Part()]\n"
    ),
    "models/parts.py": "from torchlike.models.deeper import scale\n\nclass Part: ...\n",
    "models/deeper.py": "def scale(): return 1\n",
    "models/shared.py": "",
    "models/foreign.py": "class Foreign: ...\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of models, with nothing of it imported or cached before or after."""
    folder = tmp_path / "torchlike"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchlike"]:
        del sys.modules[name]
    cached: Any = library_code._used
    cached.cache_clear()
    package_folder.cache_clear()


def _digest() -> str:
    """The digest as a new process finds it."""
    _forget()
    library_code._files = SourceFiles()
    importlib.invalidate_caches()
    importlib.import_module("torchlike.models.foreign")
    return library_code.code_digest(importlib.import_module("torchlike.models.ours").Model())


def _change(path: Path) -> None:
    path.write_text(f"{path.read_text()}\n# another\n")


def test_is_the_same_in_every_process(package: Path) -> None:
    assert _digest() == _digest()


@pytest.mark.parametrize(
    "name",
    ["core.py", "models/ours.py", "models/parts.py", "models/deeper.py", "models/shared.py"],
)
def test_follows_from_each_file_that_the_model_uses(package: Path, name: str) -> None:
    before = _digest()
    _change(package / name)
    assert _digest() != before


def test_does_not_follow_from_another_architecture(package: Path) -> None:
    before = _digest()
    _change(package / "models/foreign.py")
    assert _digest() == before
