"""Base backend of the PyTorch devices: eager execution as a user gets it, on one device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backends._shared import pipeline_outputs
from harness.contract import (
    Array,
    Arrays,
    Case,
    Device,
    Generated,
    GenerationRequest,
    Generator,
    Placement,
    Precision,
)
from harness.toolkit import greedy_generation, hardware
from harness.toolkit.cpu_seed import seed_cpu
from harness.toolkit.dtype_cast import cast


@dataclass(frozen=True, slots=True)
class Mode:
    """Settings of one precision: dtype of weights, autocast, TF32, `torch.compile`."""

    weights: torch.dtype = torch.float32  # of weights and floating inputs
    autocast: torch.dtype | None = None  # of `torch.autocast`
    tf32: bool | None = False  # in products and convolutions of float32; None: as PyTorch has it
    compiled: bool = False  # by `torch.compile`, whose backend is inductor


MODES: Mapping[str, Mode] = {
    "default": Mode(tf32=None),
    "f32": Mode(),
    "tf32": Mode(tf32=True),
    "bf16": Mode(weights=torch.bfloat16),
    "f16": Mode(weights=torch.float16),
    "bf16-autocast": Mode(autocast=torch.bfloat16),
    "f16-autocast": Mode(autocast=torch.float16),
    "compile": Mode(compiled=True),
}


class TorchProgram:
    """A module on its device; the library's own choice of attention and experts stays."""

    def __init__(self, module: Any, case: Case, device: torch.device, mode: Mode) -> None:
        self.module = cast(module, mode.weights).to(device).eval()
        self.case = case
        self.device = device
        self.mode = mode
        self._forward = _compile(self.module, case) if mode.compiled else self.module
        self._output_devices: set[str] = set()
        self._inputs: Mapping[str, Array] = {}

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference; floating inputs in the program's dtype, outputs on the host."""
        self._inputs = inputs
        raw = self.run(self.tensors(inputs))
        made = tensors_in(raw)
        # The numbers of the documents that RAG found are the host's; what it made of them is not.
        floating = [tensor for tensor in made if tensor.is_floating_point()]
        self._output_devices |= {tensor.device.type for tensor in floating or made}
        return self.case.outputs(raw)

    def run(self, given: Mapping[str, Any]) -> Any:
        """The module's raw outputs for tensors on its device, without copies to the host."""
        (seed_cpu if self.device.type == "cpu" else torch.manual_seed)(0)
        # Inductor guards on inference mode, and everybody else's example has no_grad.
        grad = torch.no_grad() if self.mode.compiled else torch.inference_mode()
        with grad, autocast(self.device, self.mode):
            return self._forward(**given, **self.case.options())

    def tensors(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """The inputs on the device, floating ones in the dtype of the weights."""
        made = {}
        for name, array in inputs.items():
            # A copy: some models write into their inputs, which are another run's inputs too.
            tensor = torch.from_numpy(np.array(array)).to(self.device)
            made[name] = tensor.to(self.mode.weights) if tensor.is_floating_point() else tensor
        return made

    def placement(self) -> Placement:
        """Placement by the device of every parameter, buffer and output, and by compiled graphs."""
        stored = [*self.module.parameters(), *self.module.buffers()]
        away = [t for t in stored if t.device.type != self.device.type]
        wrong = self._output_devices - {self.device.type}
        share = 0.0 if wrong else 1.0 - len(away) / max(1, len(stored))
        evidence = "device of every parameter, buffer and output"
        if self.mode.compiled:
            from backends._shared.torch import inductor

            graphs, breaks = inductor.graphs()
            share = share if graphs else 0.0
            evidence += f"; torch.compile made {graphs} graphs, with {breaks} breaks"
        return Placement(share, evidence)


class TorchBackend:
    """Base class of eager PyTorch; a backend names its device and reads the device's properties."""

    precisions: Sequence[Precision] = (
        Precision("default", "float32"),
        Precision("f32", "float32"),
        Precision("bf16", "bfloat16"),
        Precision("f16", "float16"),
        Precision("bf16-autocast", "bfloat16"),
        Precision("f16-autocast", "float16"),
        Precision("compile", "float32", patience=5.0),
    )
    device = torch.device("cpu")
    program: type[TorchProgram] = TorchProgram

    #: Its programs are modules, which take whatever `forward` takes.
    any_arguments = True

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options

    def probe(self) -> Device:
        """The device; each backend overrides this."""
        raise NotImplementedError

    def set_global_flags(self, mode: Mode) -> None:
        """Set PyTorch's process-wide flags, such as CUDA's for TF32; none by default."""

    def prepare(self, case: Case, precision: Precision) -> TorchProgram:
        """The small model on the device, in a precision.

        Raises:
            Unsupported: the precision compiles, and there is no compiler.
        """
        mode = MODES[precision.name]
        self.set_global_flags(mode)
        return self.program(case.module(), case, self.device, mode)

    def from_pretrained(self, folder: Path, case: Case, precision: Precision) -> TorchProgram:
        """The same model through `from_pretrained`, as a user loads a checkpoint."""
        mode = MODES[precision.name]
        self.set_global_flags(mode)
        cls = type(case.module())
        # Before transformers 4.56 the argument and the config's field were called torch_dtype.
        keyword = "dtype" if hasattr(case.config(), "dtype") else "torch_dtype"
        module = cls.from_pretrained(folder, **{keyword: mode.weights})
        return self.program(module, case, self.device, mode)

    def pipeline(self, case: Case, precision: Precision) -> tuple[Arrays, Arrays] | None:
        """Outputs of `transformers.pipeline` for raw input, and the arrays it feeds the model."""
        asked = case.pipeline()
        mode = MODES[precision.name]
        if asked is None or mode.compiled:  # a pipeline runs the module itself, eagerly
            return None
        from transformers import pipeline

        self.set_global_flags(mode)
        module = self._module(case, mode)
        fed: list[tuple[Mapping[str, Any], Arrays]] = []
        module.register_forward_hook(
            lambda _, given, keywords, raw: fed.append((keywords, case.outputs(raw))),
            with_kwargs=True,
        )
        pipe = pipeline(asked.task, model=module, device=self.device, **asked.components)
        with autocast(self.device, mode):
            answer = pipeline_outputs.answered(
                lambda: pipe(asked.raw, **asked.arguments), fed, case
            )
        return pipeline_outputs.arrays(asked, answer, fed, case)

    def generator(self, case: Case, precision: Precision) -> Generator:
        """The module's `generate()`, eagerly, in `compile` too."""
        mode = replace(MODES[precision.name], compiled=False)
        self.set_global_flags(mode)
        program = self.program(self._module(case, mode), case, self.device, mode)
        generation = case.generation
        assert generation is not None

        def generate(request: GenerationRequest) -> Generated:
            with torch.inference_mode(), autocast(self.device, mode):
                return greedy_generation.generate(
                    program.module, generation, request, program.tensors
                )

        return generate

    def _module(self, case: Case, mode: Mode) -> Any:
        """The small model on the device; where it generates, greedily and to the last token."""
        module = cast(case.module(), mode.weights).to(self.device)
        greedy_generation.make_greedy(module, case.generation)
        return module


class CpuBackend(TorchBackend):
    """The processor."""

    @contextmanager
    def on_threads(self, count: int) -> Iterator[None]:
        """A context in which PyTorch computes within operators on so many threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def probe(self) -> Device:
        """The processor's name, its vector instructions and the machine's memory."""
        import psutil

        return Device(
            name=hardware.processor_name(),
            kind="cpu",
            versions=versions(),
            driver=torch.backends.cpu.get_cpu_capability(),
            memory_bytes=int(psutil.virtual_memory().total),
        )


def versions() -> dict[str, str]:
    """Versions of torch and transformers, by package."""
    import transformers

    return {"torch": torch.__version__, "transformers": transformers.__version__}


def autocast(device: torch.device, mode: Mode) -> AbstractContextManager[Any]:
    """`torch.autocast` where the mode wants it."""
    if mode.autocast is None:
        return nullcontext()
    context: AbstractContextManager[Any] = torch.autocast(device.type, dtype=mode.autocast)
    return context


def _compile(module: Any, case: Case) -> Any:
    from backends._shared.torch import (
        inductor,  # slow to import, and wanted by this precision alone
    )

    return inductor.compiled(module, seeded=case.seeded)


def tensors_in(raw: Any) -> list[torch.Tensor]:
    """The tensors in what a forward returned, however nested."""
    if isinstance(raw, torch.Tensor):
        return [raw]
    if isinstance(raw, Mapping):
        return [t for value in raw.values() for t in tensors_in(value)]
    if isinstance(raw, list | tuple):
        return [t for value in raw for t in tensors_in(value)]
    return []
