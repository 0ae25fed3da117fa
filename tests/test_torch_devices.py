"""PyTorch's devices as far as they can be tested without one: PyTorch's meta device stands in."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from backends._shared.torch import backend, gpu, inductor
from backends._shared.torch.backend import MODES, CpuBackend, TorchProgram
from backends._shared.torch.gpu import GpuProgram
from backends.mps import backend as mps
from backends.torch_cuda import backend as cuda
from backends.torch_rocm import backend as rocm
from harness.contract import Arrays, HarnessError, Placement, Precision, Unavailable, Unsupported

META = torch.device("meta")
INPUTS: Arrays = {"x": np.ones((2, 4), dtype=np.float32), "ids": np.ones((2, 4), dtype=np.int64)}


class Model(nn.Module):
    """A linear layer, and whatever a test adds to its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.seen: dict[str, torch.dtype] = {}

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen = {"x": x.dtype, "ids": ids.dtype}
        return {"out": self.linear(x + self.extra(x))}

    def extra(self, x: torch.Tensor) -> Any:
        return 0


class FakeCase:
    """Fake case: the part of the contract that a program uses."""

    seeded = False

    def __init__(self, model: Model | None = None) -> None:
        self.model = model or Model()

    def module(self) -> Model:
        return self.model

    def options(self) -> Mapping[str, Any]:
        return {}

    def outputs(self, raw: Any) -> Arrays:
        return {name: tensor.float().numpy() for name, tensor in raw.items()}


def case(model: Model | None = None) -> Any:
    return FakeCase(model)


@pytest.fixture(autouse=True)
def _flags() -> Iterator[None]:
    """Put back what PyTorch keeps for the whole process."""
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


# --- Precisions -----------------------------------------------------------------------------------


def test_every_offered_precision_has_its_mode() -> None:
    for kind in (CpuBackend, cuda.Backend, rocm.Backend, mps.Backend):
        names = [precision.name for precision in kind.precisions]
        assert names[0] == "default"
        assert set(names) <= MODES.keys()
        assert len(set(names)) == len(names)
        assert "compile" in names


@pytest.mark.parametrize(
    ("name", "weights", "out"),
    [
        ("f32", torch.float32, torch.float32),
        ("bf16", torch.bfloat16, torch.bfloat16),
        ("f16", torch.float16, torch.float16),
        ("bf16-autocast", torch.float32, torch.bfloat16),
        ("f16-autocast", torch.float32, torch.float16),
    ],
)
def test_weights_are_cast_or_products_are(name: str, weights: Any, out: Any) -> None:
    model = Model()
    program = CpuBackend({}).prepare(case(model), Precision(name, ""))
    assert program.run(program.tensors(INPUTS))["out"].dtype == out
    assert model.linear.weight.dtype == weights
    assert model.seen == {"x": weights, "ids": torch.int64}
    assert program(INPUTS)["out"].shape == (2, 4)
    assert program.placement().device_share == 1.0


def test_tf32_is_a_precision_of_its_own() -> None:
    backend = cuda.Backend({"fallback": "cpu"})

    def flags(name: str) -> tuple[bool, bool]:
        backend.prepare(case(), Precision(name, ""))
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    assert flags("tf32") == (True, True)
    assert flags("f32") == (False, False)
    assert flags("default") == cuda.AS_INSTALLED


