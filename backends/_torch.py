"""What the PyTorch devices share: eager execution as a user gets it, on one device."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.contract import Array, Arrays, Case, CheckFailed, Device, Placement, Precision

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TorchProgram:
    """A module on its device; the library's own choice of attention and experts stays."""

    def __init__(self, module: Any, case: Case, device: torch.device, dtype: torch.dtype) -> None:
        self.module = module.to(device=device, dtype=dtype).eval()
        self.case = case
        self.device = device
        self.dtype = dtype
        self._output_devices: set[str] = set()

    def __call__(self, inputs: Mapping[str, Array]) -> Arrays:
        """One inference; floating inputs in the program's dtype, outputs on the host."""
        torch.manual_seed(0)
        with torch.inference_mode():
            raw = self.module(**self.tensors(inputs), **self.case.options())
        self._output_devices |= {t.device.type for t in _tensors_in(raw)}
        return self.case.outputs(raw)

    def tensors(self, inputs: Mapping[str, Array]) -> dict[str, Any]:
        """The inputs on the device, floating ones in the program's dtype."""
        made = {}
        for name, array in inputs.items():
            # A copy: some models write into their inputs, which are another run's inputs too.
            tensor = torch.from_numpy(np.array(array)).to(self.device)
            made[name] = tensor.to(self.dtype) if tensor.is_floating_point() else tensor
        return made

    def placement(self) -> Placement:
        """Where every parameter, buffer and output lives."""
        held = [*self.module.parameters(), *self.module.buffers()]
        away = [t for t in held if t.device.type != self.device.type]
        wrong = self._output_devices - {self.device.type}
        share = 0.0 if wrong else 1.0 - len(away) / max(1, len(held))
        return Placement(share, "device of every parameter, buffer and output")


class TorchBackend:
    """Eager PyTorch; a device's own backend.py names the device and reads its properties."""

    precisions: Sequence[Precision] = (
        Precision("default", "float32"),
        Precision("f32", "float32"),
        Precision("bf16", "bfloat16"),
        Precision("f16", "float16"),
    )
    device = torch.device("cpu")

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options

    def probe(self) -> Device:
        """The device; a backend's own folder says how to find it."""
        raise NotImplementedError

    def prepare(self, case: Case, precision: Precision) -> TorchProgram:
        """The small model on the device, in the precision's dtype."""
        return TorchProgram(case.module(), case, self.device, DTYPES[precision.dtype])

    def from_pretrained(self, folder: Path, case: Case, precision: Precision) -> TorchProgram:
        """The same model through `from_pretrained`, as a user loads a checkpoint."""
        cls = type(case.module())
        # Before transformers 4.56 the argument and the config's field were called torch_dtype.
        keyword = "dtype" if hasattr(case.config(), "dtype") else "torch_dtype"
        module = cls.from_pretrained(folder, **{keyword: DTYPES[precision.dtype]})
        return TorchProgram(module, case, self.device, DTYPES[precision.dtype])

    def pipeline(self, case: Case, precision: Precision) -> tuple[Arrays, Arrays] | None:
        """What `transformers.pipeline` makes of raw input, and the arrays it feeds the model."""
        asked = case.pipeline()
        if asked is None:
            return None
        from transformers import pipeline

        module = self._module(case, precision)
        fed: list[tuple[Mapping[str, Any], Arrays]] = []
        module.register_forward_hook(
            lambda _, given, keywords, raw: fed.append((keywords, case.outputs(raw))),
            with_kwargs=True,
        )
        pipe = pipeline(asked.task, model=module, device=self.device, **asked.components)
        answer = pipe(asked.raw, **asked.arguments)
        if asked.inputs is not None:
            if case.generation is not None:
                tokens = np.array([row["generated_token_ids"] for row in answer])
                return {case.generation.argument: tokens}, asked.inputs
            return {"": np.asarray(answer, dtype=np.float32)}, asked.inputs
        if answer is None or not fed:
            raise CheckFailed(f"pipeline: expected an answer made by the model, found {answer!r}")
        arguments, computed = fed[0]
        return computed, {
            name: value.float().cpu().numpy() if value.is_floating_point() else value.cpu().numpy()
            for name, value in arguments.items()
            if isinstance(value, torch.Tensor)
        }

    def generate(
        self, case: Case, precision: Precision, inputs: Mapping[str, Array], tokens: int
    ) -> Array:
        """Greedy `generate()` with its cache: token ids, those given included."""
        module = self._module(case, precision)
        if case.generation is not None and case.generation.argument == "decoder_input_ids":
            # Given ids that begin with it are taken as they are; others get it in front.
            start = int(inputs["decoder_input_ids"][0, 0])
            module.generation_config.decoder_start_token_id = start
        program = TorchProgram(module, case, self.device, DTYPES[precision.dtype])
        with torch.inference_mode():
            raw = program.module.generate(**program.tensors(inputs), max_new_tokens=tokens)
        made: Array = raw.cpu().numpy()
        return made

    def _module(self, case: Case, precision: Precision) -> Any:
        """The small model on the device; where it generates, greedily and to the last token."""
        module = case.module().to(device=self.device, dtype=DTYPES[precision.dtype])
        if case.generation is not None:
            from transformers import GenerationConfig

            suppressed = list(case.generation.suppressed) or None
            for part in module.modules():  # a composite model lets its text model generate
                if hasattr(part, "generation_config"):
                    part.generation_config = GenerationConfig(
                        do_sample=False, pad_token_id=0, suppress_tokens=suppressed
                    )
                    for name in ("forced_bos_token_id", "forced_eos_token_id"):
                        if getattr(part.config, name, None) is not None:
                            setattr(part.config, name, None)
        return module


class CpuBackend(TorchBackend):
    """The processor."""

    def probe(self) -> Device:
        """The processor's name, its vector instructions and the machine's memory."""
        import psutil

        return Device(
            name=_processor(),
            kind="cpu",
            versions=versions(),
            driver=torch.backends.cpu.get_cpu_capability(),
            memory_bytes=int(psutil.virtual_memory().total),
        )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of what computes, by package."""
    import transformers

    return {"torch": torch.__version__, "transformers": transformers.__version__}


def _tensors_in(raw: Any) -> list[torch.Tensor]:
    if isinstance(raw, torch.Tensor):
        return [raw]
    if isinstance(raw, Mapping):
        return [t for value in raw.values() for t in _tensors_in(value)]
    if isinstance(raw, list | tuple):
        return [t for value in raw for t in _tensors_in(value)]
    return []
