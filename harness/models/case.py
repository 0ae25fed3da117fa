"""One architecture of a PyTorch library, built small from its own config class."""

from __future__ import annotations

import contextlib
import copy
import inspect
import itertools
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from harness import inputs as inputs_
from harness.catalog import heads
from harness.catalog.exceptions import spared_checks
from harness.catalog.requirements import unmet_requirements
from harness.contract import (
    BASE,
    Absent,
    Array,
    Arrays,
    Entry,
    Generation,
    PipelineCase,
    Unsupported,
)
from harness.models import (
    calibrate,
    example_seeds,
    function_defaults,
    libraries,
    quantized,
    tensor_float,
)
from harness.models import outputs as outputs_
from harness.models import weights as weights_
from harness.toolkit import seeded
from harness.toolkit.dtype_cast import cast
from harness.toolkit.signature import BATCHES, LENGTHS

#: The reference is the plain arithmetic: no fused attention, no grouped products of experts, both
#: of which a backend may use. (The grouped product exists in float64 on no device.)
PLAIN = {"set_attn_implementation": "eager", "set_experts_implementation": "eager"}

BATCH, RESHAPED_BATCH = BATCHES
LENGTH, RESHAPED_LENGTH = LENGTHS

#: The last stage of a small CNN is one pixel; fewer images than this say nothing about a spread.
CALIBRATION_BATCH = 8


