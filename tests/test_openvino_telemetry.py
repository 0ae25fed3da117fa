"""OpenVINO is imported without its telemetry, or not at all; tried without OpenVINO."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

TELEMETRY = "openvino_telemetry"
OURS = "backends._shared.openvino_without_telemetry"


@pytest.fixture(autouse=True)
def imports(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process in which nothing has imported OpenVINO; what a test imports goes with it."""
    monkeypatch.setitem(sys.modules, "openvino", ModuleType("openvino"))
    for name in (TELEMETRY, OURS):
        # Set before it is deleted, so that it is gone again afterwards where it was not there.
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.delitem(sys.modules, name)
    return monkeypatch


def test_telemetry_cannot_be_imported_afterwards() -> None:
    assert importlib.import_module(OURS).ov is sys.modules["openvino"]
    with pytest.raises(ImportError, match=TELEMETRY):
        importlib.import_module(TELEMETRY)


def test_who_comes_second_is_told(imports: pytest.MonkeyPatch) -> None:
    imports.setitem(sys.modules, TELEMETRY, ModuleType(TELEMETRY))
    with pytest.raises(ImportError, match="something else had imported it, with its telemetry"):
        importlib.import_module(OURS)
