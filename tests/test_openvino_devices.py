"""Which device OpenVINO is asked for, and how a program proves where it ran; on a made-up core."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backends._shared.openvino import devices
from backends._shared.openvino.placement import executed_on
from backends.openvino.program import CompiledMetadata, OpenVINOProgram
from harness.contract import HarnessError, Precision, Unavailable

DEFAULT, F32 = Precision("default", "bfloat16"), Precision("f32", "float32")


class Operation:
    """One operation of a made-up model."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def get_friendly_name(self) -> str:
        return self.name

    def get_type_name(self) -> str:
        return self.kind


MODEL = SimpleNamespace(get_ops=lambda: [Operation("a", "MatMul"), Operation("b", "Loop")])


class Core:
    """A machine with these devices, the first of which takes every operation but loops."""

    def __init__(self, *available: str, hint: str = "bf16") -> None:
        self.available_devices = list(available)
        self.hint = hint
        self.asked: list[str] = []

    def get_property(self, device: str, name: str) -> Any:
        values = {
            "INFERENCE_PRECISION_HINT": SimpleNamespace(get_type_name=lambda: self.hint),
            "OPTIMIZATION_CAPABILITIES": ["FP32", "BF16", "INT8", "EXPORT_IMPORT"],
            "KV_CACHE_PRECISION": "f16",
            "FULL_DEVICE_NAME": f"a {device}",
        }
        return [*values, "SUPPORTED_PROPERTIES"] if name == "SUPPORTED_PROPERTIES" else values[name]

    def query_model(self, model: Any, device: str) -> dict[str, str]:
        self.asked.append(device)
        if device.startswith("HETERO:"):
            first, second = device.removeprefix("HETERO:").split(",")
            return {"a": first, "b": second}
        return dict.fromkeys("ab", device) if device == "CPU" else {"a": device}


@pytest.mark.parametrize(
    ("asked", "available", "name", "wanted"),
    [
        ("", ["CPU"], "CPU", ("CPU",)),
        ("cpu", ["CPU", "GPU"], "CPU", ("CPU",)),
        ("GPU", ["CPU", "GPU.0", "GPU.1"], "GPU", ("GPU",)),
        ("GPU.1", ["CPU", "GPU.0", "GPU.1"], "GPU.1", ("GPU.1",)),
        ("AUTO", ["CPU", "GPU"], "AUTO", ("CPU", "GPU")),
        ("AUTO:GPU,CPU", ["CPU", "GPU"], "AUTO:GPU,CPU", ("GPU",)),
        ("hetero:gpu,cpu", ["CPU", "GPU"], "HETERO:GPU,CPU", ("GPU",)),
    ],
)
def test_device_is_what_was_asked_for(
    asked: str, available: list[str], name: str, wanted: tuple[str, ...]
) -> None:
    found = devices.target(asked, Core(*available))
    assert (found.name, found.wanted) == (name, wanted)


@pytest.mark.parametrize("asked", ["NPU", "GPU", "AUTO:NPU,CPU", "HETERO:CPU,NPU", "CPU.1"])
def test_absent_device_is_unavailable_with_what_it_needs(asked: str) -> None:
    with pytest.raises(Unavailable, match="finds the devices CPU on this machine") as caught:
        devices.target(asked, Core("CPU"))
    assert caught.value.fix


@pytest.mark.parametrize("asked", ["FPGA", "HETERO", "AUTO:CPU,TPU", "HETERO:"])
def test_name_of_no_device_is_refused(asked: str) -> None:
    with pytest.raises(HarnessError, match=r"expected .*device.* found"):
        devices.target(asked, Core("CPU"))


@pytest.mark.parametrize(("hint", "dtype"), [("bf16", "bfloat16"), ("f16", "float16")])
def test_default_is_what_the_device_computes_in(hint: str, dtype: str) -> None:
    offered = devices.target("", Core("CPU", hint=hint)).precisions()
    assert offered[0] == Precision("default", dtype)
    assert [p.name for p in offered] == ["default", "f32", "bf16", "int8", "int4"]  # no FP16


def test_hints_say_every_precision_but_the_default() -> None:
    target = devices.target("", Core("CPU"))
    assert target.hints(DEFAULT) == {}
    assert target.hints(F32) == {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def test_what_a_virtual_device_compiled_is_not_kept() -> None:
    assert devices.target("", Core("CPU")).exports
    assert not devices.target("AUTO", Core("CPU")).exports


class Compiled:
    """A compiled model that runs on these devices and doubles its input."""

    def __init__(self, *ran: str) -> None:
        self.ran = list(ran)
        element = SimpleNamespace(to_dtype=lambda: np.float32)
        self.inputs = [SimpleNamespace(get_element_type=lambda: element)]
        self.answer = np.zeros(0, np.float32)

    def get_property(self, name: str) -> list[str]:
        assert name == "EXECUTION_DEVICES"
        return self.ran

    def create_infer_request(self) -> Any:
        return self

    def infer(self, feed: Any) -> None:
        (given,) = feed.values()
        self.answer = np.asarray(given * 2)

    def get_output_tensor(self, index: int) -> Any:
        assert index == 0
        return SimpleNamespace(data=self.answer)

    def get_runtime_model(self) -> Any:
        said = {"runtimePrecision": "bf16", "layerType": "MatMul", "originalLayersNames": "a,b"}
        info = {name: SimpleNamespace(value=value) for name, value in said.items()}
        constant = {"layerType": SimpleNamespace(value="Const")}
        nodes = [SimpleNamespace(get_rt_info=lambda i=i: i) for i in (info, constant)]
        return SimpleNamespace(get_ordered_ops=lambda: nodes)


def program(asked: str, ran: list[str], *available: str) -> OpenVINOProgram:
    target = devices.target(asked, Core(*available))
    compiled = Compiled(*ran)
    about = CompiledMetadata(("x",), ("y",), target.support(MODEL, executed_on(compiled)))
    return OpenVINOProgram(compiled, about, target, "converted")


def test_inference_copies_its_outputs_and_casts_its_inputs() -> None:
    made = program("", ["CPU"], "CPU")
    first = made({"x": np.ones(2), "unused": np.ones(1)})
    made({"x": np.zeros(2)})
    assert list(first) == ["y"]
    assert first["y"].dtype == np.float32
    assert first["y"].tolist() == [2.0, 2.0]


def test_input_without_dimensions_keeps_none() -> None:
    assert program("", ["CPU"], "CPU")({"x": np.array(3.0)})["y"].shape == ()


@pytest.mark.parametrize(
    ("asked", "ran", "share", "fallen"),
    [
        ("", ["CPU"], 1.0, {}),
        ("AUTO", ["CPU"], 1.0, {}),
        ("AUTO", ["(CPU)"], 1.0, {}),
        ("HETERO:GPU,CPU", ["GPU", "CPU"], 0.5, {"Loop on CPU": 1}),
        ("GPU", ["GPU.0"], 0.5, {"Loop on no device": 1}),
    ],
)
def test_share_is_what_query_model_puts_on_the_wanted_device(
    asked: str, ran: list[str], share: float, fallen: dict[str, int]
) -> None:
    found = program(asked, ran, "CPU", "GPU").placement()
    assert (found.device_share, dict(found.fallback_ops)) == (share, fallen)
    assert "1 kernels (bf16 x1), 1 fused into others" in found.evidence


def test_auto_that_falls_back_is_no_work_on_the_device() -> None:
    found = program("AUTO:GPU,CPU", ["(CPU)"], "CPU", "GPU").placement()
    assert found.device_share == 0.0
    assert "EXECUTION_DEVICES: CPU" in found.evidence