class TinyCase:
    """Implements `harness.contract.Case` with PyTorch's eager execution as the reference.

    Args:
        entry: the row of the model list.
        seed: of weights and inputs.
        size: `tiny`, or `full` for the sizes that the entry declares.
        head: `base` for the headless model, or one of the entry's heads.
        checkpoints: a folder with real weights, as `ORGANISATION/NAME` below it; the model then
            comes from there, in its own size.
    """

    def __init__(
        self,
        entry: Entry,
        seed: int = 0,
        size: str = "tiny",
        head: str = BASE,
        checkpoints: Path | None = None,
    ) -> None:
        self.checkpoints = checkpoints
        self.entry = entry
        self.seed = seed
        self.example_seed = seed + example_seeds.offset(entry.architecture)
        self.size = size
        self.head = head
        self._references: dict[str, Any] = {}  # plain modules by dtype, and jittered ones
        self._examples: dict[str, Arrays] = {}

    @cached_property
    def _library(self) -> libraries.Library:
        unmet = unmet_requirements(self.entry)
        if unmet:
            raise Absent(unmet)
        library = libraries.library(self.entry.library)
        if self.head != BASE and not library.has_heads:
            raise Absent(f"{self.entry.library} has no class for {self.head}: drop it from `heads`")
        return library

    @cached_property
    def _checkpoint(self) -> Path | None:
        """The folder of the entry's real weights, where they were asked for."""
        if self.checkpoints is None:
            return None
        folder = self.checkpoints / self.entry.checkpoint
        if not self.entry.checkpoint or not (folder / "config.json").is_file():
            wanted = self.entry.checkpoint or "a checkpoint: the entry names none"
            raise Absent(f"requires {wanted}, not in {self.checkpoints}")
        return folder

    @cached_property
    def _config(self) -> Any:
        if self._checkpoint is not None:
            return self._template.config
        return self._library.config(
            self.entry.architecture, self.entry.config, self.size, self.head
        )

    @cached_property
    def _template(self) -> Any:
        """The model itself; handed out as copies only."""
        import torch

        if self._checkpoint is not None:
            found = self._library.pretrained(self.entry.architecture, self.head, self._checkpoint)
            return found.requires_grad_(False).eval()
        torch.manual_seed(self.seed)
        with torch.no_grad():  # what is derived from parameters has no history, and can be copied
            module = self._library.module(self.entry.architecture, self._config, self.head)
        if self.size != "full":
            function_defaults.cap(module)
        module.requires_grad_(False)
        weights_.fill(module, self.seed)
        module.eval()  # after the weights: some attention keeps a copy of its biases from here on
        if calibrate.needs_calibration(module):
            given = self._example(module, "calibration", CALIBRATION_BATCH, LENGTH, self.seed)
            options = self._options_of(module)
            calibrate.calibrate(module, tensors(given, torch.float32), options)
        return module

    @cached_property
    def _recipe(self) -> inputs_.Recipe:
        return inputs_.recipe_of(self._config, self.model_name)

    @property
    def seeded(self) -> bool:
        """Whether forward draws random numbers; its recipe says so."""
        return self._recipe.seeded

    @property
    def model_name(self) -> str:
        """The name of the model's class."""
        return type(self._template).__name__

    def config(self) -> Any:
        """The small config object."""
        return self._config

    def module(self) -> Any:
        """A fresh float32 model in evaluation mode, with seeded weights."""
        return copy.deepcopy(self._template)

    def parameters(self) -> int:
        """How many parameters the small model has, tied ones once."""
        return weights_.parameter_count(self._template)

    def inputs(self, variant: str = "base") -> Arrays:
        """Example inputs; see `harness.contract.Case.inputs`."""
        if variant not in self._examples:
            self._examples[variant] = (
                self._reshaped()
                if variant == "reshaped"
                else self._example(self._template, variant, BATCH, LENGTH, self.example_seed)
            )
        return dict(self._examples[variant])

    def with_examples_of(self, seed: int) -> TinyCase:
        """The same model with example inputs of another seed."""
        other = copy.copy(self)
        other.example_seed, other._examples = seed, {}
        return other

    def _reshaped(self) -> Arrays:
        batch, length = RESHAPED_BATCH, RESHAPED_LENGTH
        try:
            return self._example(self._template, "reshaped", batch, length, self.example_seed)
        except Exception as error:
            raise Unsupported(f"takes no other batch or length: {error}") from error

    def padding(self) -> int:
        """The config's own padding id, unless it has come to mean something else in its text."""
        token = inputs_.padding_id(self._config)
        used = self.inputs().get("input_ids", np.zeros(0))
        # A small vocabulary may have given padding the id of an image's placeholder.
        return next(i for i in itertools.chain([token], itertools.count()) if i not in used)

    def _example(self, module: Any, variant: str, batch: int, length: int, seed: int) -> Arrays:
        return self._library.inputs(
            module, self._config, seed=seed, variant=variant, batch=batch, length=length
        )

    def options(self) -> Mapping[str, Any]:
        """Arguments of forward that are no arrays: no cache, outputs by name."""
        return self._options

    @cached_property
    def _options(self) -> Mapping[str, Any]:
        return self._options_of(self._template)

    def _options_of(self, module: Any) -> Mapping[str, Any]:
        accepted = inspect.signature(module.forward).parameters
        plain = {"use_cache": False, "return_dict": True}
        recipe = inputs_.recipe_of(self._config, type(module).__name__)
        return {**{k: v for k, v in plain.items() if k in accepted}, **recipe.arguments}

    def outputs(self, raw: Any) -> Arrays:
        """Named host arrays of what a module's forward returned."""
        return outputs_.flatten(raw)

    def tensors(self, raw: Any) -> Mapping[str, Any]:
        """The same by the same names as torch tensors, for a trace to follow."""
        return outputs_.tensors(raw)

    def reference(
        self, inputs: Mapping[str, Array], dtype: str = "float64", *, seed: int = 0
    ) -> Arrays:
        """Outputs of plain eager execution on the CPU in a dtype.

        Raises:
            What the modeling code raises; dtypes written into it refuse float64, for instance.
        """
        import torch

        if dtype == "float64" != self._recipe.reference:
            raise Unsupported(f"has no float64 reference: {self._recipe.reason}")
        module = self._reference_module(dtype)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (the generator that modeling code may draw from)
        return self._forward(module, inputs, dtype)

    def _forward(self, module: Any, inputs: Mapping[str, Array], dtype: str) -> Arrays:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        # A library without a choice of attention calls PyTorch's; this is the plain form of it.
        given = tensors(inputs, compute_dtype(dtype))
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), tensor_float.rounding(dtype):
            raw = module(**given, **self.options())
        return outputs_.flatten(raw)

    def _reference_module(self, dtype: str) -> Any:
        if dtype not in self._references:
            module = self.module()
            plain = {**PLAIN, "set_attn_implementation": self._recipe.plain_attention}
            for setter, choice in plain.items():
                function = getattr(module, setter, None)
                if function is not None:
                    # Most architectures have no such choice, and each says so in its own way.
                    with contextlib.suppress(
                        ValueError, KeyError, AttributeError, NotImplementedError
                    ):
                        function(choice)
            # Again in evaluation mode: what is computed on the way there has the new dtype then.
            module = cast(module, compute_dtype(dtype)).eval()
            if dtype in quantized.GRIDS:
                quantized.quantize(module, dtype)
            self._references[dtype] = module
        return self._references[dtype]

    def weights(self) -> Sequence[str]:
        """The matrices of the model: the middle one first, then the middles of what is left."""
        names = [
            n for n, p in self._template.named_parameters() if p.ndim >= 2 and p.is_floating_point()
        ]
        names = names or [n for n, p in self._template.named_parameters()]
        # An embedding's noise reaches only the tokens in the text; ask the others first.
        names.sort(key=lambda name: bool(re.search("embed|position", name)))
        return [names[i] for i in _spread_out(len(names))]

    def perturbed(
        self,
        inputs: Mapping[str, Array],
        weight: str,
        scale: float,
        *,
        dtype: str = "float64",
    ) -> Arrays:
        """The reference with noise on one weight, `scale` times that weight's own RMS."""
        import torch

        module = self._reference_module(dtype)
        parameter = dict(module.named_parameters())[weight]
        before = parameter.detach().clone()
        noise = seeded.uniform(self.seed, f"control/{weight}", tuple(parameter.shape))
        rms = float(before.double().pow(2).mean().sqrt()) or 1.0
        try:
            with torch.no_grad():
                step = torch.from_numpy(noise.astype(np.float64)).to(before.dtype)
                parameter.add_(step * (scale * rms * 3**0.5))
            torch.manual_seed(0)
            return self._forward(module, inputs, dtype)
        finally:
            with torch.no_grad():
                parameter.copy_(before)

    def jittered(self, inputs: Mapping[str, Array], dtype: str, times: float = 1.0) -> Arrays:
        """Outputs in float32 after every weight moved by about one rounding of `dtype`.

        The noise floor of a model that refuses float64, or that dtype: by backward error analysis a
        computation in finite precision is the exact one of slightly moved data (Higham, Accuracy
        and Stability of Numerical Algorithms, 2nd ed., section 1.5).

        Args:
            inputs: by argument name.
            dtype: whose rounding is meant.
            times: so many roundings.
        """
        import torch

        key = f"jittered {dtype} {times}"
        if key not in self._references:
            module = copy.deepcopy(self._reference_module("float32"))
            step = times * torch.finfo(compute_dtype(dtype)).eps
            with torch.no_grad():
                for name, p in module.named_parameters():
                    if p.is_floating_point():
                        noise = seeded.uniform(self.seed, f"jitter/{name}", tuple(p.shape))
                        p.mul_(1 + torch.from_numpy(noise).to(p.dtype) * step)
            self._references[key] = module
        torch.manual_seed(0)
        arithmetic = dtype if dtype in tensor_float.FORMATS else "float32"
        return self._forward(self._references[key], inputs, arithmetic)

    @cached_property
    def _spared(self) -> Mapping[str, str]:
        return spared_checks(self.entry.architecture, self.head)

    @cached_property
    def generation(self) -> Generation | None:
        """How `generate()` goes on, where the head's row and the model's class say that it can."""
        if self.head == BASE or "generate" in self._spared:
            return None
        # Some models of a task that goes on with its text have an encoder for it.
        wanted = heads.known()[self.head].generates
        argument = f"decoder_{wanted}" if f"decoder_{wanted}" in self.inputs() else wanted
        able = getattr(self._template, "can_generate", None)
        if argument not in self.inputs() or able is None or not able():
            return None
        return Generation(argument, self._library.placeholders(self._template, self._config))

    def pipeline(self) -> PipelineCase | None:
        """Raw input for `transformers.pipeline`; None where this model has no pipeline."""
        asked = self._library.pipeline(self.entry.architecture, self.head, self.inputs(), self.seed)
        return asked if asked is None or f"pipeline:{asked.task}" not in self._spared else None

    def save(self, folder: Path) -> None:
        """`save_pretrained` of the small model.

        Raises:
            Unsupported: the library's models have no `save_pretrained`.
        """
        save = getattr(self.module(), "save_pretrained", None)
        if save is None:
            raise Unsupported(f"{self.entry.library} models have no save_pretrained")
        save(folder)


def compute_dtype(name: str) -> Any:
    """The torch dtype of a reference; on a grid and in TensorFloat-32 that is float32."""
    import torch

    own = name not in quantized.GRIDS and name not in tensor_float.FORMATS
    return getattr(torch, name) if own else torch.float32


def warm() -> None:
    """Compute what PyTorch computes once in a process: where it puts what `torch.device` says."""
    import torch
    import torch._refs
    import torch.overrides

    with torch.device("cpu"):
        torch.nn.Linear(1, 1)


def _spread_out(count: int) -> list[int]:
    """Indices of `count` things, so that the first few lie far apart: 4, 2, 6, 1, 3, 5, 7."""
    found: list[int] = []
    spans = [(0, count)]
    while spans:
        low, high = spans.pop(0)
        if low < high:
            middle = (low + high) // 2
            found.append(middle)
            spans += [(low, middle), (middle + 1, high)]
    return found


def tensors(arrays: Mapping[str, Array], dtype: Any) -> dict[str, Any]:
    """Torch tensors of arrays, floating ones in `dtype`."""
    import torch

    # Copies: some models write into their inputs, which are another run's inputs too.
    made = {name: torch.from_numpy(np.array(a)) for name, a in arrays.items()}
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in made.items()}
