"""The ladder of export routes: ways from a module to an ONNX graph, in the order of their trial."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from transformers.exporters import exporter_onnx
from transformers.exporters.utils import apply_fx_node_fixes, apply_patches

from backends._shared.onnx.export_speedups import deferred_code
from backends._shared.onnx.tensor_module import ExportInput, quiet
from harness.contract import Arrays

#: The opset of every route: that which `torch.onnx.export(dynamo=True)` emits by itself.
OPSET = 20

#: ONNX operators whose result is as long as values say.
SIZED_BY_VALUES = frozenset({"NonZero", "Compress", "Unique"})

#: At most so many integers are sizes (`image_sizes`, say) rather than a text or a mask.
HANDFUL = 16


@dataclass(frozen=True, slots=True)
class Captured:
    """A captured program, of which a graph can be made.

    Attributes:
        sized_by_values: whether the length of a tensor in the program follows from values.
        graph: makes the graph, which takes most of an export's time.
        program: a hash, equal for equal programs of the same inputs; empty if unknown.
    """

    sized_by_values: bool
    graph: Callable[[], ir.Model]
    program: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One way from a module to a graph.

    Attributes:
        name: stored with each result.
        about: the route in words.
        capture: captures the program; this and `Captured.graph` raise what the exporter raises.
        fixes: the names of inputs that the graph may hold as constants, by examples of everything
            that the graph is asked, the plain one first; none by default.
    """

    name: str
    about: str
    capture: Callable[[ExportInput], Captured]
    fixes: Callable[[Sequence[Arrays]], frozenset[str]] | None = None


def _dynamo(given: ExportInput) -> Captured:
    with quiet(), deferred_code():
        program = torch.export.export(given.module, given.tensors, strict=False)

    def graph() -> ir.Model:
        with quiet(), deferred_code():
            return _translated(program, given).model

    return Captured(_any_sized_by_values(program), graph, _program_hash(program))


def _hf(given: ExportInput) -> Captured:
    """The plain route with the patches, translations and repairs of transformers' exporter.

    Some of these are private names of transformers, so that the pin of its version must hold.
    """
    with quiet(), deferred_code(), apply_patches("onnx"), apply_patches("dynamo"):
        program = torch.export.export(given.module, given.tensors, strict=False)
        apply_fx_node_fixes("onnx", program.graph_module)

    def graph() -> ir.Model:
        with quiet(), deferred_code(), apply_patches("onnx"):
            made = _translated(
                program, given, custom_translation_table=exporter_onnx._ONNX_TRANSLATION_TABLE
            )
        exporter_onnx.apply_onnx_ir_fixes(made)
        return made.model

    # Translated in another way, an equal program gives another graph than the plain route.
    return Captured(_any_sized_by_values(program), graph, f"hf {_program_hash(program)}")


def _translated(
    program: torch.export.ExportedProgram, given: ExportInput, **more: Any
) -> torch.onnx.ONNXProgram:
    """A graph of a captured program, whose constants are all in it.

    onnxscript's rewriter loses the bounds of clamps behind clamps, as in the audio tower of gemma4;
    see docs/upstream/onnxscript_clip_fusion.md.
    """
    made = _exported(program, given, **more)
    for value in _lost_constants(made.model):
        made.model.graph.register_initializer(value)
    return made


def _lost_constants(model: ir.Model) -> list[ir.Value]:
    """The constants that nodes take and that are not among the graph's."""
    values = [value for node in model.graph for value in node.inputs if value is not None]
    kept = model.graph.initializers
    return [
        value
        for value in dict.fromkeys(values)
        if value.const_value is not None
        and value.producer() is None
        and kept.get(value.name or "") is not value
    ]


def _exported(
    program: torch.export.ExportedProgram, given: ExportInput, **more: Any
) -> torch.onnx.ONNXProgram:
    return torch.onnx.export(
        program,
        dynamo=True,
        input_names=list(given.inputs),
        output_names=_output_names(given),
        verbose=False,
        opset_version=OPSET,
        **more,
    )


def _any_sized_by_values(program: torch.export.ExportedProgram) -> bool:
    return any(map(_is_sized_by_values, program.graph.nodes))


def _program_hash(program: torch.export.ExportedProgram) -> str:
    """A SHA-256 hash of a program's graph and of the tensors that the capture made for it.

    The module's own tensors are left out: no route changes them.
    """
    found = hashlib.sha256(str(program.graph).encode())
    for name, value in sorted(program.constants.items()):
        if isinstance(value, torch.Tensor):
            found.update(f"{name}: {value.dtype} {tuple(value.shape)}".encode())
            flat = value.detach().contiguous().flatten()
            found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _is_sized_by_values(node: torch.fx.Node) -> bool:
    """Whether a tensor's length is an unbacked symbol, or the number of a mask's true elements.

    A program may know the number, having checked it (`torch._check`); its graph does not.
    """
    if node.target is torch.ops.aten.index.Tensor:
        positions = (each.meta["val"] for each in node.args[1] if each is not None)
        if any(each.dtype == torch.bool for each in positions):
            return True
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and bool(free_unbacked_symbols(value.shape))


def _recorded(given: ExportInput) -> Captured:
    given.module.answers = given.answers
    return _dynamo(given)


def _torchscript(given: ExportInput) -> Captured:
    written = io.BytesIO()
    with quiet():
        torch.onnx.export(
            given.module,
            given.tensors,
            written,
            dynamo=False,
            input_names=list(given.inputs),
            output_names=_output_names(given),
            opset_version=OPSET,
        )
    proto = onnx.load_from_string(written.getvalue())
    sized_by_values = any(node.op_type in SIZED_BY_VALUES for node in proto.graph.node)

    def graph() -> ir.Model:
        model = ir.serde.deserialize_model(proto)
        optimizer.optimize(model)
        return model

    return Captured(sized_by_values, graph)


def _sizes(examples: Sequence[Arrays]) -> frozenset[str]:
    """Inputs of a few integers that are equal in every example: the sizes of images and sounds."""
    first = examples[0]
    return frozenset(name for name in _unchanging(examples) if first[name].size <= HANDFUL)


def _unchanging(examples: Sequence[Arrays]) -> frozenset[str]:
    """Inputs of integers that are equal in every example: sizes, and masks without padding.

    A padded example changes the masks of tokens, and of the images among them.
    """
    first, *others = examples
    return frozenset(
        name
        for name, array in first.items()
        if array.dtype.kind in "iub" and all(np.array_equal(array, other[name]) for other in others)
    )


ROUTES: tuple[Route, ...] = (
    Route("dynamo", "torch.export: sees the whole program, static shapes", _dynamo),
    Route("dynamo-sizes", "the same, the sizes of images and sounds as constants", _dynamo, _sizes),
    Route("dynamo-masks", "the same, masks that padding does not change too", _dynamo, _unchanging),
    Route(
        "dynamo-recorded",
        "what Python reads from tensors is what it read on the plain example",
        _recorded,
        _sizes,
    ),
    Route(
        "torchscript",
        "tracing: values of one run decide what depends on data",
        _torchscript,
        _sizes,
    ),
    Route("hf", "as dynamo, with the patches and translations of transformers' exporter", _hf),
    Route("hf-sizes", "the same, the sizes of images and sounds as constants", _hf, _sizes),
)


def _output_names(given: ExportInput) -> list[str]:
    return [f"output_{i}" for i in range(len(given.module.leaves))]
