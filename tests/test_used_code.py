"""Code that a cell's process has used: looked at in the fork server, once for all its children."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workplace import BACKENDS

from harness.catalog import backends
from harness.cell import stages, used_code
from harness.report import badges
from harness.session.preloading import preloaded_modules
from harness.toolkit.source_files import label_of
from harness.workers import preload
from harness.workers.settings import PRELOAD_VARIABLE


@pytest.fixture(autouse=True)
def _nothing_found() -> Iterator[None]:
    before = dict(used_code._found)
    used_code._found.clear()
    yield
    used_code._found.clear()
    used_code._found.update(before)


def test_the_fork_server_looks_last_at_what_it_has_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = backends.find("mock")
    modules = preloaded_modules(spec, ["default"], [])
    monkeypatch.setitem(os.environ, PRELOAD_VARIABLE, json.dumps(modules))
    assert preload.preload() == []
    (found,) = used_code._found.values()
    assert {*sys.modules} <= found._seen
    assert label_of(Path(stages.__file__), spec.folder) in found.labels
    assert modules[-1].endswith(str(spec.folder))


def test_a_child_finds_what_it_has_imported_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = BACKENDS / "mock"
    monkeypatch.delitem(sys.modules, badges.__name__)  # nothing that runs cells imports it
    used_code.preload(str(folder))
    label = label_of(Path(badges.__file__), folder)
    assert label not in used_code.used_code(None, folder)
    importlib.import_module(badges.__name__)
    assert label in used_code.used_code(None, folder)