def test_a_new_cell_finds_a_process_as_it_was() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.set_default_dtype(torch.float64)
    try:
        cuda.Backend({"fallback": "cpu"})
        assert torch.get_default_dtype() == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.backends.cuda.matmul.allow_tf32 == cuda.AS_INSTALLED[0]


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Unsupported, match=r"none of c\+\+, .* Fix: apt-get install g\+\+"):
        CpuBackend({}).prepare(case(), Precision("compile", "float32"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Unsupported, match="none of no-such-compiler is on PATH"):
        CpuBackend({}).prepare(case(), Precision("compile", "float32"))


def test_what_was_not_compiled_did_not_run_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_compile", lambda module, case: module)
    program = TorchProgram(Model(), case(), torch.device("cpu"), MODES["compile"])
    program(INPUTS)
    monkeypatch.setattr(inductor, "graphs", lambda: (0, 3))
    assert program.placement().device_share == 0.0
    monkeypatch.setattr(inductor, "graphs", lambda: (2, 1))
    assert program.placement().device_share == 1.0
    assert "2 graphs, with 1 breaks" in program.placement().evidence


# --- Placement ------------------------------------------------------------------------------------


def placed(model: Model, mode: str = "f32") -> Placement:
    program = GpuProgram(model, case(model), META, MODES[mode])
    program._inputs = INPUTS
    program._output_devices = {"meta"}
    return program.placement()


def test_all_of_it_is_on_the_device() -> None:
    found = placed(Model())
    assert found.device_share == 1.0
    assert found.fallback_ops == {}


def test_a_tensor_that_stays_behind_is_found() -> None:
    model = Model()
    program = GpuProgram(model, case(model), META, MODES["f32"])
    model.register_buffer("table", torch.ones(3))  # as a lazy one does
    program._inputs, program._output_devices = INPUTS, {"meta"}
    assert program.placement().device_share == pytest.approx(2 / 3)


def test_an_output_on_the_host_is_no_result_of_the_device() -> None:
    program = GpuProgram(Model(), case(), META, MODES["f32"])
    program._inputs, program._output_devices = INPUTS, {"cpu"}
    assert program.placement().device_share == 0.0


class OnHost(Model):
    """Computes a part on the host, in silence."""

    def extra(self, x: torch.Tensor) -> Any:
        table = torch.ones(100, dtype=torch.float32).cos()
        return float(table.sum())


class Bookkeeping(Model):
    """Counts positions on the host, which is where they belong."""

    def extra(self, x: torch.Tensor) -> Any:
        return int(torch.arange(7).sum())


class Searches(Model):
    """Looks its query up on the host, as RAG does."""

    def extra(self, x: torch.Tensor) -> Any:
        return int(torch.ones(x.shape).detach().view(-1).to(torch.float32).argmax())


class InPlace(Model):
    """Computes on the host without a new tensor."""

    def extra(self, x: torch.Tensor) -> Any:
        return float(torch.ones(100).mul_(torch.ones(100))[0])


class FallsBack(Model):
    """PyTorch's own way of saying that it runs an operator on the CPU."""

    def extra(self, x: torch.Tensor) -> Any:
        warnings.warn(
            "The operator 'aten::foo' is not currently supported on the MPS backend and will "
            "fall back to run on the CPU. This may have performance implications.",
            stacklevel=1,
        )
        return 0


def test_work_on_the_host_is_found() -> None:
    found = placed(OnHost())
    assert found.device_share < 0.5
    assert found.fallback_ops["aten.cos.default (cpu)"] == 1


def test_counting_on_the_host_is_none() -> None:
    assert placed(Bookkeeping()).device_share == 1.0


def test_looking_up_on_the_host_is_none() -> None:
    found = placed(Searches())
    assert found.device_share == 1.0
    assert found.fallback_ops == {}


def test_a_copy_from_the_device_is_no_work() -> None:
    moved = gpu._moved
    host, there = torch.ones(2), torch.ones(2, device=META)
    copy = torch.ops.aten._to_copy.default
    assert moved(copy, [there], host)
    assert not moved(copy, [host], host.to(torch.float16))


def test_work_in_place_on_the_host_is_found() -> None:
    assert placed(InPlace()).fallback_ops == {"aten.mul_.Tensor (cpu)": 1}


class Numbers(Model):
    """Says besides which rows it looked up; they are still where it found them."""

    def forward(self, x: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().forward(x, ids) | {"rows": ids.to(META)}


def test_numbers_of_rows_may_stay_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Numbers()
    program = TorchProgram(model, case(model), torch.device("cpu"), MODES["f32"])
    monkeypatch.setattr(FakeCase, "outputs", lambda self, raw: {})
    program(INPUTS)
    assert program.placement().device_share == 1.0


def test_what_falls_back_is_listed() -> None:
    found = placed(FallsBack())
    assert found.device_share == 0.0
    assert found.fallback_ops == {"aten::foo": 1}


def test_without_a_kernel_nothing_ran_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GpuProgram, "kernels", lambda self: Counter())
    assert placed(Model()).device_share == 0.0
    monkeypatch.setattr(GpuProgram, "kernels", lambda self: Counter({"gemm": 2}))
    found = placed(Model())
    assert found.device_share == 1.0
    assert "torch.profiler saw 2 kernels of 1 kinds there" in found.evidence


def test_kernels_are_the_devices_events() -> None:
    kind = torch.autograd.DeviceType
    events = [
        SimpleNamespace(name="aten::mm", device_type=kind.CPU, is_user_annotation=False),
        SimpleNamespace(name="gemm", device_type=kind.CUDA, is_user_annotation=False),
        SimpleNamespace(name="gemm", device_type=kind.CUDA, is_user_annotation=False),
        SimpleNamespace(name="Memcpy HtoD", device_type=kind.CUDA, is_user_annotation=False),
        SimpleNamespace(name="step", device_type=kind.CUDA, is_user_annotation=True),
    ]
    assert gpu.on_device(events) == {"gemm": 2}


def test_a_device_without_a_profiler_is_judged_without() -> None:
    assert GpuProgram(Model(), case(), META, MODES["f32"]).kernels() is None


# --- Devices --------------------------------------------------------------------------------------

BACKENDS = [cuda.Backend, rocm.Backend, mps.Backend]


@pytest.mark.parametrize("backend", BACKENDS, ids=["cuda", "rocm", "mps"])
def test_a_missing_device_has_reason_and_fix(backend: Any) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(Unavailable, match="Fix: ") as caught:
        backend({}).probe()
    assert torch.__version__ in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS, ids=["cuda", "rocm", "mps"])
