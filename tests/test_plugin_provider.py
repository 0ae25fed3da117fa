"""A vendor's plugin provider, named by options of the session.

Skipped where the environment has no onnxruntime, as that of `nox -s tests`; `.ci/run` runs it in
that of `qnn`.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("onnxruntime")

from backends._shared.onnx import plugin_provider
from backends._shared.onnx.plugin_provider import PluginProvider
from backends.onnxruntime.plugin import plugin_of
from harness.contract import HarnessError, Unavailable


def device(name: str, kind: str) -> Any:
    """A device as ONNX Runtime describes it."""
    return SimpleNamespace(
        ep_name=name, device=SimpleNamespace(type=f"OrtHardwareDeviceType.{kind}")
    )


def provider(monkeypatch: pytest.MonkeyPatch, *found: Any, **given: Any) -> PluginProvider:
    """A provider whose library has these devices."""
    monkeypatch.setattr(plugin_provider, "registered", lambda library: found)
    return PluginProvider(Path("lib.so"), **given)


def test_no_option_means_the_cpu_provider() -> None:
    assert plugin_of({"device": "cpu", "cache": "off"}) is None


def test_options_of_a_session() -> None:
    given = {"ep_library": "lib.so", "ep": "E", "ep_option": "a=1\nb=x=y", "device": "npu"}
    wanted = PluginProvider(Path("lib.so").resolve(), "E", {"a": "1", "b": "x=y"}, "npu")
    assert plugin_of(given) == wanted


@pytest.mark.parametrize("given", [{"ep": "E"}, {"ep_option": "a=1"}])
def test_a_name_without_a_library(given: dict[str, str]) -> None:
    with pytest.raises(HarnessError, match=r"expected --ep-library .* Fix: add --ep-library PATH"):
        plugin_of(given)


@pytest.mark.parametrize("text", ["a", "=1"])
def test_an_option_that_is_no_pair(text: str) -> None:
    with pytest.raises(HarnessError, match=f"expected --ep-option NAME=VALUE.*found '{text}'"):
        plugin_of({"ep_library": "lib.so", "ep_option": text})


def test_the_kind_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu, npu = (device("E", kind) for kind in ("CPU", "GPU", "NPU"))
    assert provider(monkeypatch, cpu, gpu, npu).device() is npu
    assert provider(monkeypatch, cpu, gpu, name="E").device() is gpu
    assert provider(monkeypatch, cpu, gpu, kind="cpu").device() is cpu
    with pytest.raises(HarnessError, match=r"--device .* E, which has cpu, gpu; found 'npu'"):
        provider(monkeypatch, cpu, gpu, kind="npu").device()


def test_the_name_of_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = device("FirstProvider", "CPU"), device("SecondProvider", "GPU")
    assert provider(monkeypatch, first, second, name="FirstProvider").device() is first
    with pytest.raises(HarnessError, match="which has FirstProvider, SecondProvider; found ''"):
        provider(monkeypatch, first, second).device()
    with pytest.raises(HarnessError, match="Did you mean `FirstProvider`"):
        provider(monkeypatch, first, second, name="FirstProvidr").device()


def test_a_library_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="finds no device"):
        provider(monkeypatch).device()


def test_a_file_that_is_no_provider(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"found no file .*nowhere\.so. Fix: give its path"):
        PluginProvider(tmp_path / "nowhere.so").device()
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(HarnessError, match="Fix: name a library that exports CreateEpFactories"):
        PluginProvider(tmp_path / "text.so").device()
