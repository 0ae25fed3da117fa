"""OpenVINO through optimum-intel: `OVModelFor...from_pretrained(folder, export=True)`."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import optimum.intel
import torch
import transformers
from optimum.intel.version import __version__ as optimum_intel_version

from backends.openvino_optimum import classes
from backends.openvino_optimum.case import OptimumCase
from backends.openvino_optimum.program import OptimumProgram, tensors
from harness.contract import (
    Array,
    Arrays,
    Case,
    CheckFailed,
    Device,
    PipelineCase,
    Precision,
    Unavailable,
    Unsupported,
)

#: How a message of optimum begins that says that it does not export a model.
REFUSALS = (
    "Trying to export a ",
    "Asked to export a ",
    "The current version of Transformers does not allow for the export",
)
#: Libraries whose models optimum-intel exports in another form, or not at all.
OTHERS: Mapping[str, str] = {
    "diffusers": "optimum-intel exports whole pipelines of diffusers (OVDiffusionPipeline), and "
    "neither a denoiser nor an autoencoder of its own",
    "torch_geometric": "optimum-intel has no exporter for torch_geometric",
}
#: The numpy-style names of OpenVINO's element types.
DTYPES: Mapping[str, str] = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
#: What makes the plug-in compute in float32 throughout.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


class Backend:
    """Implements `harness.contract.Backend`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options
        self._exported: dict[str, Any] = {}  # by precision: one cell has one case
        self._folder = tempfile.TemporaryDirectory()  # some classes read from it later

    @cached_property
    def device(self) -> str:
        """What `--device` names, the CPU where it is silent.

        Raises:
            Unavailable: this machine has no such device.
        """
        wanted = (self.options.get("device") or "CPU").upper()
        here = ov.Core().available_devices
        if wanted not in here and f"{wanted}.0" not in here:
            raise Unavailable(
                f"expected --device to be one of OpenVINO's devices on this machine, "
                f"{', '.join(here)}, found {wanted}.",
                "name one of them, or install the driver that the device needs.",
            )
        return wanted

    @cached_property
    def precisions(self) -> Sequence[Precision]:
        """What a user gets without asking, and float32."""
        hint = ov.Core().get_property(self.device, "INFERENCE_PRECISION_HINT")
        default = DTYPES.get(hint.get_type_name(), "float32")
        return Precision("default", default), Precision("f32", "float32")

    def probe(self) -> Device:
        """The device as its plug-in names it."""
        return Device(
            name=str(ov.Core().get_property(self.device, "FULL_DEVICE_NAME")),
            kind=self.device.partition(".")[0].lower(),
            versions={
                "openvino": ov.get_version().partition("-")[0],
                "optimum-intel": optimum_intel_version,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        )

    def narrowed(self, case: Case) -> Case:
        """The case with the inputs and outputs that optimum's class has."""
        return OptimumCase(case)

    def prepare(self, case: Case, precision: Precision) -> OptimumProgram:
        """Saved as transformers saves it, then exported, loaded and compiled by optimum.

        Raises:
            Unsupported: optimum says that it does not export this model, or not for this task.
        """
        if case.entry.library in OTHERS:
            raise Unsupported(OTHERS[case.entry.library])
        if precision.name not in self._exported:
            case.save(Path(self._folder.name))
            self._exported[precision.name] = self._load(
                self._folder.name, case, precision, export=True
            )
        return OptimumProgram(self._exported[precision.name], case, self.device)

    def from_pretrained(self, folder: Path, case: Case, precision: Precision) -> OptimumProgram:
        """What `save_pretrained` writes of the exported model, loaded again without export."""
        model = self.prepare(case, precision).model
        exported = folder / "exported"
        model.save_pretrained(exported)
        loaded = self._load(str(exported), case, precision, export=False)
        return OptimumProgram(loaded, case, self.device)

    def _load(self, folder: str, case: Case, precision: Precision, *, export: bool) -> Any:
        row = classes.row_of(case.head, case.config(), case.inputs())
        cls = getattr(optimum.intel, row.name)
        keywords: dict[str, Any] = {"task": row.task} if row.name.endswith("CustomTasks") else {}
        hints = EXACT if precision.name == "f32" else {}
        try:
            return cls.from_pretrained(
                folder, export=export, device=self.device, ov_config=dict(hints), **keywords
            )
        except ValueError as error:
            if str(error).startswith(REFUSALS):
                raise Unsupported(str(error)) from error
            raise

    def pipeline(self, case: Case, precision: Precision) -> tuple[Arrays, Arrays] | None:
        """What `optimum.intel.pipeline` makes of raw input, and the arrays it feeds the model."""
        asked = case.pipeline()
        if asked is None:
            return None
        model = _greedy(self.prepare(case, precision).model, case)
        fed: list[tuple[Mapping[str, Any], Arrays]] = []
        forward = model.forward

        @functools.wraps(forward)  # a pipeline reads its signature
        def watched(*given: Any, **keywords: Any) -> Any:
            raw = forward(*given, **keywords)
            fed.append((keywords, case.outputs(raw)))
            return raw

        model.forward = watched
        try:
            pipe = optimum.intel.pipeline(
                asked.task, model=model, accelerator="openvino", **asked.components
            )
            answer = pipe(asked.raw, **asked.arguments)
        finally:
            del model.forward
        return _answered(asked, answer, fed, case)

    def generate(
        self, case: Case, precision: Precision, inputs: Mapping[str, Array], tokens: int
    ) -> Array:
        """Greedy `generate()` with its cache: token ids, those given included."""
        model = _greedy(self.prepare(case, precision).model, case)
        if case.generation is not None and case.generation.argument == "decoder_input_ids":
            # Given ids that begin with it are taken as they are; others get it in front.
            start = int(inputs["decoder_input_ids"][0, 0])
            model.generation_config.decoder_start_token_id = start
        made: Array = model.generate(**tensors(inputs), max_new_tokens=tokens).cpu().numpy()
        return made


def _greedy(model: Any, case: Case) -> Any:
    """The model set to generate the likeliest token, to the last one."""
    if case.generation is not None:
        suppressed = list(case.generation.suppressed) or None
        model.generation_config = transformers.GenerationConfig(
            do_sample=False, pad_token_id=0, suppress_tokens=suppressed
        )
        for name in ("forced_bos_token_id", "forced_eos_token_id"):
            if getattr(model.config, name, None) is not None:
                setattr(model.config, name, None)
    return model


def _answered(
    asked: PipelineCase, answer: Any, fed: list[tuple[Mapping[str, Any], Arrays]], case: Case
) -> tuple[Arrays, Arrays]:
    """A pipeline's answer as arrays, and what it is the answer to."""
    if asked.inputs is not None:
        if case.generation is not None:
            tokens = np.array([row["generated_token_ids"] for row in answer])
            return {case.generation.argument: tokens}, asked.inputs
        return {"": np.asarray(answer, dtype=np.float32)}, asked.inputs
    if answer is None or not fed:
        raise CheckFailed(f"pipeline: expected an answer made by the model, found {answer!r}")
    arguments, computed = fed[0]
    return computed, {
        name: value.cpu().numpy()
        for name, value in arguments.items()
        if isinstance(value, torch.Tensor)
    }