def test_the_cpu_stands_in_and_says_so(backend: Any) -> None:
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    opened = backend({"fallback": "cpu"})
    device = opened.probe()
    assert (device.fallback, device.kind, device.units) == ("cpu", "cpu", ())
    assert opened.memory is None
    program = opened.prepare(case(), Precision("default", ""))
    assert program.placement().device_share == 1.0
    assert program(INPUTS)["out"].shape == (2, 4)


@pytest.mark.parametrize("backend", BACKENDS, ids=["cuda", "rocm", "mps"])
@pytest.mark.parametrize("device", ["cpu", "xpu:0", "nonsense"])
def test_a_device_of_another_kind_is_refused(backend: Any, device: str) -> None:
    with pytest.raises(HarnessError, match="expected --device to be"):
        backend({"device": device})


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.cuda` as it is with two GPUs."""
    about = SimpleNamespace(name="Fake 100", total_memory=80_000_000_000, gcnArchName="gfx942")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: about)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


@pytest.mark.usefixtures("two_gpus")
def test_cuda_describes_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.version, "hip", None)
    found = cuda.Backend({}).find_device()
    assert (found.name, found.kind, found.memory_bytes) == ("Fake 100", "gpu", 80_000_000_000)
    assert found.units == ("cuda:0", "cuda:1")
    assert (found.versions["cuda"], found.versions["capability"]) == ("13.0", "9.0")
    assert cuda.Backend({"device": "cuda:1"}).find_device().units == ()
    with pytest.raises(Unavailable, match="expected cuda:2, found 2 devices"):
        cuda.Backend({"device": "cuda:2"}).find_device()


@pytest.mark.usefixtures("two_gpus")
def test_rocm_is_told_from_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "7.2.1")
    found = rocm.Backend({}).find_device()
    assert (found.versions["hip"], found.versions["architecture"]) == ("7.2.1", "gfx942")
    with pytest.raises(Unavailable, match="built for ROCm"):
        cuda.Backend({}).find_device()
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(Unavailable, match=r"built for CUDA 13\.0"):
        rocm.Backend({}).find_device()


def test_a_device_that_does_not_compute_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = cuda.Backend({})
    monkeypatch.setattr(backend, "_chosen", lambda name: META)  # has no values
    with pytest.raises(Unavailable, match="was found, and does not compute"):
        backend._answers()
    monkeypatch.setattr(backend, "_chosen", lambda name: torch.device("cpu"))
    backend._answers()


def test_compiled_headers_are_kept_where_every_process_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    monkeypatch.setattr(tempfile, "tempdir", str(own))
    imported = []
    monkeypatch.setattr(
        importlib, "import_module", lambda name: imported.append((name, tempfile.tempdir))
    )
    kept = tmp_path / "kept"
    inductor.import_inductor(kept)
    assert imported == [("torch._inductor.compile_fx", str(kept))]
    assert kept.is_dir()
    assert tempfile.tempdir == str(own)
