"""ExecuTorch's runtime on the CPU, on programs of transformers' ExecutorchExporter."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import psutil
from executorch.devtools.backend_debug import get_delegation_info
from executorch.runtime import Runtime
from transformers.exporters.exporter_executorch import ExecutorchExporter

from backends._shared.hf_export import HfProgram, export, tensors
from backends.executorch.plan import calls
from harness.contract import Case, Device, Placement, Precision, Program, Unavailable

DELEGATE = "XnnpackBackend"

#: A lowering takes up to 40 s of CPU (detr), several times an export.
PATIENCE = 2.0


class Backend:
    """Implements `harness.contract.Backend`."""

    precisions: Sequence[Precision] = (
        Precision("default", "float32", patience=PATIENCE),
        Precision("f32", "float32", patience=PATIENCE),
        Precision("int8", "int8", patience=PATIENCE),
    )
    dynamic = False

    def __init__(self, options: Mapping[str, str]) -> None:
        self.options = options

    def probe(self) -> Device:
        """The processor, and the versions of what lowers and computes."""
        registry = Runtime.get().backend_registry
        if not registry.is_available(DELEGATE):
            raise Unavailable(
                f"expected ExecuTorch's runtime to have the delegate {DELEGATE}, found "
                f"{', '.join(registry.registered_backend_names) or 'none'}.",
                "install a wheel of executorch that is built with it.",
            )
        packages = ("executorch", "torchao", "torch", "transformers")
        return Device(
            name=platform.processor() or platform.machine(),
            kind="cpu",
            versions={name: version(name) for name in packages},
            driver=f"ExecuTorch {version('executorch')}, {DELEGATE} and portable kernels",
            memory_bytes=int(psutil.virtual_memory().total),
        )

    def prepare(self, case: Case, precision: Precision) -> Program:
        """Export with static shapes, lower to XNNPACK, and load into the runtime.

        Raises:
            ExportFailed: the export or the lowering fails.
            RuntimeError: the runtime does not load the program; the message has its code, and the
                kernels that are missing.
        """
        settings = {"quantizer": quantizer(case)} if precision.name == "int8" else {}
        made = export(ExecutorchExporter(), case, dynamic=False, **settings)
        lowered, runtime = made.exported.program, Runtime.get()
        (plan,) = lowered.executorch_program.execution_plan
        called = calls(plan)
        lacking = called.missing(
            runtime.operator_registry.operator_names,
            runtime.backend_registry.registered_backend_names,
        )
        try:
            made.exported.to("cpu")
        except RuntimeError as error:
            if not lacking:
                raise
            raise RuntimeError(
                f"{error}: the runtime lacks {', '.join(sorted(lacking))}"
            ) from error
        nodes = get_delegation_info(lowered.exported_program().graph_module)
        inside, outside = nodes.num_delegated_nodes, nodes.num_non_delegated_nodes

        def placed() -> Placement:
            return called.placement(lacking, inside, inside + outside)

        return HfProgram(made, case, placed)


def quantizer(case: Case) -> object:
    """XNNPACK's PT2E quantizer: linear layers in 8 bits by channel, activations as they come."""
    # The imports take seconds, and torchao alone.
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from transformers.exporters import PT2EQuantizer

    dynamic = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    examples = [{**tensors(case.inputs(name)), **case.options()} for name in ("base", "other")]
    return PT2EQuantizer(XNNPACKQuantizer().set_global(dynamic), calibration_dataset=examples)
